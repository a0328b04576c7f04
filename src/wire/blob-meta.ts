import { checkBlob } from './blob-error.ts';
import { readU64, writeU64 } from './rafs/bytes.ts';
import { BlobFeature, CHUNK_SIZE_MAX, CHUNKS_PER_BLOB_MAX } from './rafs/flags.ts';

/** Header of a blob's chunk info ("CI"), one 4096-byte block behind the table. storage/src/meta/mod.rs. */
export const ChunkInfoHeader = {
  magic: 0,
  features: 4,
  compressor: 8,
  count: 12,
  offset: 16,
  compressedSize: 24,
  uncompressedSize: 32,
  contextOffset: 40,
  contextSize: 48,
  contextCount: 56,
  magicEnd: 4092,
  size: 4096,
} as const;

const CHUNK_INFO_MAGIC = 0xb10bb10b;

/** Flags of a 24-byte entry. storage/src/meta/chunk_info_v2.rs. */
export const ChunkInfoFlag = { compressed: 1, zran: 2, batch: 4, encrypted: 8, hasCrc32c: 0x10 } as const;

/** Indexed-gzip context: where one slice of a gzip stream can be inflated on its own. storage/src/meta/zran.rs. */
export const ZranContext = {
  inOffset: 0,
  outOffset: 8,
  dictOffset: 16,
  inLength: 24,
  outLength: 28,
  dictSize: 32,
  byte: 36,
  bits: 37,
  size: 40,
} as const;

/** Batch context: a buffer of several small chunks compressed as one. storage/src/meta/batch.rs. */
export const BatchContext = { compressedSize: 0, uncompressedSize: 4, size: 40 } as const;

/** Uncompressed bytes of one batch or zran slice: writers stay at 2 MiB; more only costs us memory. */
export const CONTEXT_BYTES_MAX: number = 2 * CHUNK_SIZE_MAX;
/** Window of deflate: no dictionary is longer. */
const DICTIONARY_BYTES_MAX = 0x8000;
/** Uncompressed chunk info: 2^24 entries of 24 bytes with contexts stay below; it is held in memory. */
export const CHUNK_INFO_BYTES_MAX: number = 2 ** 30;

/** A chunk-info header, decoded. Offsets and sizes in bytes. */
export interface DecodedChunkInfoHeader {
  readonly features: number;
  readonly compressor: number;
  readonly count: number;
  readonly offset: number;
  readonly compressedSize: number;
  readonly uncompressedSize: number;
  readonly contextOffset: number;
  readonly contextSize: number;
  readonly contextCount: number;
}

/** Decodes the first 4096 bytes of `view`. Throws BlobError for a wrong magic. */
export function decodeChunkInfoHeader(view: DataView): DecodedChunkInfoHeader {
  const H = ChunkInfoHeader;
  checkBlob(view.byteLength >= H.size, 'BLOB_BAD_META', 'header size', view.byteLength, `${H.size} bytes`);
  for (const at of [H.magic, H.magicEnd]) {
    const magic = view.getUint32(at, true);
    checkBlob(
      magic === CHUNK_INFO_MAGIC,
      'BLOB_BAD_META',
      `header.magic@${at}`,
      `0x${magic.toString(16)}`,
      '0xb10bb10b',
    );
  }
  return {
    features: view.getUint32(H.features, true),
    compressor: view.getUint32(H.compressor, true),
    count: view.getUint32(H.count, true),
    offset: readU64(view, H.offset),
    compressedSize: readU64(view, H.compressedSize),
    uncompressedSize: readU64(view, H.uncompressedSize),
    contextOffset: readU64(view, H.contextOffset),
    contextSize: readU64(view, H.contextSize),
    contextCount: view.getUint32(H.contextCount, true),
  };
}

/** A fresh 4096-byte header. */
export function encodeChunkInfoHeader(header: DecodedChunkInfoHeader): Uint8Array {
  const H = ChunkInfoHeader;
  const bytes = new Uint8Array(H.size);
  const view = new DataView(bytes.buffer);
  view.setUint32(H.magic, CHUNK_INFO_MAGIC, true);
  view.setUint32(H.features, header.features, true);
  view.setUint32(H.compressor, header.compressor, true);
  view.setUint32(H.count, header.count, true);
  writeU64(view, H.offset, header.offset);
  writeU64(view, H.compressedSize, header.compressedSize);
  writeU64(view, H.uncompressedSize, header.uncompressedSize);
  writeU64(view, H.contextOffset, header.contextOffset);
  writeU64(view, H.contextSize, header.contextSize);
  view.setUint32(H.contextCount, header.contextCount, true);
  view.setUint32(H.magicEnd, CHUNK_INFO_MAGIC, true);
  return bytes;
}

