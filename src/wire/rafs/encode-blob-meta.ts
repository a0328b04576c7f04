/** Bytes of a v1 chunk-info entry. */
export const CHUNK_INFO_V1_SIZE = 16;

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
