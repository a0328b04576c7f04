import { existsSync, rmSync } from 'node:fs';
import { DatabaseSync, type SQLOutputValue } from 'node:sqlite';
import { CHUNK_SIZE_MAX, compressors } from '../../wire/rafs/flags.ts';
import { ImageError, reason } from '../model/error.ts';
import type { ChunkRow } from './chunk-row.ts';

/** A blob as the database has it. Sizes and offsets in bytes; `ci` is the chunk info of v6, 0 for v5. */
export interface BlobRecord {
  readonly blobId: string;
  readonly compressedSize: number;
  readonly uncompressedSize: number;
  readonly compressor: string;
  readonly ciCompressedSize: number;
  readonly ciUncompressedSize: number;
  readonly ciOffset: number;
}

/** Tables of the original, which may have made the file, or read it later. src/bin/nydus-image/deduplicate.rs. */
const SCHEMA = `
  CREATE TABLE IF NOT EXISTS chunk (
    id INTEGER PRIMARY KEY, image_reference TEXT, version TEXT, chunk_blob_id TEXT NOT NULL, chunk_digest TEXT, chunk_crc32 INT,
    chunk_compressed_size INT, chunk_uncompressed_size INT, chunk_compressed_offset INT, chunk_uncompressed_offset INT
  );
  CREATE TABLE IF NOT EXISTS blob (
    id INTEGER PRIMARY KEY, blob_id TEXT NOT NULL, blob_compressed_size INT, blob_uncompressed_size INT, blob_compressor TEXT,
    blob_meta_ci_compressed_size INT, blob_meta_ci_uncompressed_size INT, blob_meta_ci_offset INT
  );`;
const INSERT_CHUNK = `INSERT INTO chunk (image_reference, version, chunk_blob_id, chunk_digest, chunk_crc32, chunk_compressed_size,
  chunk_uncompressed_size, chunk_compressed_offset, chunk_uncompressed_offset) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`;
const INSERT_BLOB = `INSERT INTO blob (blob_id, blob_compressed_size, blob_uncompressed_size, blob_compressor,
  blob_meta_ci_compressed_size, blob_meta_ci_uncompressed_size, blob_meta_ci_offset) VALUES (?, ?, ?, ?, ?, ?, ?)`;

const SIZE_MAX = 2 ** 44;
/** What does not compress may become a little larger; the slice of a gzip stream that a chunk is in, much. */
const STORED_SIZE_MAX = 2 ** 32 - 1;
const DIGEST_HEX = /^[0-9a-f]{64}$/;
/** Room of an id in a v6 table. */
const BLOB_ID_BYTES_MAX = 64;

/** The file of `sqlite:///path`; `:memory:` for a database that is forgotten. Throws ImageError for other URLs. */
export function databasePath(url: string): string {
  const parts = url.split('://');
  const [kind, path] = parts;
  if (parts.length !== 2 || !/^[/:]/.test(path!)) {
    throw new ImageError('IMAGE_BAD_SOURCE', `${url}: a database is given as sqlite:///path/to/chunkdict.db`);
  }
  if (kind === 'sqlite') return path!;
  const rule = 'is not a known kind of database; use sqlite:///path/to/chunkdict.db';
  throw new ImageError('IMAGE_BAD_SOURCE', `${url}: ${kind} ${rule}`);
}

/**
 * Chunks and blobs of images, kept from run to run in an SQLite file. All methods throw ImageError that names the file.
 */
export class ChunkStore {
  readonly #path: string;
  readonly #isNew: boolean;
  readonly #database: DatabaseSync;

  /** Opens the file or makes it. What is added is kept when `commit` is called. */
  constructor(path: string) {
    this.#path = path;
    this.#isNew = path !== ':memory:' && !existsSync(path);
    this.#database = this.#try(() => new DatabaseSync(path));
    try {
      this.#try(() => this.#database.exec(`BEGIN IMMEDIATE; ${SCHEMA}`));
    } catch (error) {
      this.close();
      throw error;
    }
  }

