import { readU64, writeU64 } from './bytes.ts';

/**
 * Chunk record: trails v5 regular inodes and makes up the v6 chunk table. rafs/src/metadata/layout/v5.rs.
 * Bytes 72…80 are zero in images of 2020 (no index, no CRC).
 */
export const ChunkRecordLayout = {
  digest: 0,
  blobIndex: 32,
  flags: 36,
  compressedSize: 40,
  uncompressedSize: 44,
  compressedOffset: 48,
  uncompressedOffset: 56,
  fileOffset: 64,
  index: 72,
  crc32c: 76,
  size: 80,
} as const;

/** Flags of a chunk record. storage/src/device.rs. */
export const ChunkFlag = { compressed: 1, hole: 2, encrypted: 4, batch: 8, hasCrc32c: 0x10 } as const;

/** A decoded chunk record; offsets and sizes in bytes. */
export interface DecodedChunk {
  readonly blobIndex: number;
  readonly index: number;
  readonly flags: number;
  readonly compressedOffset: number;
  readonly compressedSize: number;
  readonly uncompressedOffset: number;
  readonly uncompressedSize: number;
  readonly fileOffset: number;
  readonly crc32c: number;
  /** A copy: may be sent to another thread. */
  readonly digest: Uint8Array;
}

/** Decodes the record at `at`, which the caller has checked to lie inside the view. */
export function decodeChunk(view: DataView, at: number): DecodedChunk {
  return {
    blobIndex: view.getUint32(at + ChunkRecordLayout.blobIndex, true),
    index: view.getUint32(at + ChunkRecordLayout.index, true),
    flags: view.getUint32(at + ChunkRecordLayout.flags, true),
    compressedOffset: readU64(view, at + ChunkRecordLayout.compressedOffset),
    compressedSize: view.getUint32(at + ChunkRecordLayout.compressedSize, true),
    uncompressedOffset: readU64(view, at + ChunkRecordLayout.uncompressedOffset),
    uncompressedSize: view.getUint32(at + ChunkRecordLayout.uncompressedSize, true),
    fileOffset: readU64(view, at + ChunkRecordLayout.fileOffset),
    crc32c: view.getUint32(at + ChunkRecordLayout.crc32c, true),
    digest: new Uint8Array(view.buffer, view.byteOffset + at, 32).slice(),
  };
}

/** Writes all 80 bytes at `at`. */
export function encodeChunk(view: DataView, at: number, chunk: DecodedChunk): void {
  new Uint8Array(view.buffer, view.byteOffset + at, 32).set(chunk.digest);
  view.setUint32(at + ChunkRecordLayout.blobIndex, chunk.blobIndex, true);
  view.setUint32(at + ChunkRecordLayout.flags, chunk.flags, true);
  view.setUint32(at + ChunkRecordLayout.compressedSize, chunk.compressedSize, true);
  view.setUint32(at + ChunkRecordLayout.uncompressedSize, chunk.uncompressedSize, true);
  writeU64(view, at + ChunkRecordLayout.compressedOffset, chunk.compressedOffset);
  writeU64(view, at + ChunkRecordLayout.uncompressedOffset, chunk.uncompressedOffset);
  writeU64(view, at + ChunkRecordLayout.fileOffset, chunk.fileOffset);
  view.setUint32(at + ChunkRecordLayout.index, chunk.index, true);
  view.setUint32(at + ChunkRecordLayout.crc32c, chunk.crc32c, true);
}

/**
 * Chunk address of a v6 inode, 8 bytes: the EROFS chunk index with the 24-bit chunk number folded in.
 * `device` is the blob's index plus one; 0 would be the bootstrap itself, which holds no file data.
 */
export const ChunkAddress = { indexLow: 0, device: 2, indexHigh: 3, blockAddress: 4, size: 8 } as const;

/** Chunk number within its blob (24 bits). */
export function chunkAddressIndex(view: DataView, at: number): number {
  return view.getUint16(at, true) | (view.getUint8(at + ChunkAddress.indexHigh) << 16);
}
