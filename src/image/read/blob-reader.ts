import { type CacheConfig, checkSpec } from '../../blob/cache-config.ts';
import {
  type Chunk,
  type ChunkTable,
  IndexedChunks,
  RecordChunks,
  type Unit,
} from '../../blob/chunk-table.ts';
import { addonCodecs, type Codecs } from '../../blob/codecs.ts';
import { decodeUnit, decrypt, verifyChunk } from '../../blob/decode.ts';
import { loadChunkInfo } from '../../blob/meta.ts';
import type { BlobSource } from '../../blob/source.ts';
import { ahead } from '../../lib/ahead.ts';
import type { DigestAlgorithm } from '../../lib/content-hash.ts';
import { addon } from '../../native/index.ts';
import { blobSpec } from '../../rafs/blob-spec.ts';
import { ChunkDigests } from '../../rafs/chunk-digests.ts';
import { BlobError, checkBlob } from '../../wire/blob-error.ts';
import { type BlobSpec, dataRegionSize, isLegacyStargz } from '../../wire/rafs/blob-spec.ts';
import { ChunkFlag } from '../../wire/rafs/chunk.ts';
import { BlobFeature, type Compressor } from '../../wire/rafs/flags.ts';
import type { StoredChunk } from '../model/chunk.ts';
import { ImageError } from '../model/error.ts';
import type { LoadedImage } from './load.ts';
import { ReadWindow } from './read-window.ts';

/**
 * Decoded bytes that `inOrder` keeps ready before they are asked for, and how many chunks at most: bounds of memory.
 */
const AHEAD = {
  countMax: 64,
  sizeMax: 16 << 20,
  sizeOf: ({ uncompressedSize }: { readonly uncompressedSize: number }): number => uncompressedSize,
} as const;
/** Decoded batches and slices of gzip streams that are kept for their next member. */
const SHARED_BYTES_MAX = 32 << 20;

/** Of a tar that is read as it is. */
const PIECE_BYTES = 1 << 20;

/** Nothing is kept beside the blobs. */
const NO_CACHE: CacheConfig = {
  kind: 'none',
  workDir: '',
  compressed: false,
  validate: true,
  disableIndexedMap: true,
  amplifyBytes: 0,
};

/** A blob whose description was checked against the object. */
interface OpenBlob {
  readonly spec: BlobSpec;
  /** Null: the object is a tar whose bytes are the data (tarfs). */
  readonly table: ChunkTable | null;
  readonly window: ReadWindow;
}

/** A chunk on its way to another blob. */
export interface PackedChunk {
  readonly plain: Uint8Array;
  /**
   * As stored, but not encrypted; null where these bytes mean nothing without others: part of a
   * batch or of a gzip stream.
   */
  readonly packed: Uint8Array | null;
  /** Of `packed`. */
  readonly compressor: Compressor;
  /** With which the blob is encrypted, if it is. */
  readonly cipher: BlobSpec['cipher'];
  /** Of the chunk's digest. */
  readonly digester: DigestAlgorithm;
}

/** Uncompressed bytes and their place in the uncompressed blob. */
interface BlobPiece {
  readonly offset: number;
  /** Not to be changed. */
  readonly bytes: Uint8Array;
}

/** What is read: an image without its tree. `chunks` may be empty for v6. */
type ImageOfBlobs = Pick<LoadedImage, 'path' | 'bootstrap' | 'chunks'>;

/**
 * Reads the chunks of an image from its blobs, whatever their form, and verifies CRC-32C and digest of each where the
 * image has them. Blobs are opened when first used; decoding runs on the pool threads. All methods reject with
 * BlobError, SourceError or ImageError, which name blob and chunk. Does not close the source.
 */
export class BlobReader {
  readonly #image: ImageOfBlobs;
  readonly #source: BlobSource;
  readonly #codecs: Codecs = addonCodecs(addon);
  readonly #digests: ChunkDigests;
  readonly #blobs = new Map<number, Promise<OpenBlob>>();
  /** By blob and place; the one used last is at the end. */
  readonly #shared = new Map<string, { readonly plain: Promise<Uint8Array>; readonly size: number }>();
  #sharedBytes = 0;
  /** v5: by blob, then by chunk index. */
  #records: Map<number, StoredChunk>[] | null = null;

  constructor(image: ImageOfBlobs, source: BlobSource) {
    this.#image = image;
    this.#source = source;
    this.#digests = new ChunkDigests(image.bootstrap);
  }

