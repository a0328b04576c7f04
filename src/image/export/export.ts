import type { BlobSource } from '../../blob/source.ts';
import type { BootstrapV6 } from '../../rafs/bootstrap.ts';
import { ImageError, throwIfInterrupted } from '../model/error.ts';
import { BlobReader } from '../read/blob-reader.ts';
import { isTarfs, readBootstrap } from '../read/load.ts';
import { DiskOutput } from './disk.ts';
import { HASH_BLOCK, verityBytes, writeVerity } from './verity.ts';

/** What is exported, and where to. */
interface ExportOptions {
  /** Bootstrap of a v6 image, or a blob with one at its end. */
  readonly bootstrap: string;
  /** Where the image's blobs are; not closed. */
  readonly source: BlobSource;
  /** The disk image: a file or a block device. */
  readonly output: string;
  /** Whether a dm-verity hash tree follows the data. */
  readonly verity: boolean;
  /** Chunks decoded at a time. */
  readonly threads?: number;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: ExportProgress) => void) | undefined;
}

/** How far it is: bytes of data, and with verity the same again. */
interface ExportProgress {
  readonly bytes: number;
  readonly bytesTotal: number;
}

/** What was written. */
export interface ExportResult {
  /** Bytes of the disk image. */
  readonly size: number;
  readonly blobs: number;
  readonly verity: VerityResult | null;
}

/** What `veritysetup` needs to know of a disk. */
export interface VerityResult {
  readonly blockSize: number;
  readonly dataBlocks: number;
  readonly hashOffset: number;
  /** SHA-256 of the tree's first block. */
  readonly rootDigest: Buffer;
}

/** A blob's place on the disk, in bytes. */
interface PlacedBlob {
  readonly index: number;
  readonly start: number;
  readonly end: number;
}

interface DiskLayout {
  readonly blockSize: number;
  readonly blocks: number;
  /** By place. */
  readonly blobs: readonly PlacedBlob[];
}

const BLOCK_SIZE = 4096;
const TARFS_BLOCK_SIZE = 512;
/** Block addresses are 32 bits, of which the highest says "none". */
const BLOCKS_MAX = 2 ** 32 - 2;

/**
 * Writes a v6 image as a disk which kernel EROFS mounts: the bootstrap, and each blob, uncompressed, at the block
 * address that the bootstrap has for it. service/src/block_device.rs.
 *
 * Rejects with ImageError, RafsError, BlobError or SourceError; then no file is left.
 */
export async function exportDisk(options: ExportOptions): Promise<ExportResult> {
  const { bootstrap: path, source, output, verity } = options;
  const bootstrap = await readBootstrap(path);
  if (bootstrap.version === 5) {
    const rule = 'a disk has the layout of v6: build the image with create --fs-version 6';
    throw new ImageError('IMAGE_BAD_SOURCE', `${path}: RAFSv5 image is not supported: ${rule}`);
  }
  const layout = layoutOf(bootstrap, path);
  const reader = new BlobReader({ path, bootstrap, chunks: [] }, source);
  // A blob that is not there is told before anything is written.
  for (const { index } of layout.blobs) await reader.spec(index);
  const dataSize = layout.blocks * layout.blockSize;
  const hashOffset = Math.ceil(dataSize / HASH_BLOCK) * HASH_BLOCK;
  const size = verity ? hashOffset + verityBytes(layout.blocks) : dataSize;
  const disk = await DiskOutput.open(output, size);
  const progress = new Progress(options, verity ? 2 * dataSize : dataSize);
  try {
    await writeData(disk, bootstrap, layout, reader, progress, options.threads);
    await disk.fill(size);
    const place = { blockSize: layout.blockSize, dataBlocks: layout.blocks, hashOffset };
    const rootDigest = verity
      ? await writeVerity(disk.fd, place, (bytes) => progress.reach(dataSize + bytes))
      : null;
    await disk.finish();
    return { size, blobs: layout.blobs.length, verity: rootDigest && { ...place, rootDigest } };
  } catch (error) {
    await disk.discard();
    throw error;
  }
}

async function writeData(
  disk: DiskOutput,
  bootstrap: BootstrapV6,
  layout: DiskLayout,
  reader: BlobReader,
  progress: Progress,
  threads: number | undefined,
): Promise<void> {
  await disk.write(bootstrap.bytes, 0);
  for (const { index, start, end } of layout.blobs) {
    progress.reach(start);
    for await (const { offset, bytes } of reader.pieces(index, threads)) {
      // The bytes of a chunk end within the blob's uncompressed size: its table was checked.
      await disk.write(bytes, start + offset);
      progress.reach(start + offset + bytes.length);
    }
    await disk.fill(end);
  }
}

/**
 * Where everything is. Throws ImageError for blobs that lie over each other or over the bootstrap, or have no place.
 */
function layoutOf(bootstrap: BootstrapV6, path: string): DiskLayout {
  const damaged = (fault: string): ImageError => new ImageError('IMAGE_DAMAGED', `${path}: ${fault}`);
  const blockSize = isTarfs(bootstrap) ? TARFS_BLOCK_SIZE : BLOCK_SIZE;
  const { length } = bootstrap.bytes;
  if (length % BLOCK_SIZE !== 0)
    throw damaged(`metadata blob size (0x${length.toString(16)}) is invalid: must be a multiple of 4096`);
  const blobs = bootstrap.blobs.map(({ index, id, uncompressedSize }) => {
    const device = bootstrap.devices.find(({ blobId }) => blobId === id);
    if (device === undefined) throw damaged(`blob ${id} is not in the device table`);
    if (device.mappedBlockAddress === 0) throw damaged(`mapped block address for blob ${id} is zero`);
    const start = device.mappedBlockAddress * blockSize;
    const blocks = Math.ceil(uncompressedSize / blockSize);
    return { index, start, end: start + blocks * blockSize };
  });
  blobs.sort((a, b) => a.start - b.start);
  let end = length;
  for (const blob of blobs) {
    if (blob.start < end)
      throw damaged(
        `blob ${blob.index} begins at byte ${blob.start}, before the end of what precedes it (${end})`,
      );
    end = blob.end;
  }
  const blocks = end / blockSize;
  if (blocks > BLOCKS_MAX) throw damaged(`a disk of ${blocks} blocks: at most ${BLOCKS_MAX}`);
  return { blockSize, blocks, blobs };
}

class Progress {
  readonly #options: ExportOptions;
  readonly #bytesTotal: number;

  constructor(options: ExportOptions, bytesTotal: number) {
    this.#options = options;
    this.#bytesTotal = bytesTotal;
  }

  /** Throws IMAGE_ABORTED when the work is to end. */
  reach(bytes: number): void {
    throwIfInterrupted(this.#options.signal);
    this.#options.onProgress?.({ bytes, bytesTotal: this.#bytesTotal });
  }
}