  addBlobs(blobs: Iterable<BlobRecord>): void {
    this.#try(() => {
      const insert = this.#database.prepare(INSERT_BLOB);
      for (const blob of blobs) {
        const { blobId, compressedSize, uncompressedSize, compressor } = blob;
        const { ciCompressedSize, ciUncompressedSize, ciOffset } = blob;
        const sizes = [ciCompressedSize, ciUncompressedSize, ciOffset];
        insert.run(blobId, compressedSize, uncompressedSize, compressor, ...sizes);
      }
    });
  }

  addChunks(chunks: Iterable<ChunkRow>): void {
    this.#try(() => {
      const insert = this.#database.prepare(INSERT_CHUNK);
      for (const chunk of chunks) {
        const { image, version, blobId, digest, crc32c, compressedSize, uncompressedSize } = chunk;
        const place = [chunk.compressedOffset, chunk.uncompressedOffset];
        insert.run(image, version, blobId, digest, crc32c, compressedSize, uncompressedSize, ...place);
      }
    });
  }

  commit(): void {
    this.#try(() => this.#database.exec('COMMIT'));
  }

  /** All chunks in the order in which they were added; equal rows are one object. */
  chunks(): ChunkRow[] {
    return this.#try(() => {
      const known = new Map<string, ChunkRow>();
      const chunks: ChunkRow[] = [];
      for (const row of this.#database.prepare('SELECT * FROM chunk ORDER BY id').iterate()) {
        const chunk = chunkOf(row);
        const key = JSON.stringify(chunk);
        const same = known.get(key) ?? chunk;
        known.set(key, same);
        chunks.push(same);
      }
      return chunks;
    });
  }

  /** The blob as it was first added, or null. */
  blob(id: string): BlobRecord | null {
    return this.#try(() => {
      const row = this.#database.prepare('SELECT * FROM blob WHERE blob_id = ? ORDER BY id LIMIT 1').get(id);
      return row === undefined ? null : blobOf(row);
    });
  }

  /** What was not committed is forgotten, and with it a file which was not there before. */
  close(): void {
    const isKept = !this.#database.isTransaction;
    this.#database.close();
    if (this.#isNew && !isKept) rmSync(this.#path, { force: true });
  }

  #try<T>(work: () => T): T {
    try {
      return work();
    } catch (cause) {
      if (cause instanceof ImageError)
        throw new ImageError(cause.code, `${this.#path}: ${cause.message}`, { cause });
      throw new ImageError('IMAGE_WRITE', `${this.#path}: ${reason(cause)}: is --database right?`, { cause });
    }
  }
}

type Row = Record<string, SQLOutputValue>;

function chunkOf(row: Row): ChunkRow {
  return {
    image: textOf(row, 'image_reference'),
    version: textOf(row, 'version'),
    blobId: idOf(row, 'chunk_blob_id'),
    digest: digestOf(row, 'chunk_digest'),
    crc32c: numberOf(row, 'chunk_crc32', 2 ** 32 - 1),
    compressedSize: numberOf(row, 'chunk_compressed_size', STORED_SIZE_MAX),
    uncompressedSize: numberOf(row, 'chunk_uncompressed_size', CHUNK_SIZE_MAX),
    compressedOffset: numberOf(row, 'chunk_compressed_offset', SIZE_MAX),
    uncompressedOffset: numberOf(row, 'chunk_uncompressed_offset', SIZE_MAX),
  };
}

function blobOf(row: Row): BlobRecord {
  const compressor = textOf(row, 'blob_compressor');
  if (!(compressors as readonly string[]).includes(compressor))
    damaged(row, 'blob_compressor', 'a known compressor');
  return {
    blobId: idOf(row, 'blob_id'),
    compressedSize: numberOf(row, 'blob_compressed_size', SIZE_MAX),
    uncompressedSize: numberOf(row, 'blob_uncompressed_size', SIZE_MAX),
    compressor,
    ciCompressedSize: numberOf(row, 'blob_meta_ci_compressed_size', SIZE_MAX),
    ciUncompressedSize: numberOf(row, 'blob_meta_ci_uncompressed_size', SIZE_MAX),
    ciOffset: numberOf(row, 'blob_meta_ci_offset', SIZE_MAX),
  };
}

function textOf(row: Row, column: string): string {
  const value = row[column];
  return typeof value === 'string' ? value : damaged(row, column, 'text');
}

function idOf(row: Row, column: string): string {
  const id = textOf(row, column);
  const size = Buffer.byteLength(id);
  return size > 0 && size <= BLOB_ID_BYTES_MAX && !id.includes('\0')
    ? id
    : damaged(row, column, `1 to ${BLOB_ID_BYTES_MAX} bytes`);
}

function digestOf(row: Row, column: string): string {
  const digest = textOf(row, column).toLowerCase();
  return DIGEST_HEX.test(digest) ? digest : damaged(row, column, '64 hexadecimal digits');
}

function numberOf(row: Row, column: string, most: number): number {
  const value = row[column];
  const isFine = typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= most;
  return isFine ? value : damaged(row, column, `a number from 0 to ${most}`);
}

function damaged(row: Row, column: string, rule: string): never {
  throw new ImageError('IMAGE_DAMAGED', `row ${row.id}: ${column} is ${row[column]}: must be ${rule}`);
}