  /** The description of blob `blobIndex`, once object and chunk info are known to be there. */
  async spec(blobIndex: number): Promise<BlobSpec> {
    return (await this.#open(blobIndex)).spec;
  }

  /** Where a chunk of the tree is stored. Rejects for tarfs, whose blobs have no chunk info. */
  async locate(chunk: StoredChunk): Promise<Chunk> {
    const blob = await this.#open(chunk.blobIndex);
    return this.#locate(blob, chunk);
  }

  /** Chunk number `index` of a blob; null if there is none. v6: also chunks which no file of the image refers to. */
  async chunkInfo(blobIndex: number, index: number): Promise<Chunk | null> {
    const { table } = await this.#open(blobIndex);
    if (this.#image.bootstrap.version === 6) return table?.at(index) ?? null;
    const record = this.#record(blobIndex, index);
    return record === null ? null : table!.locate({ index, record });
  }

  /** Uncompressed bytes of a chunk of the tree. Not to be changed: they may be part of a buffer that others read. */
  async read(chunk: StoredChunk): Promise<Uint8Array> {
    const blob = await this.#open(chunk.blobIndex);
    if (blob.table === null) return blob.window.read(chunk.uncompressedOffset, chunk.uncompressedSize);
    const crc32c = chunk.flags & ChunkFlag.hasCrc32c ? chunk.crc32c : null;
    const located = this.#locate(blob, chunk);
    return this.#readLocated(chunk.blobIndex, blob, {
      ...located,
      digest: chunk.digest,
      crc32c: located.crc32c ?? crc32c,
    });
  }

  /** What `read` gives, and the same bytes as they were packed: to be stored in another blob. */
  async readPacked(chunk: StoredChunk): Promise<PackedChunk> {
    const { spec, window } = await this.#open(chunk.blobIndex);
    const { unit } = await this.locate(chunk);
    const plain = await this.read(chunk);
    const { digester } = spec;
    if (unit.batch || unit.zran !== null || isLegacyStargz(spec))
      return { plain, packed: null, compressor: 'none', cipher: spec.cipher, digester };
    const stored = await window.read(unit.start, unit.size);
    const packed = unit.encrypted && spec.cipher !== null ? decrypt(spec.cipher, stored) : stored;
    const compressor = unit.compressed ? spec.compressor : 'none';
    return { plain, packed, compressor, cipher: spec.cipher, digester };
  }

  /** The same by number: chunks which the tree does not use are verified by CRC only. */
  async readChunk(blobIndex: number, index: number): Promise<Uint8Array> {
    const located = await this.chunkInfo(blobIndex, index);
    if (located === null) this.#damaged(`blob ${blobIndex} has no chunk ${index}`);
    const blob = await this.#open(blobIndex);
    const known = this.#digests.find(blobIndex, index);
    const digest = located.digest ?? known?.digest ?? null;
    return this.#readLocated(blobIndex, blob, { ...located, digest });
  }

  /**
   * The bytes of `chunks`, one after the other. Reads and decodes ahead of the caller by at most 16 MiB, or by
   * one chunk if that is larger.
   */
  inOrder(chunks: Iterable<StoredChunk>): AsyncGenerator<Uint8Array> {
    return ahead(chunks, (chunk) => this.read(chunk), AHEAD);
  }

  /**
   * All of a blob's chunks in the order of their numbers, those which the tree does not use included: the uncompressed
   * blob, but for the zeros between them. A tar (tarfs) comes in pieces of 1 MiB. v5: only chunks which the tree uses.
   * At most `inFlightMax` are read ahead.
   */
  async *pieces(blobIndex: number, inFlightMax: number = AHEAD.countMax): AsyncGenerator<BlobPiece> {
    const { spec, table, window } = await this.#open(blobIndex);
    const limits = { ...AHEAD, countMax: inFlightMax };
    if (table === null) {
      const read = async ({ offset, uncompressedSize: size }: Place): Promise<BlobPiece> => ({
        offset,
        bytes: await window.read(offset, size),
      });
      yield* ahead(tarPlaces(spec.uncompressedSize), read, limits);
      return;
    }
    const read = async ({ index, offset }: Place): Promise<BlobPiece> => ({
      offset,
      bytes: await this.readChunk(blobIndex, index),
    });
    yield* ahead(this.#places(spec, table, blobIndex), read, limits);
  }

  *#places(spec: BlobSpec, table: ChunkTable, blobIndex: number): Generator<Place> {
    for (let index = 0; index < spec.chunkCount; index++) {
      const chunk = spec.version === 6 ? table.at(index) : this.#record(blobIndex, index);
      if (chunk === null) continue;
      yield { index, offset: chunk.uncompressedOffset, uncompressedSize: chunk.uncompressedSize };
    }
  }

