import { execFileSync } from 'node:child_process';
import { createDecipheriv } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { decrypt } from '../../../../src/blob/decode.ts';
import { Batcher } from '../../../../src/image/blob/batch.ts';
import { chunkInfoV2 } from '../../../../src/image/blob/chunk-info.ts';
import { encrypt, newCipher } from '../../../../src/image/blob/cipher.ts';
import { type CreateOptions, type CreateResult, create } from '../../../../src/image/create/create.ts';
import type { StoredChunk } from '../../../../src/image/model/chunk.ts';
import { loadImage } from '../../../../src/image/read/load.ts';
import { directorySource } from '../../../../src/image/source/directory.ts';
import { ChunkInfoFlag, decodeChunkInfo } from '../../../../src/wire/blob-meta.ts';
import { BlobFeature } from '../../../../src/wire/rafs/flags.ts';
import { compareImages } from '../../../support/compare-image.ts';

let dir: string;
let source: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'formats-'));
  source = join(dir, 'source');
  mkdirSync(source);
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

/** Builds into `dir`; the bootstrap's path, or that of the blob with it. */
async function build(changes: Partial<CreateOptions>): Promise<{ path: string; result: CreateResult }> {
  const blobs = join(dir, 'blobs');
  const result = await create({
    source: directorySource(Buffer.from(source)),
    fsVersion: 6,
    compressor: 'zstd',
    digester: 'blake3',
    chunkSize: 0x10000,
    bootstrap: { kind: 'file', path: join(dir, 'image.boot') },
    blob: { kind: 'directory', path: blobs },
    explicitUidGid: true,
    whiteoutSpec: 'oci',
    prefetchPatterns: [],
    ...changes,
  });
  return { path: result.bootstrapPath || join(blobs, result.blobIds[0]!), result };
}

/** Faults of the blob: chunks that do not decode to their digest, sections whose digest is wrong, a wrong name. */
function faults(path: string): Promise<string[]> {
  const place = { bootstrap: path, blobDirs: [join(dir, 'blobs')] as const };
  return compareImages(place, place);
}

describe('an inlined bootstrap', () => {
  test.each([
    { fsVersion: 5, blobToc: false },
    { fsVersion: 6, blobToc: false },
    { fsVersion: 6, blobToc: true },
  ] as const)('of a tree without data is found: %j', async (changes) => {
    mkdirSync(join(source, 'empty'));
    const { path } = await build({ ...changes, bootstrap: null });
    expect(readdirSync(join(dir, 'blobs'))).toHaveLength(1);
    const { root } = await loadImage(path);
    expect(root.children.map(({ name }) => name.toString())).toEqual(['empty']);
  });
});

describe('batches', () => {
  beforeEach(() => {
    for (let i = 0; i < 50; i++) writeFileSync(join(source, `small${i}`), `${i} is small `.repeat(i * 3));
    writeFileSync(join(source, 'large'), Buffer.alloc(0x30000, 'large'));
    writeFileSync(join(source, 'small99'), 'the last one');
  });

  test.each([
    {},
    { encrypt: true },
    { compressor: 'none' },
    { blobToc: true, bootstrap: null },
  ] as const)('%j: everything reads back', async (changes) => {
    const { path } = await build({ ...changes, batchSize: 0x1000 });
    expect(await faults(path)).toEqual([]);
  });

  test('hold only files of one chunk below half of their size, and end where a larger one comes', async () => {
    const { path } = await build({ batchSize: 0x1000, compressor: 'none' });
    const { bootstrap, root } = await loadImage(path);
    const stored = root.children.filter(({ chunks }) => chunks.some((chunk) => chunk.compressedSize > 0));
    const single = root.children.filter(({ size }) => size >= 0x800).map(({ name }) => name.toString());
    expect(stored.map(({ name }) => name.toString())).toEqual(single);
    expect(bootstrap.blobs[0]!.features & BlobFeature.batch).not.toBe(0);
    const smaller = await build({ compressor: 'zstd', batchSize: 0x10000 });
    const none = await build({ compressor: 'zstd' });
    expect(smaller.result.blobSize).toBeLessThan(none.result.blobSize);
  });

  test('stay one byte below their size', () => {
    const batcher = new Batcher(0x1000);
    const chunk = {} as StoredChunk;
    expect([batcher.takes(0x7ff), batcher.takes(0x800)]).toEqual([true, false]);
    batcher.add(chunk, Buffer.alloc(0x7ff));
    expect([batcher.hasRoom(0x800), batcher.hasRoom(0x801)]).toEqual([true, false]);
    expect(batcher.take()!.bytes).toHaveLength(0x7ff);
    expect(batcher.take()).toBeNull();
    expect(batcher.members.get(chunk)).toEqual({ context: 0, position: 0 });
  });
});

