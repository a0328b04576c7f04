import { writeU64 } from './bytes.ts';
import { ChunkAddress } from './chunk.ts';
import { ExtendedInode } from './inode-v6.ts';
import {
  BlobRowV6,
  COMPAT_RAFS_V6,
  type DecodedSuperblockV6,
  type DeviceSlot,
  DeviceV6,
  ExtSuperblockV6,
  INCOMPAT_V6,
  MAGIC_V6,
  SuperblockV6,
} from './superblock-v6.ts';

/** Writes the EROFS superblock and its RAFS extension into a zeroed bootstrap. */
export function encodeSuperblockV6(view: DataView, sb: DecodedSuperblockV6): void {
  const S = SuperblockV6;
  view.setUint32(S.base + S.magic, MAGIC_V6, true);
  view.setUint32(S.base + S.featureCompat, COMPAT_RAFS_V6, true);
  view.setUint8(S.base + S.blockBits, Math.log2(sb.blockSize));
  view.setUint16(S.base + S.rootNid, sb.rootNid, true);
  writeU64(view, S.base + S.inos, sb.inos);
  view.setUint32(S.base + S.blocks, sb.blocks, true);
  view.setUint32(S.base + S.metaBlockAddress, sb.metaBlockAddress, true);
  view.setUint32(S.base + S.featureIncompat, INCOMPAT_V6, true);
  view.setUint16(S.base + S.extraDevices, sb.extraDevices, true);
  view.setUint16(S.base + S.deviceTableSlot, DeviceV6.base / DeviceV6.size, true);
  const E = ExtSuperblockV6;
  view.setUint32(E.base + E.flags, sb.flags, true);
  writeU64(view, E.base + E.blobTableOffset, sb.blobTableOffset);
  view.setUint32(E.base + E.blobTableSize, sb.blobTableSize, true);
  view.setUint32(E.base + E.chunkSize, sb.chunkSize, true);
  writeU64(view, E.base + E.chunkTableOffset, sb.chunkTableOffset);
  writeU64(view, E.base + E.chunkTableSize, sb.chunkTableSize);
  writeU64(view, E.base + E.prefetchTableOffset, sb.prefetchTableOffset);
  view.setUint32(E.base + E.prefetchTableSize, sb.prefetchTableSize, true);
}

/** Writes device slot `index`. */
export function encodeDeviceV6(view: DataView, index: number, device: DeviceSlot): void {
  const at = DeviceV6.base + index * DeviceV6.size;
  setText(view, at + DeviceV6.blobId, device.blobId);
  view.setUint32(at + DeviceV6.blocks, device.blocks, true);
  view.setUint32(at + DeviceV6.mappedBlockAddress, device.mappedBlockAddress, true);
}

/** A blob row; numbers as the format has them. */
export interface BlobRowFields {
  readonly id: string;
  readonly index: number;
  readonly chunkSize: number;
  readonly chunkCount: number;
  readonly compressor: number;
  readonly digester: number;
  readonly features: number;
  readonly compressedSize: number;
  readonly uncompressedSize: number;
  readonly ciCompressor: number;
  readonly ciOffset: number;
  readonly ciCompressedSize: number;
  readonly ciUncompressedSize: number;
  readonly tocSize: number;
  /** 32 bytes. */
  readonly tocDigest: Uint8Array;
  /** SHA-256 and size of the separate meta blob; null where there is none. */
  readonly metaDigest: Uint8Array | null;
  readonly metaSize: number;
  /** AES-128-XTS: 32 and 16 bytes, in the place of the meta blob's digest and size. */
  readonly cipher: { readonly key: Uint8Array; readonly iv: Uint8Array } | null;
}

const CIPHER_AES128_XTS = 1;

/** Writes a blob table row at `at`. */
export function encodeBlobRowV6(view: DataView, at: number, row: BlobRowFields): void {
  const R = BlobRowV6;
  const bytes = new Uint8Array(view.buffer, view.byteOffset + at, R.size);
  setText(view, at + R.blobId, row.id);
  view.setUint32(at + R.blobIndex, row.index, true);
  view.setUint32(at + R.chunkSize, row.chunkSize, true);
  view.setUint32(at + R.chunkCount, row.chunkCount, true);
  view.setUint32(at + R.compressor, row.compressor, true);
  view.setUint32(at + R.digester, row.digester, true);
  view.setUint32(at + R.features, row.features, true);
  writeU64(view, at + R.compressedSize, row.compressedSize);
  writeU64(view, at + R.uncompressedSize, row.uncompressedSize);
  view.setUint32(at + R.tocSize, row.tocSize, true);
  view.setUint32(at + R.ciCompressor, row.ciCompressor, true);
  writeU64(view, at + R.ciOffset, row.ciOffset);
  writeU64(view, at + R.ciCompressedSize, row.ciCompressedSize);
  writeU64(view, at + R.ciUncompressedSize, row.ciUncompressedSize);
  bytes.set(row.tocDigest, R.tocDigest);
  if (row.cipher === null) {
    if (row.metaDigest !== null) bytes.set(row.metaDigest, R.metaDigest);
    writeU64(view, at + R.metaSize, row.metaSize);
    return;
  }
  bytes.set(row.cipher.key, R.metaDigest);
  bytes.set(row.cipher.iv.subarray(0, 8), R.metaSize);
  bytes.set(row.cipher.iv.subarray(8), R.cipherIv);
  view.setUint32(at + R.cipher, CIPHER_AES128_XTS, true);
}

/** What an extended inode says; `layout` is one of DataLayout. */
interface ExtendedInodeFields {
  readonly layout: number;
  readonly xattrCount: number;
  readonly mode: number;
  readonly size: number;
  readonly union: number;
  readonly ino: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeSec: bigint;
  readonly mtimeNs: number;
  readonly nlink: number;
}

/** Writes an extended inode of 64 bytes at `at`. */
export function encodeExtendedInodeV6(view: DataView, at: number, inode: ExtendedInodeFields): void {
  const I = ExtendedInode;
  view.setUint16(at + I.format, 1 | (inode.layout << 1), true);
  view.setUint16(at + I.xattrCount, inode.xattrCount, true);
  view.setUint16(at + I.mode, inode.mode, true);
  writeU64(view, at + I.fileSize, inode.size);
  view.setUint32(at + I.union, inode.union, true);
  view.setUint32(at + I.ino, inode.ino, true);
  view.setUint32(at + I.uid, inode.uid, true);
  view.setUint32(at + I.gid, inode.gid, true);
  view.setBigInt64(at + I.mtime, inode.mtimeSec, true);
  view.setUint32(at + I.mtimeNs, inode.mtimeNs, true);
  view.setUint32(at + I.nlink, inode.nlink, true);
}

/** Writes a chunk address of 8 bytes at `at`: device 0 is the bootstrap, so blobs count from 1. */
export function encodeChunkAddressV6(
  view: DataView,
  at: number,
  chunk: { readonly blobIndex: number; readonly index: number; readonly blockAddress: number },
): void {
  view.setUint16(at + ChunkAddress.indexLow, chunk.index & 0xffff, true);
  view.setUint8(at + ChunkAddress.device, chunk.blobIndex + 1);
  view.setUint8(at + ChunkAddress.indexHigh, chunk.index >>> 16);
  view.setUint32(at + ChunkAddress.blockAddress, chunk.blockAddress, true);
}

function setText(view: DataView, at: number, text: string): void {
  new Uint8Array(view.buffer, view.byteOffset + at, 64).set(new TextEncoder().encode(text));
}