  #locate(blob: OpenBlob, chunk: StoredChunk): Chunk {
    const { spec, table } = blob;
    if (table === null) this.#damaged(`blob ${spec.id} is a tar: it has no chunk info`);
    const located = table.locate({ index: chunk.index, record: chunk });
    if (located.uncompressedSize !== chunk.uncompressedSize) {
      const sizes = `${located.uncompressedSize} bytes by the blob, ${chunk.uncompressedSize} by the bootstrap`;
      this.#damaged(`blob ${spec.id} chunk ${chunk.index}: ${sizes}`);
    }
    return located;
  }

  async #readLocated(blobIndex: number, blob: OpenBlob, chunk: Chunk): Promise<Uint8Array> {
    const { spec, window } = blob;
    const { unit } = chunk;
    const isShared = unit.batch || unit.zran !== null;
    const decoding = isShared
      ? this.#sharedUnit(blobIndex, blob, unit)
      : window.read(unit.start, unit.size).then((stored) => decodeUnit(spec, this.#codecs, unit, stored));
    const whole = await decoding.catch((cause: Error) => {
      // A decoder does not know whose bytes it has.
      const corrupt = cause instanceof BlobError && cause.code === 'BLOB_CORRUPT';
      if (!corrupt) throw cause;
      const name = `blob ${spec.id} chunk ${chunk.index}`;
      throw new BlobError('BLOB_CORRUPT', `${name}: ${cause.message}`, { cause });
    });
    const bytes = whole.subarray(chunk.unitPosition, chunk.unitPosition + chunk.uncompressedSize);
    const digest = chunk.digest?.some((byte) => byte !== 0) ? chunk.digest : null;
    verifyChunk(spec, this.#codecs, { ...chunk, digest }, bytes, digest !== null);
    return bytes;
  }

  /** A batch or slice, decoded once for the members that are read soon after each other. */
  #sharedUnit(blobIndex: number, blob: OpenBlob, unit: Unit): Promise<Uint8Array> {
    const key = `${blobIndex}:${unit.start}`;
    const known = this.#shared.get(key);
    if (known !== undefined) {
      this.#shared.delete(key);
      this.#shared.set(key, known);
      return known.plain;
    }
    const plain = blob.window
      .read(unit.start, unit.size)
      .then((stored) => decodeUnit(blob.spec, this.#codecs, unit, stored));
    this.#shared.set(key, { plain, size: unit.uncompressedSize });
    this.#sharedBytes += unit.uncompressedSize;
    for (const [oldKey, old] of this.#shared) {
      if (this.#sharedBytes <= SHARED_BYTES_MAX || oldKey === key) break;
      this.#shared.delete(oldKey);
      this.#sharedBytes -= old.size;
    }
    return plain;
  }

  #record(blobIndex: number, index: number): StoredChunk | null {
    if (this.#records === null) {
      this.#records = this.#image.bootstrap.blobs.map(() => new Map());
      for (const chunk of this.#image.chunks) this.#records[chunk.blobIndex]!.set(chunk.index, chunk);
    }
    return this.#records[blobIndex]?.get(index) ?? null;
  }

  #open(blobIndex: number): Promise<OpenBlob> {
    const known = this.#blobs.get(blobIndex);
    if (known !== undefined) return known;
    const opening = this.#openBlob(blobIndex);
    this.#blobs.set(blobIndex, opening);
    return opening;
  }

  async #openBlob(blobIndex: number): Promise<OpenBlob> {
    const { bootstrap, path } = this.#image;
    const row = bootstrap.blobs[blobIndex];
    if (row === undefined) this.#damaged(`no blob ${blobIndex}: there are ${bootstrap.blobs.length}`);
    const spec = blobSpec(row, bootstrap, path);
    checkSpec(spec, NO_CACHE);
    const found = await this.#source.size(spec.objectId);
    const tarfs = (spec.features & BlobFeature.tarfs) !== 0;
    const region = tarfs ? spec.uncompressedSize : dataRegionSize(spec);
    const rule = `at least ${region}, the bootstrap's data region`;
    checkBlob(region <= found, 'BLOB_BAD_SPEC', `blob ${spec.objectId} size`, found, rule);
    const window = new ReadWindow(this.#source, spec.objectId, region);
    if (tarfs) return { spec, table: null, window };
    if (spec.version === 5) return { spec, table: new RecordChunks(spec), window };
    const info = await loadChunkInfo(spec, null, this.#source, this.#codecs, () => {});
    return { spec, table: new IndexedChunks(spec, info, null), window };
  }

  #damaged(fault: string): never {
    throw new ImageError('IMAGE_DAMAGED', `${this.#image.path}: ${fault}`);
  }
}

interface Place {
  readonly index: number;
  readonly offset: number;
  readonly uncompressedSize: number;
}

function* tarPlaces(size: number): Generator<Place> {
  for (let offset = 0; offset < size; offset += PIECE_BYTES) {
    yield { index: offset / PIECE_BYTES, offset, uncompressedSize: Math.min(PIECE_BYTES, size - offset) };
  }
}
