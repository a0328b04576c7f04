import { BlobError, checkBlob } from '../wire/blob-error.ts';
import { ChunkInfoFlag, type ChunkInfoTable } from '../wire/blob-meta.ts';
import { type BlobSpec, dataRegionSize, isLegacyStargz, isUnindexed } from '../wire/rafs/blob-spec.ts';
import { ChunkFlag } from '../wire/rafs/chunk.ts';
import { CHUNK_SIZE_MAX } from '../wire/rafs/flags.ts';
import type { ZranStart } from './lander.ts';
import type { ChunkRef } from './view.ts';

/** Stored bytes that are decoded as one: a chunk, a batch of small chunks, or a slice of a gzip stream. */
export interface Unit {
  readonly start: number;
  readonly size: number;
  readonly uncompressedSize: number;
  readonly compressed: boolean;
  readonly encrypted: boolean;
  readonly batch: boolean;
  readonly zran: ZranStart | null;
}

/** One chunk, checked against its blob's regions. Made on a miss only. */
export interface Chunk {
  /** Identity within the blob: the index, or the uncompressed offset where there is no index. */
  readonly key: number;
  readonly index: number;
  readonly uncompressedOffset: number;
  readonly uncompressedSize: number;
  readonly unit: Unit;
  /** Where the chunk begins in the unit's uncompressed bytes. */
  readonly unitPosition: number;
  /** Context number of a batch or zran member, -1 for a plain chunk. */
  readonly context: number;
  /** Null: none recorded. */
  readonly crc32c: number | null;
  readonly digest: Uint8Array | null;
}

/** Finds chunks of a blob. */
export interface ChunkTable {
  /** Throws BlobError for a reference outside the blob. */
  locate(ref: ChunkRef): Chunk;
  /** The chunk with this index if the table knows it without a reference. */
  at(index: number): Chunk | null;
}

/** v6: the blob's chunk info. `digests` are 32 bytes for each chunk, all zero where unknown. */
export class IndexedChunks implements ChunkTable {
  readonly #spec: BlobSpec;
  readonly #info: ChunkInfoTable;
  readonly #digests: Uint8Array | null;
  /** Units of contexts seen last: members of one context must share one object to be decoded once. */
  readonly #contexts = new Map<number, Unit>();

  constructor(spec: BlobSpec, info: ChunkInfoTable, digests: Uint8Array | null) {
    this.#spec = spec;
    this.#info = info;
    this.#digests = digests;
    const size = 32 * spec.chunkCount;
    const fits = digests === null || digests.length === size;
    checkBlob(fits, 'BLOB_BAD_SPEC', 'digests size', digests?.length, `32 bytes for each chunk (${size})`);
  }

  locate(ref: ChunkRef): Chunk {
    const chunk = this.at(ref.index);
    if (chunk) return chunk;
    const rule = `below ${this.#info.count}`;
    throw new BlobError(
      'BLOB_BAD_CHUNK',
      `blob ${this.#spec.id}: chunk index = ${ref.index}, must be ${rule}`,
    );
  }

  at(index: number): Chunk | null {
    const info = this.#info;
    if (!Number.isInteger(index) || index < 0 || index >= info.count) return null;
    const flags = info.flags(index);
    const member = (flags & (ChunkInfoFlag.zran | ChunkInfoFlag.batch)) !== 0;
    const context = member ? info.context(index) : -1;
    return {
      key: index,
      index,
      uncompressedOffset: info.uncompressedOffset(index),
      uncompressedSize: info.uncompressedSize(index),
      unit: member ? this.#contextUnit(index, context, flags) : this.#plainUnit(index, flags),
      unitPosition: member ? info.contextPosition(index) : 0,
      context,
      crc32c: !member && flags & ChunkInfoFlag.hasCrc32c ? info.crc32c(index) : null,
      digest: this.#digest(index),
    };
  }