describe('encryption', () => {
  test.each([1, 15, 16, 17, 4096])('of %i bytes is undone by the reader', (length) => {
    const cipher = newCipher();
    const plain = Buffer.alloc(length, 'secret');
    const stored = encrypt(cipher, plain);
    expect(stored).toHaveLength(length < 16 ? 18 : length);
    expect(Buffer.from(decrypt(cipher, stored)).equals(plain)).toBe(true);
  });

  test('pads what is shorter than a cipher block as the format says', () => {
    const cipher = newCipher();
    const decipher = createDecipheriv('aes-128-xts', cipher.key, cipher.iv);
    const padded = Buffer.concat([decipher.update(encrypt(cipher, Buffer.from('abc'))), decipher.final()]);
    expect(padded.toString('hex')).toBe(`616263${'0d'.repeat(13)}7890`);
  });

  test('leaves no plain data in the blob, and every tiny chunk reads back', async () => {
    for (const size of [1, 2, 15, 16, 17]) writeFileSync(join(source, `f${size}`), 'x'.repeat(size));
    writeFileSync(join(source, 'text'), 'not for everybody');
    const { path, result } = await build({ encrypt: true, compressor: 'none' });
    expect(readFileSync(join(dir, 'blobs', result.blobIds[0]!)).includes('not for everybody')).toBe(false);
    expect(await faults(path)).toEqual([]);
  });
});

describe('chunk info of 24 bytes', () => {
  const chunk: StoredChunk = {
    blobIndex: 0,
    index: 0,
    digest: Buffer.alloc(32, 1),
    crc32c: 0,
    uncompressedOffset: 0,
    uncompressedSize: 0x1000000,
    compressedOffset: 0,
    compressedSize: 0x1000000,
    flags: 0x10,
  };

  test('has no room for a chunk of 16 MiB that did not compress', () => {
    expect(() => chunkInfoV2([chunk], null)).toThrow(/use a smaller --chunk-size/);
  });

  test('does not claim a CRC that is 0, which the original refuses to read', () => {
    const { bytes, count } = chunkInfoV2([{ ...chunk, uncompressedSize: 5, compressedSize: 5 }], null);
    const limits = {
      features: BlobFeature.chunkInfoV2,
      chunkCount: 1,
      compressedSize: 5,
      uncompressedSize: 4096,
    };
    const header = { features: 0, compressor: 0, count, offset: 5, compressedSize: 24, uncompressedSize: 24 };
    const table = decodeChunkInfo(
      bytes,
      { ...header, contextOffset: 0, contextSize: 0, contextCount: 0 },
      limits,
    );
    expect(table.flags(0) & ChunkInfoFlag.hasCrc32c).toBe(0);
  });
});

describe('what is read ahead', () => {
  beforeEach(() => {
    for (const name of ['a', 'b', 'c']) writeFileSync(join(source, name), name.repeat(100));
    execFileSync('ln', [join(source, 'a'), join(source, 'z')]);
  });

  test('is the head of a v5 blob, and has no list, under policy blob', async () => {
    const changes = { fsVersion: 5, compressor: 'none', prefetchPolicy: 'blob' } as const;
    const { path } = await build({ ...changes, prefetchPatterns: ['/c', '/b'] });
    const { bootstrap, root } = await loadImage(path);
    expect([bootstrap.blobs[0]!.readaheadSize, bootstrap.prefetch]).toEqual([200, []]);
    expect(root.children.map(({ chunks }) => chunks[0]!.compressedOffset)).toEqual([200, 100, 0, 200]);
  });

  test('may be named by the last of its hard links', async () => {
    const { path } = await build({ fsVersion: 5, compressor: 'none', prefetchPatterns: ['/z'] });
    expect((await loadImage(path)).root.children.map(({ chunks }) => chunks[0]!.compressedOffset)).toEqual([
      0, 100, 200, 0,
    ]);
    expect(await faults(path)).toEqual([]);
  });
});

test.skipIf(process.getuid?.() !== 0)(
  'overlayfs whiteouts are left out, opaque directories stay (skipped unless root, who can make devices)',
  async () => {
    execFileSync('mknod', [join(source, 'gone'), 'c', '0', '0']);
    execFileSync('mknod', [join(source, 'device'), 'c', '0', '1']);
    mkdirSync(join(source, 'opaque'));
    execFileSync('setfattr', ['-n', 'trusted.overlay.opaque', '-v', 'y', join(source, 'opaque')]);
    writeFileSync(join(source, '.wh.kept'), '');
    const { path } = await build({ whiteoutSpec: 'overlayfs' });
    const { children } = (await loadImage(path)).root;
    expect(children.map(({ name }) => name.toString())).toEqual(['.wh.kept', 'device', 'opaque']);
    expect(children[2]!.xattrs.map(({ name }) => name.toString())).toEqual(['trusted.overlay.opaque']);
  },
);
