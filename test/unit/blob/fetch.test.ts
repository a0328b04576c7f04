import { createCipheriv } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { CacheFile } from '../../../src/blob/cache-file.ts';
import { type ChunkMapFile, isReady } from '../../../src/blob/chunk-map.ts';
import { RecordChunks } from '../../../src/blob/chunk-table.ts';
import { CacheCounters } from '../../../src/blob/counters.ts';
import { decrypt } from '../../../src/blob/decode.ts';
import { Fetcher } from '../../../src/blob/fetch.ts';
import { gatesOf } from '../../../src/blob/lanes.ts';
import { EvictionCount, OpenCache } from '../../../src/blob/open-cache.ts';
import { type BlobSource, UNHURRIED } from '../../../src/blob/source.ts';
import { BlobStore } from '../../../src/blob/store.ts';
import type { ChunkRef } from '../../../src/blob/view.ts';
import { digest } from '../../../src/lib/content-hash.ts';
import { ByteLru } from '../../../src/lib/lru.ts';
import type { BlobSpec } from '../../../src/wire/rafs/blob-spec.ts';
import { BlobFeature } from '../../../src/wire/rafs/flags.ts';
import { referenceCodecs, referenceLander } from './codecs.ts';
import { cacheIn } from './images.ts';

const data = Buffer.from('0123456789abcdefghij');

function spec(changes: Partial<BlobSpec> = {}): BlobSpec {
  return {
    id: 'v5blob',
    objectId: 'v5blob',
    metaObjectId: 'v5blob',
    version: 5,
    features: 0,
    compressor: 'none',
    digester: 'blake3',
    chunkCount: 2,
    compressedSize: 20,
    uncompressedSize: 20,
    ciCompressor: 'none',
    ciOffset: 0,
    ciCompressedSize: 0,
    ciUncompressedSize: 0,
    cipher: null,
    ...changes,
  };
}

/** Two chunks of 10 bytes. */
function chunk(index: number, changes: object = {}): ChunkRef {
  const record = {
    blobIndex: 0,
    index,
    flags: 0,
    compressedOffset: index * 10,
    compressedSize: 10,
    uncompressedOffset: index * 10,
    uncompressedSize: 10,
    crc32c: 0,
    digest: digest('blake3', data.subarray(index * 10, index * 10 + 10)),
  };
  return { index, record: { ...record, ...changes } };
}

const source = {
  kind: 'memory',
  place: 'memory',
  reads: 0,
  size: async () => data.length,
  async read(_: string, offset: number, into: Uint8Array) {
    source.reads++;
    into.set(data.subarray(offset, offset + into.length));
  },
  openLocal: async () => null,
  close: async () => {},
} satisfies BlobSource & { reads: number };

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'fetch-'));
  source.reads = 0;
});
afterEach(() => rmSync(dir, { recursive: true }));

describe('a v5 blob', () => {
  it('reads adjacent chunks at once and keeps them with a map', async () => {
    const store = new BlobStore(referenceCodecs, referenceLander, () => {});
    const blob = await store.open(spec(), cacheIn(dir), source);
    expect(await blob.fetch([chunk(0), chunk(1)])).toBe(null);
    expect(source.reads).toBe(1);
    expect(readFileSync(join(dir, 'v5blob.blob.data'))).toEqual(data);
    expect(readFileSync(join(dir, 'v5blob.blob.data.chunk_map'))[4096]).toBe(0xc0);
    await store.close(blob, source);
  });

  it.each([
    ['compressed_offset', { compressedOffset: 11 }],
    ['uncompressed_offset', { uncompressedOffset: 11 }],
    ['uncompressed_size', { uncompressedSize: 0 }],
    ['compressed_size', { compressedSize: 9 }],
  ])('refuses a record whose %s breaks the rules', async (field, changes) => {
    const store = new BlobStore(referenceCodecs, referenceLander, () => {});
    const blob = await store.open(spec(), cacheIn(dir), source);
    await expect(blob.fetch([chunk(0, changes)])).rejects.toThrow(field);
    expect(source.reads).toBe(0);
    await store.close(blob, source);
  });

  it.each([
    ['a wrong CRC even without validation', { flags: 0x10, crc32c: 1 }, false],
    ['a wrong digest with validation', { digest: new Uint8Array(32) }, true],
  ])('refuses %s and sets no bit', async (_, changes, validate) => {
    const store = new BlobStore(referenceCodecs, referenceLander, () => {});
    const blob = await store.open(spec(), cacheIn(dir, { validate }), source);
    await expect(blob.fetch([chunk(0, changes)])).rejects.toMatchObject({ code: 'BLOB_CORRUPT' });
    expect(isReady(new Uint8Array(blob.view().ready!), 0)).toBe(false);
    await store.close(blob, source);
  });

  it.each([
    ['with the map disabled', {}, { disableIndexedMap: true }, null],
    [
      'without an extended blob table',
      { features: BlobFeature.v5NoExtBlobTable, chunkCount: 0, compressedSize: 0, uncompressedSize: 0 },
      {},
      data.subarray(10),
    ],
  ])('%s believes cached bytes by their digest', async (_, changes, cache, piece) => {
    for (const reads of [1, 0]) {
      source.reads = 0;
      const store = new BlobStore(referenceCodecs, referenceLander, () => {});
      const blob = await store.open(spec(changes), cacheIn(dir, cache), source);
      const pieces = await blob.fetch([chunk(1)]);
      expect(pieces && Buffer.from(pieces[0]!)).toEqual(piece);
      expect(source.reads).toBe(reads);
      await store.close(blob, source);
    }
  });
});

it('a full disk costs the cache, not the read: bytes are given, no bit is set, one line is logged', async () => {
  const full = openSync('/dev/full', 'w');
  const cache = new OpenCache(
    { fd: full, path: 'full' } as unknown as CacheFile,
    { has: () => false } as unknown as ChunkMapFile,
    new EvictionCount(),
  );
  const ready = new Uint8Array(new SharedArrayBuffer(1));
  const counters = new CacheCounters();
  const logs: string[] = [];
  const fetcher = new Fetcher({
    handle: 1,
    spec: spec(),
    table: new RecordChunks(spec()),
    codecs: referenceCodecs,
    lander: referenceLander,
    validate: false,
    amplifyBytes: 0,
    cache,
    stored: false,
    ready,
    decoded: new ByteLru(100),
    landings: gatesOf({ demand: 1, readahead: 1, prefetch: 1 }),
    counters,
    log: (message) => logs.push(message),
    sourceCount: () => 1,
    read: (offset, into) => source.read('', offset, into),
  });
  const pieces = await fetcher.fetch([chunk(0), chunk(1)], UNHURRIED);
  expect(Buffer.concat(pieces!)).toEqual(data);
  expect(ready[0]).toBe(0);
  expect(logs).toHaveLength(1);
  expect(logs[0]).toContain('ENOSPC');
  expect(counters.writeErrors).toBe(2);
  closeSync(full);
});

it.each([1, 10, 15])('%i encrypted bytes lose their padding', (size) => {
  const key = Buffer.from(Array.from({ length: 32 }, (_, i) => i));
  const iv = Buffer.alloc(16, 7);
  const plain = Buffer.concat([
    data.subarray(0, size),
    Buffer.alloc(16 - size, 16 - size),
    Buffer.from([0x78, 0x90]),
  ]);
  const cipher = createCipheriv('aes-128-xts', key, iv);
  expect(decrypt({ key, iv }, cipher.update(plain))).toEqual(data.subarray(0, size));
});