  #plainUnit(index: number, flags: number): Unit {
    const info = this.#info;
    const start = info.compressedOffset(index);
    const uncompressedSize = info.uncompressedSize(index);
    let size = info.compressedSize(index);
    if (isLegacyStargz(this.#spec))
      size = Math.min(gzipBytesMax(uncompressedSize), dataRegionSize(this.#spec) - start);
    const compressed = (flags & ChunkInfoFlag.compressed) !== 0;
    const encrypted = (flags & ChunkInfoFlag.encrypted) !== 0;
    return { start, size, uncompressedSize, compressed, encrypted, batch: false, zran: null };
  }

  #contextUnit(index: number, context: number, flags: number): Unit {
    const start =
      flags & ChunkInfoFlag.zran ? this.#info.zranInOffset(context) : this.#info.compressedOffset(index);
    const known = this.#contexts.get(context);
    if (known && known.start === start) return known;
    const unit =
      flags & ChunkInfoFlag.zran ? this.#zranUnit(context) : this.#batchUnit(context, start, flags);
    if (this.#contexts.size >= 64) this.#contexts.clear();
    this.#contexts.set(context, unit);
    return unit;
  }

  #zranUnit(context: number): Unit {
    const info = this.#info;
    return {
      start: info.zranInOffset(context),
      size: info.zranInLength(context),
      uncompressedSize: info.zranOutLength(context),
      compressed: true,
      encrypted: false,
      batch: false,
      zran: {
        bits: info.zranBits(context),
        byte: info.zranByte(context),
        dictionary: info.zranDictionary(context),
      },
    };
  }

  #batchUnit(context: number, start: number, flags: number): Unit {
    return {
      start,
      size: this.#info.batchCompressedSize(context),
      uncompressedSize: this.#info.batchUncompressedSize(context),
      compressed: true,
      encrypted: (flags & ChunkInfoFlag.encrypted) !== 0,
      batch: true,
      zran: null,
    };
  }

  #digest(index: number): Uint8Array | null {
    const digest = this.#digests?.subarray(index * 32, index * 32 + 32);
    return digest?.some((byte) => byte !== 0) ? digest : null;
  }
}

/** v5: every reference brings its 80-byte record. */
export class RecordChunks implements ChunkTable {
  readonly #spec: BlobSpec;

  constructor(spec: BlobSpec) {
    this.#spec = spec;
  }

  locate(ref: ChunkRef): Chunk {
    const record = ref.record;
    const spec = this.#spec;
    const name = `blob ${spec.id} chunk ${ref.index}`;
    const bad = 'BLOB_BAD_CHUNK';
    if (!record) throw new BlobError(bad, `${name}: a v5 chunk needs its record`);
    const unindexed = isUnindexed(spec);
    checkBlob(
      unindexed || ref.index < spec.chunkCount,
      bad,
      `${name}.index`,
      ref.index,
      `below ${spec.chunkCount}`,
    );
    const {
      compressedOffset: start,
      compressedSize: size,
      uncompressedOffset,
      uncompressedSize,
      flags,
    } = record;
    checkBlob(
      uncompressedSize > 0 && uncompressedSize <= CHUNK_SIZE_MAX,
      bad,
      `${name}.uncompressed_size`,
      uncompressedSize,
      `1…${CHUNK_SIZE_MAX}`,
    );
    checkBlob(
      size > 0 && size <= 2 * CHUNK_SIZE_MAX,
      bad,
      `${name}.compressed_size`,
      size,
      `1…${2 * CHUNK_SIZE_MAX}`,
    );
    const end = start + size;
    const limit = unindexed ? 2 ** 44 : dataRegionSize(spec);
    checkBlob(end <= limit, bad, `${name}.compressed_offset+size`, end, `at most ${limit}`);
    const uend = uncompressedOffset + uncompressedSize;
    const ulimit = unindexed ? 2 ** 44 : spec.uncompressedSize;
    checkBlob(uend <= ulimit, bad, `${name}.uncompressed_offset+size`, uend, `at most ${ulimit}`);
    const strange = flags & (ChunkFlag.batch | ChunkFlag.encrypted);
    checkBlob(strange === 0, bad, `${name}.flags`, flags, 'v5 has neither batches nor encryption');
    const compressed = (flags & ChunkFlag.compressed) !== 0;
    checkBlob(
      compressed || size === uncompressedSize,
      bad,
      `${name}.compressed_size`,
      size,
      `${uncompressedSize}, for it is not compressed`,
    );
    return {
      key: unindexed ? uncompressedOffset : ref.index,
      index: ref.index,
      uncompressedOffset,
      uncompressedSize,
      unit: { start, size, uncompressedSize, compressed, encrypted: false, batch: false, zran: null },
      unitPosition: 0,
      context: -1,
      crc32c: flags & ChunkFlag.hasCrc32c ? record.crc32c : null,
      digest: record.digest,
    };
  }

  at(): null {
    return null;
  }
}

/**
 * Bound of a gzip member of `size` bytes which did not compress: header, trailer and stored-block headers.
 * utils/src/compress/mod.rs.
 */
function gzipBytesMax(size: number): number {
  return size + 10 + 8 + 5 + Math.ceil(size / 16384) * 5 + 128;
}
