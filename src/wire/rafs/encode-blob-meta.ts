import { BatchContext } from '../blob-meta.ts';

/** Bytes of a chunk-info entry by version. */
export const CHUNK_INFO_V1_SIZE = 16;
export const CHUNK_INFO_V2_SIZE = 24;
/** Largest compressed size which a v2 entry has room for: one byte less than the largest chunk. */
export const CHUNK_INFO_V2_COMPRESSED_MAX = 0xffffff;

/** What a v1 chunk-info entry says. Sizes 1 … 16 MiB; `uncompressedOffset` is a multiple of 4096. */
interface ChunkInfo {
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

/**
 * What a v2 entry says beside sizes and offsets. `data` is the CRC-32C, or for a member of a context its number (high
 * 32 bits) and the position in it.
 */
export interface ChunkInfoV2 extends ChunkInfo {
  /** ChunkInfoFlag bits. */
  readonly flags: number;
  readonly dataLow: number;
  readonly dataHigh: number;
}

/**
 * Writes a v2 entry of 24 bytes at `at`: the uncompressed size is stored minus one, the compressed size as it is.
 * storage/src/meta/chunk_info_v2.rs.
 */
export function encodeChunkInfoV2(view: DataView, at: number, chunk: ChunkInfoV2): void {
  view.setUint32(at, chunk.uncompressedOffset / 4096, true);
  view.setUint32(at + 4, ((chunk.flags << 24) | (chunk.uncompressedSize - 1)) >>> 0, true);
  const high = Math.floor(chunk.compressedOffset / 2 ** 32);
  view.setUint32(at + 8, chunk.compressedOffset % 2 ** 32, true);
  view.setUint32(at + 12, ((chunk.compressedSize << 8) | high) >>> 0, true);
  view.setUint32(at + 16, chunk.dataLow, true);
  view.setUint32(at + 20, chunk.dataHigh, true);
}

/** Writes a batch context of 40 bytes at `at` into a zeroed view. storage/src/meta/batch.rs. */
export function encodeBatchContext(
  view: DataView,
  at: number,
  batch: { readonly compressedSize: number; readonly uncompressedSize: number },
): void {
  view.setUint32(at + BatchContext.compressedSize, batch.compressedSize, true);
  view.setUint32(at + BatchContext.uncompressedSize, batch.uncompressedSize, true);
}