/** What a chunk-info table is checked against: the regions of its blob. */
interface ChunkInfoLimits {
  readonly features: number;
  readonly chunkCount: number;
  /** Bytes of the blob that hold chunk data. */
  readonly compressedSize: number;
  readonly uncompressedSize: number;
}

/**
 * The chunk info of a blob, kept as the bytes of the format and decoded on access: 2^24 chunks must not become 2^24
 * objects. Every entry has been checked by `decodeChunkInfo`; callers check `index < count`.
 */
export class ChunkInfoTable {
  readonly count: number;
  readonly contextCount: number;
  readonly #view: DataView;
  readonly #v2: boolean;
  readonly #contexts: number;

  constructor(view: DataView, count: number, v2: boolean, contextOffset: number, contextCount: number) {
    this.#view = view;
    this.count = count;
    this.#v2 = v2;
    this.#contexts = contextOffset;
    this.contextCount = contextCount;
  }

  compressedOffset(index: number): number {
    const at = this.#v2 ? index * 24 + 8 : index * 16 + 8;
    return (this.#view.getUint32(at + 4, true) & 0xff) * 2 ** 32 + this.#view.getUint32(at, true);
  }

  compressedSize(index: number): number {
    if (this.#v2) return this.#view.getUint32(index * 24 + 12, true) >>> 8;
    const high = this.#view.getUint32(index * 16 + 12, true);
    return (high >>> 12) + ((high >>> 8) & 0xf) * 2 ** 20 + 1;
  }

  uncompressedOffset(index: number): number {
    if (this.#v2) return this.#view.getUint32(index * 24, true) * 4096;
    const low = this.#view.getUint32(index * 16, true);
    return (this.#view.getUint32(index * 16 + 4, true) & 0xfff) * 2 ** 32 + ((low & 0xfffff000) >>> 0);
  }

  uncompressedSize(index: number): number {
    if (this.#v2) return (this.#view.getUint32(index * 24 + 4, true) & 0xffffff) + 1;
    const low = this.#view.getUint32(index * 16, true);
    return (this.#view.getUint32(index * 16 + 4, true) >>> 12) + ((low >>> 8) & 0xf) * 2 ** 20 + 1;
  }

  /** ChunkInfoFlag bits; a 16-byte entry is compressed if its sizes differ. */
  flags(index: number): number {
    if (this.#v2) return this.#view.getUint32(index * 24 + 4, true) >>> 24;
    return this.compressedSize(index) === this.uncompressedSize(index) ? 0 : ChunkInfoFlag.compressed;
  }

  /** CRC-32C of the uncompressed bytes, meaningful with the hasCrc32c flag. */
  crc32c(index: number): number {
    return this.#v2 ? this.#view.getUint32(index * 24 + 16, true) : 0;
  }

  /** Batch or zran: number of the context. */
  context(index: number): number {
    return this.#view.getUint32(index * 24 + 20, true);
  }

  /** Batch or zran: where the chunk begins in the context's uncompressed bytes. */
  contextPosition(index: number): number {
    return this.#view.getUint32(index * 24 + 16, true);
  }

  batchCompressedSize(context: number): number {
    return this.#view.getUint32(this.#contexts + context * BatchContext.size, true);
  }

  batchUncompressedSize(context: number): number {
    return this.#view.getUint32(
      this.#contexts + context * BatchContext.size + BatchContext.uncompressedSize,
      true,
    );
  }

  zranInOffset(context: number): number {
    return readU64(this.#view, this.#contexts + context * ZranContext.size);
  }

  zranInLength(context: number): number {
    return this.#view.getUint32(this.#contexts + context * ZranContext.size + ZranContext.inLength, true);
  }

  zranOutLength(context: number): number {
    return this.#view.getUint32(this.#contexts + context * ZranContext.size + ZranContext.outLength, true);
  }

  zranBits(context: number): number {
    return this.#view.getUint8(this.#contexts + context * ZranContext.size + ZranContext.bits);
  }

  zranByte(context: number): number {
    return this.#view.getUint8(this.#contexts + context * ZranContext.size + ZranContext.byte);
  }

  zranDictOffset(context: number): number {
    return readU64(this.#view, this.#contexts + context * ZranContext.size + ZranContext.dictOffset);
  }

  zranDictSize(context: number): number {
    return this.#view.getUint32(this.#contexts + context * ZranContext.size + ZranContext.dictSize, true);
  }

  /** The window before the context's first byte; null for the first of a stream. */
  zranDictionary(context: number): Uint8Array | null {
    const size = this.zranDictSize(context);
    if (size === 0) return null;
    const at = this.#contexts + this.contextCount * ZranContext.size + this.zranDictOffset(context);
    return new Uint8Array(this.#view.buffer, this.#view.byteOffset + at, size);
  }
}

/**
 * Checks `bytes` (the uncompressed chunk info) entry by entry and returns the table over them, not a copy. Throws
 * BlobError.
 */
export function decodeChunkInfo(
  bytes: Uint8Array,
  header: DecodedChunkInfoHeader,
  limits: ChunkInfoLimits,
): ChunkInfoTable {
  const { features, chunkCount } = limits;
  const v2 = (features & BlobFeature.chunkInfoV2) !== 0;
  const entries = chunkCount * (v2 ? 24 : 16);
  checkBlob(chunkCount <= CHUNKS_PER_BLOB_MAX, 'BLOB_BAD_META', 'chunk_count', chunkCount, 'at most 2^24');
  checkBlob(bytes.length >= entries, 'BLOB_BAD_META', 'chunk info size', bytes.length, `at least ${entries}`);
  const contextual = (features & (BlobFeature.zran | BlobFeature.batch)) !== 0;
  const contexts = contextual ? header.contextCount : 0;
  if (contextual) checkContextArea(bytes.length, header, entries);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const table = new ChunkInfoTable(view, chunkCount, v2, entries, contexts);
  if (features & BlobFeature.zran) checkZranContexts(table, bytes.length - entries, limits);
  else if (features & BlobFeature.batch) checkBatchContexts(table);
  for (let i = 0; i < chunkCount; i++) checkEntry(table, i, limits);
  return table;
}

function checkContextArea(length: number, header: DecodedChunkInfoHeader, entries: number): void {
  const bad = 'BLOB_BAD_META';
  const { contextOffset, contextSize, contextCount, count } = header;
  checkBlob(
    contextCount <= count,
    bad,
    'header.context_count',
    contextCount,
    `at most one for each of ${count} entries`,
  );
  // A batch build without a batch leaves the three fields zero.
  if (contextCount === 0 && contextOffset === 0) return;
  checkBlob(
    contextOffset === entries,
    bad,
    'header.context_offset',
    contextOffset,
    `behind the entries (${entries})`,
  );
  checkBlob(
    contextOffset + contextSize <= length,
    bad,
    'header.context_size',
    contextSize,
    'inside the chunk info',
  );
  checkBlob(
    contextCount * 40 <= contextSize,
    bad,
    'header.context_count',
    contextCount,
    '40 bytes each in the context area',
  );
}

function checkZranContexts(table: ChunkInfoTable, areaSize: number, limits: ChunkInfoLimits): void {
  const bad = 'BLOB_BAD_META';
  const dictionaries = areaSize - table.contextCount * ZranContext.size;
  for (let i = 0; i < table.contextCount; i++) {
    const name = `zran[${i}]`;
    const end = table.zranInOffset(i) + table.zranInLength(i);
    checkBlob(
      end <= limits.compressedSize,
      bad,
      `${name}.in_offset+in_len`,
      end,
      `at most ${limits.compressedSize}`,
    );
    checkBlob(
      table.zranInLength(i) <= CONTEXT_BYTES_MAX,
      bad,
      `${name}.in_len`,
      table.zranInLength(i),
      `at most ${CONTEXT_BYTES_MAX}`,
    );
    checkBlob(
      table.zranOutLength(i) <= CONTEXT_BYTES_MAX,
      bad,
      `${name}.out_len`,
      table.zranOutLength(i),
      `at most ${CONTEXT_BYTES_MAX}`,
    );
    const dictSize = table.zranDictSize(i);
    checkBlob(dictSize <= DICTIONARY_BYTES_MAX, bad, `${name}.dict_size`, dictSize, 'at most 32 KiB');
    const dictEnd = table.zranDictOffset(i) + dictSize;
    checkBlob(
      dictSize === 0 || dictEnd <= dictionaries,
      bad,
      `${name}.dict_offset+dict_size`,
      dictEnd,
      `at most ${dictionaries}`,
    );
    checkBlob(table.zranBits(i) <= 7, bad, `${name}.ctx_bits`, table.zranBits(i), 'at most 7');
  }
}

function checkBatchContexts(table: ChunkInfoTable): void {
  for (let i = 0; i < table.contextCount; i++) {
    const size = table.batchUncompressedSize(i);
    checkBlob(
      size > 0 && size <= CONTEXT_BYTES_MAX,
      'BLOB_BAD_META',
      `batch[${i}].uncompressed_size`,
      size,
      `1…${CONTEXT_BYTES_MAX}`,
    );
    const compressed = table.batchCompressedSize(i);
    const most = size + 18;
    checkBlob(
      compressed > 0 && compressed <= most,
      'BLOB_BAD_META',
      `batch[${i}].compressed_size`,
      compressed,
      `1…${most}`,
    );
  }
}

function checkEntry(table: ChunkInfoTable, i: number, limits: ChunkInfoLimits): void {
  const bad = 'BLOB_BAD_META';
  const usize = table.uncompressedSize(i);
  const flags = table.flags(i);
  const end = Math.ceil(limits.uncompressedSize / 4096) * 4096;
  const uend = table.uncompressedOffset(i) + usize;
  if (uend > end) checkBlob(false, bad, `entry[${i}].uncompressed_offset+size`, uend, `at most ${end}`);
  if (usize > CHUNK_SIZE_MAX)
    checkBlob(false, bad, `entry[${i}].uncompressed_size`, usize, `at most ${CHUNK_SIZE_MAX}`);
  const member = (flags & (ChunkInfoFlag.zran | ChunkInfoFlag.batch)) !== 0;
  if (member) checkMember(table, i, flags, limits);
  else checkPlain(table, i, flags, limits);
}

function checkPlain(table: ChunkInfoTable, i: number, flags: number, limits: ChunkInfoLimits): void {
  const bad = 'BLOB_BAD_META';
  const usize = table.uncompressedSize(i);
  const csize = table.compressedSize(i);
  const cend = table.compressedOffset(i) + csize;
  if (cend > limits.compressedSize)
    checkBlob(false, bad, `entry[${i}].compressed_offset+size`, cend, `at most ${limits.compressedSize}`);
  if (csize === 0) checkBlob(false, bad, `entry[${i}].compressed_size`, csize, 'not 0');
  const plain = (flags & (ChunkInfoFlag.compressed | ChunkInfoFlag.encrypted)) === 0;
  if (plain && csize !== usize)
    checkBlob(false, bad, `entry[${i}].compressed_size`, csize, `${usize}, for it is not compressed`);
  const encrypted = (flags & ChunkInfoFlag.encrypted) !== 0;
  if (encrypted && !(limits.features & BlobFeature.encrypted))
    checkBlob(false, bad, `entry[${i}].flags`, flags, 'the blob is not encrypted');
}

function checkMember(table: ChunkInfoTable, i: number, flags: number, limits: ChunkInfoLimits): void {
  const bad = 'BLOB_BAD_META';
  const zran = (flags & ChunkInfoFlag.zran) !== 0;
  const needed = zran ? BlobFeature.zran : BlobFeature.batch;
  const allowed = (limits.features & needed) !== 0;
  checkBlob(allowed, bad, `entry[${i}].flags`, flags, `the blob has no ${zran ? 'zran' : 'batch'} contexts`);
  const context = table.context(i);
  checkBlob(context < table.contextCount, bad, `entry[${i}].context`, context, `below ${table.contextCount}`);
  const size = zran ? table.zranOutLength(context) : table.batchUncompressedSize(context);
  const end = table.contextPosition(i) + table.uncompressedSize(i);
  checkBlob(
    end <= size,
    bad,
    `entry[${i}].context_position+size`,
    end,
    `at most the context's ${size} bytes`,
  );
  if (zran) return;
  const cend = table.compressedOffset(i) + table.batchCompressedSize(context);
  checkBlob(
    cend <= limits.compressedSize,
    bad,
    `entry[${i}].compressed_offset+batch size`,
    cend,
    `at most ${limits.compressedSize}`,
  );
}
