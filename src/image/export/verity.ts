import { hash } from 'node:crypto';
import fs from 'node:fs';
import { promisify } from 'node:util';
import { DIGEST_BYTES } from '../../lib/content-hash.ts';
import { writeAll } from '../../lib/file/write.ts';

const read = promisify(fs.read);

/** Size of a block of digests. */
export const HASH_BLOCK: number = 4096;
const DIGESTS_PER_BLOCK = HASH_BLOCK / DIGEST_BYTES;
/** Data hashed at a time: the event loop does not wait longer than for this. */
const BATCH_BYTES = 512 * 1024;

/**
 * Places without a block under them have the digest of 4 KiB of zeros, as by the original; the
 * kernel does not look at them.
 */
const NO_BLOCK: Buffer = sha256(Buffer.alloc(HASH_BLOCK));

/** Where a disk's hash tree is. */
interface VerityPlace {
  /** Size of a data block: 4096, or 512. */
  readonly blockSize: number;
  readonly dataBlocks: number;
  /** First byte of the tree, behind the data. */
  readonly hashOffset: number;
}

/**
 * Bytes of the tree over so many blocks: levels of digests of the blocks below, the one of a single block
 * first. No tree for one block.
 */
export function verityBytes(dataBlocks: number): number {
  return levelsOf(dataBlocks).reduce((sum, entries) => sum + blocksFor(entries) * HASH_BLOCK, 0);
}

/** Digests of each level, the lowest first. */
function levelsOf(dataBlocks: number): number[] {
  const levels: number[] = [];
  for (let entries = dataBlocks; entries > 1; entries = blocksFor(entries)) levels.push(entries);
  return levels;
}

function blocksFor(entries: number): number {
  return Math.ceil(entries / DIGESTS_PER_BLOCK);
}

/**
 * Writes the dm-verity hash tree (format 1, sha256, no salt, no superblock) of the data at the start of the file `fd`
 * and returns the root's digest. `between` is called after each batch with the data bytes hashed so far; what it
 * throws ends the work. Needs little memory, whatever the disk's size.
 * Documentation/admin-guide/device-mapper/verity.rst; utils/src/verity.rs.
 */
export async function writeVerity(
  fd: number,
  { blockSize, dataBlocks, hashOffset }: VerityPlace,
  between: (bytes: number) => Promise<void> | void = () => {},
): Promise<Buffer> {
  const levels = levelsOf(dataBlocks);
  let below = { at: 0, blocks: dataBlocks, blockSize };
  let at = hashOffset + verityBytes(dataBlocks);
  for (const [level, entries] of levels.entries()) {
    at -= blocksFor(entries) * HASH_BLOCK;
    await writeLevel(fd, below, at, level === 0 ? between : () => between(dataBlocks * blockSize));
    below = { at, blocks: blocksFor(entries), blockSize: HASH_BLOCK };
  }
  return sha256(await readBytes(fd, below.at, below.blockSize));
}

interface Level {
  readonly at: number;
  readonly blocks: number;
  readonly blockSize: number;
}

async function writeLevel(
  fd: number,
  { at, blocks, blockSize }: Level,
  into: number,
  between: (bytes: number) => Promise<void> | void,
): Promise<void> {
  // A batch fills whole blocks of digests.
  const batch = Math.max(DIGESTS_PER_BLOCK, BATCH_BYTES / blockSize);
  const zeros = Buffer.alloc(blockSize);
  const digestOfZeros = sha256(zeros);
  for (let first = 0; first < blocks; first += batch) {
    const count = Math.min(batch, blocks - first);
    const data = await readBytes(fd, at + first * blockSize, count * blockSize);
    const digests = Buffer.alloc(blocksFor(count) * HASH_BLOCK);
    for (let i = 0; i < digests.length / DIGEST_BYTES; i++) {
      const block = data.subarray(i * blockSize, (i + 1) * blockSize);
      // Disks have many blocks of zeros, which are compared faster than hashed.
      const digest = i >= count ? NO_BLOCK : block.equals(zeros) ? digestOfZeros : sha256(block);
      digest.copy(digests, i * DIGEST_BYTES);
    }
    await writeAll(fd, digests, into + first * DIGEST_BYTES);
    await between((first + count) * blockSize);
  }
}

async function readBytes(fd: number, at: number, size: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(size);
  for (let done = 0; done < size; ) {
    const { bytesRead } = await read(fd, bytes, done, size - done, at + done);
    if (bytesRead === 0) throw new Error(`ends at ${at + done}: shrank while it was hashed`);
    done += bytesRead;
  }
  return bytes;
}

function sha256(bytes: Uint8Array): Buffer {
  return hash('sha256', bytes, 'buffer');
}
