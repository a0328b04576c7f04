import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ImageError } from '../../../../src/image/model/error.ts';
import { isDictionary, loadDictionary } from '../../../../src/image/read/dictionary.ts';
import { BlobError } from '../../../../src/wire/blob-error.ts';
import { ChunkRecordLayout } from '../../../../src/wire/rafs/chunk.ts';
import { RafsError } from '../../../../src/wire/rafs/error.ts';
import { InodeV5 } from '../../../../src/wire/rafs/inode-v5.ts';
import { SuperblockV5 } from '../../../../src/wire/rafs/superblock-v5.ts';
import { FIXTURES } from '../../../support/rafs-fixtures.ts';

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'chunkdict-load-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function original(version: number): string {
  return join(FIXTURES, `chunkdict/v${version}.boot`);
}

/** A copy of the original's dictionary, changed. */
function changed(version: number, change: (bytes: Buffer) => void): string {
  const bytes = readFileSync(original(version));
  change(bytes);
  const path = join(dir, 'changed.boot');
  writeFileSync(path, bytes);
  return path;
}

/** Where the records of a dictionary begin: the digest of its first chunk is known. */
async function recordsAt(version: number): Promise<number> {
  const { chunks } = await loadDictionary(original(version));
  return readFileSync(original(version)).indexOf(chunks[0]!.digest);
}

describe.each([5, 6])('a v%i dictionary of the original', (version) => {
  test('gives all its chunks, and the sizes of its blobs', async () => {
    const { bootstrap, chunks, root } = await loadDictionary(original(version));
    expect(isDictionary(bootstrap)).toBe(true);
    expect(chunks).toHaveLength(39);
    expect(root.children[0]!.chunks).toBe(chunks);
    for (const { index, blobIndex, uncompressedOffset, uncompressedSize, ...chunk } of chunks) {
      const row = bootstrap.blobs[blobIndex]!;
      expect(index).toBeLessThan(row.chunkCount);
      expect(uncompressedOffset + uncompressedSize).toBeLessThanOrEqual(row.uncompressedSize);
      expect(chunk.compressedOffset + chunk.compressedSize).toBeLessThanOrEqual(row.compressedSize);
    }
  });

  test.each([
    {
      what: 'of a blob that is not there',
      field: 'blobIndex',
      value: 3,
      message: /blob_index = 3: must be below 3/,
    },
    { what: 'without bytes', field: 'uncompressedSize', value: 0, message: /uncompressed_size = 0/ },
    {
      what: 'of more than 16 MiB',
      field: 'uncompressedSize',
      value: 0x1000001,
      message: /uncompressed_size = 16777217/,
    },
  ] as const)('with a chunk $what is damaged', async ({ field, value, message }) => {
    const at = await recordsAt(version);
    const path = changed(version, (bytes) => bytes.writeUInt32LE(value, at + ChunkRecordLayout[field]));
    await expect(loadDictionary(path)).rejects.toThrow(message);
  });

  test('with any bytes changed is read or refused, and nothing else', async () => {
    for (let i = 0; i < 300; i++) {
      const path = changed(version, (bytes) => {
        const at = (i * 7919 * 13) % (bytes.length - 4);
        bytes.writeUInt32LE(i % 3 === 0 ? 0xffff_ffff : (i * 2654435761) >>> 0, at);
      });
      const error: unknown = await loadDictionary(path).catch((cause: unknown) => cause);
      const isKnown = error instanceof ImageError || error instanceof RafsError || error instanceof BlobError;
      if (error instanceof Error) expect({ i, error, isKnown }).toMatchObject({ isKnown: true });
    }
  });
});

test('a v5 file with more chunks than the bootstrap has room for is damaged', async () => {
  const at = (await recordsAt(5)) - 16 - InodeV5.size;
  const path = changed(5, (bytes) => {
    expect(bytes.readUInt32LE(at + InodeV5.childCount)).toBe(39);
    bytes.writeUInt32LE(0xffff_ffff, at + InodeV5.childCount);
  });
  await expect(loadDictionary(path)).rejects.toThrow(/chunk records = \d+: must be inside the bootstrap/);
});

test('v5 files that share their chunk records are damaged', async () => {
  const bytes = readFileSync(original(5));
  const at = (await recordsAt(5)) - 16 - InodeV5.size;
  const table = Buffer.alloc(32);
  for (let i = 0; i < 8; i++) table.writeUInt32LE(at / 8, i * 4);
  bytes.writeBigUInt64LE(BigInt(bytes.length), SuperblockV5.inodeTableOffset);
  bytes.writeUInt32LE(8, SuperblockV5.inodeTableEntries);
  const path = join(dir, 'shared.boot');
  writeFileSync(path, Buffer.concat([bytes, table]));
  await expect(loadDictionary(path)).rejects.toThrow('chunk records = 12480: must be each of one file');
});

test('an image that is no generated dictionary is read as any image', async () => {
  const path = join(FIXTURES, 'images/v6-merge3/image.boot');
  const { bootstrap, root, chunks } = await loadDictionary(path);
  expect(isDictionary(bootstrap)).toBe(false);
  expect(root.children.length).toBeGreaterThan(1);
  expect(chunks.length).toBeGreaterThan(1);
});
