import { type Compressor, compressors } from './flags.ts';

/** Bytes of a v1 chunk-info entry. */
export const CHUNK_INFO_V1_SIZE = 16;
/** Bytes of the chunk-info header, at the blob's end. */
export const BLOB_META_HEADER_SIZE = 4096;
const BLOB_META_MAGIC = 0xb10bb10b;

/** What a v1 chunk-info entry says. Sizes 1 … 16 MiB; `uncompressedOffset` is a multiple of 4096. */
export interface ChunkInfo {
  readonly uncompressedOffset: number;
  readonly uncompressedSize: number;
  readonly compressedOffset: number;
  readonly compressedSize: number;
}

/**
 * Writes a v1 entry of 16 bytes at `at`: sizes are stored minus one, their low 20 bits on top, the 4 high bits
 * beside the offset. storage/src/meta/chunk_info_v1.rs.
 */
export function encodeChunkInfoV1(view: DataView, at: number, chunk: ChunkInfo): void {
  const plain = chunk.uncompressedSize - 1;
  const packed = chunk.compressedSize - 1;
  const first =
    (BigInt(plain & 0xfffff) << 44n) | BigInt(chunk.uncompressedOffset) | BigInt((plain >>> 20) << 8);
  const second =
    (BigInt(packed & 0xfffff) << 44n) | (BigInt(packed >>> 20) << 40n) | BigInt(chunk.compressedOffset);
  view.setBigUint64(at, first, true);
  view.setBigUint64(at + 8, second, true);
}

/** What the chunk-info header says. Offsets in the blob, sizes in bytes. */
export interface BlobMetaHeader {
  readonly features: number;
  readonly compressor: Compressor;
  readonly entries: number;
  readonly offset: number;
  readonly compressedSize: number;
  readonly uncompressedSize: number;
}

/** The 4096-byte header behind the chunk info. storage/src/meta/mod.rs. */
export function encodeBlobMetaHeader(header: BlobMetaHeader): Buffer {
  const out = Buffer.alloc(BLOB_META_HEADER_SIZE);
  out.writeUInt32LE(BLOB_META_MAGIC, 0);
  out.writeUInt32LE(header.features, 4);
  out.writeUInt32LE(compressors.indexOf(header.compressor), 8);
  out.writeUInt32LE(header.entries, 12);
  out.writeBigUInt64LE(BigInt(header.offset), 16);
  out.writeBigUInt64LE(BigInt(header.compressedSize), 24);
  out.writeBigUInt64LE(BigInt(header.uncompressedSize), 32);
  out.writeUInt32LE(BLOB_META_MAGIC, BLOB_META_HEADER_SIZE - 4);
  return out;
}
