import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ChunkRow } from '../../../../src/image/dictionary/chunk-row.ts';
import { type BlobRecord, ChunkStore, databasePath } from '../../../../src/image/dictionary/store.ts';

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'chunkdict-store-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const CHUNK: ChunkRow = {
  image: 'redis',
  version: '7.0',
  blobId: 'ab'.repeat(32),
  digest: 'cd'.repeat(32),
  crc32c: 0xffff_ffff,
  compressedSize: 10,
  uncompressedSize: 20,
  compressedOffset: 2 ** 40,
  uncompressedOffset: 2 ** 43,
};
const BLOB: BlobRecord = {
  blobId: CHUNK.blobId,
  compressedSize: 1,
  uncompressedSize: 2,
  compressor: 'zstd',
  ciCompressedSize: 3,
  ciUncompressedSize: 4,
  ciOffset: 5,
};

function withStore<T>(path: string, work: (store: ChunkStore) => T): T {
  const store = new ChunkStore(path);
  try {
    return work(store);
  } finally {
    store.close();
  }
}

test.each([
  ['sqlite:///a/b.db', '/a/b.db'],
  ['sqlite://:memory:', ':memory:'],
])('%s is the file %s', (url, path) => {
  expect(databasePath(url)).toBe(path);
});

test.each(['/a/b.db', 'sqlite://a.db', 'sqlite:///a://b', 'mysql:///a'])('%s is refused', (url) => {
  expect(() => databasePath(url)).toThrow(/sqlite:\/\/\/path/);
});

describe('a store', () => {
  test('gives back what was added, the same row as the same object, in the order of the runs', () => {
    const path = join(dir, 'runs.db');
    const other = { ...CHUNK, version: '7.1' };
    withStore(path, (store) => {
      store.addBlobs([BLOB]);
      store.addChunks([CHUNK, other]);
      store.commit();
    });
    withStore(path, (store) => {
      store.addChunks([{ ...CHUNK }]);
      const rows = store.chunks();
      expect(rows).toEqual([CHUNK, other, CHUNK]);
      expect(rows[2]).toBe(rows[0]);
      expect(store.blob(BLOB.blobId)).toEqual(BLOB);
      expect(store.blob('unknown')).toBe(null);
    });
  });

  test('without a commit leaves the file as it was, or none', () => {
    const path = join(dir, 'uncommitted.db');
    withStore(path, (store) => store.addChunks([CHUNK]));
    expect(existsSync(path)).toBe(false);
    withStore(path, (store) => store.commit());
    withStore(path, (store) => store.addChunks([CHUNK]));
    expect(withStore(path, (store) => store.chunks())).toEqual([]);
  });

  test('has the tables of the original', () => {
    const path = join(dir, 'tables.db');
    withStore(path, (store) => store.commit());
    const database = new DatabaseSync(path);
    const columns = (table: string): unknown[] =>
      database
        .prepare(`PRAGMA table_info(${table})`)
        .all()
        .map(({ name, type, notnull, pk }) => [name, type, notnull, pk].join(' '));
    expect(columns('chunk')).toEqual([
      'id INTEGER 0 1',
      'image_reference TEXT 0 0',
      'version TEXT 0 0',
      'chunk_blob_id TEXT 1 0',
      'chunk_digest TEXT 0 0',
      'chunk_crc32 INT 0 0',
      'chunk_compressed_size INT 0 0',
      'chunk_uncompressed_size INT 0 0',
      'chunk_compressed_offset INT 0 0',
      'chunk_uncompressed_offset INT 0 0',
    ]);
    expect(columns('blob')).toEqual([
      'id INTEGER 0 1',
      'blob_id TEXT 1 0',
      'blob_compressed_size INT 0 0',
      'blob_uncompressed_size INT 0 0',
      'blob_compressor TEXT 0 0',
      'blob_meta_ci_compressed_size INT 0 0',
      'blob_meta_ci_uncompressed_size INT 0 0',
      'blob_meta_ci_offset INT 0 0',
    ]);
    database.close();
  });

  test.each([
    { column: 'chunk_digest', value: 'x' },
    { column: 'chunk_blob_id', value: 'x'.repeat(65) },
    { column: 'chunk_blob_id', value: '' },
    { column: 'chunk_compressed_size', value: -1 },
    { column: 'chunk_compressed_size', value: 2 ** 32 },
    { column: 'chunk_uncompressed_offset', value: 2 ** 50 },
    { column: 'chunk_crc32', value: 1.5 },
    { column: 'image_reference', value: null },
  ])('names a row whose $column is $value', ({ column, value }) => {
    const path = join(dir, `bad-${column}-${value}.db`.slice(0, 60));
    withStore(path, (store) => {
      store.addChunks([CHUNK]);
      store.commit();
    });
    const database = new DatabaseSync(path);
    database.prepare(`UPDATE chunk SET ${column} = ?`).run(value);
    database.close();
    expect(() => withStore(path, (store) => store.chunks())).toThrow(`${path}: row 1: ${column} is `);
  });

  test('names a file that is no database, and leaves it alone', () => {
    const path = join(dir, 'text.db');
    writeFileSync(path, 'not a database, but long enough to look at it as one: '.repeat(20));
    expect(() => new ChunkStore(path)).toThrow(`${path}: `);
    expect(existsSync(path)).toBe(true);
    expect(() => new ChunkStore(join(dir, 'absent/x.db'))).toThrow(/absent\/x\.db.*--database/);
  });
});
