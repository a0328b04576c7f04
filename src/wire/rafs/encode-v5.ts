import { writeU64 } from './bytes.ts';
import { InodeV5 } from './inode-v5.ts';
import {
  type BlobV5,
  type DecodedSuperblockV5,
  ExtBlobV5,
  MAGIC_V5,
  SuperblockV5,
  VERSION_V5,
} from './superblock-v5.ts';

/** Writes the superblock into a zeroed bootstrap. */
export function encodeSuperblockV5(view: DataView, sb: DecodedSuperblockV5): void {
  const S = SuperblockV5;
  view.setUint32(S.magic, MAGIC_V5, true);
  view.setUint32(S.version, VERSION_V5, true);
  view.setUint32(S.superblockSize, S.size, true);
  view.setUint32(S.chunkSize, sb.chunkSize, true);
  writeU64(view, S.flags, sb.flags);
  writeU64(view, S.inodesCount, sb.inodesCount);
  writeU64(view, S.inodeTableOffset, sb.inodeTableOffset);
  writeU64(view, S.prefetchTableOffset, sb.prefetchTableOffset);
  writeU64(view, S.blobTableOffset, sb.blobTableOffset);
  view.setUint32(S.inodeTableEntries, sb.inodeTableEntries, true);
  view.setUint32(S.prefetchTableEntries, sb.prefetchTableEntries, true);
  view.setUint32(S.blobTableSize, sb.blobTableSize, true);
  view.setUint32(S.extBlobTableEntries, sb.extBlobTableEntries, true);
  writeU64(view, S.extBlobTableOffset, sb.extBlobTableOffset);
}

/** Blob table: u32 readahead offset, u32 readahead size and id per blob, a NUL between blobs, zero-padded to 8. */
export function encodeBlobTableV5(
  blobs: readonly Pick<BlobV5, 'id' | 'readaheadOffset' | 'readaheadSize'>[],
): Buffer {
  const rows = blobs.map((blob, i) => {
    const id = Buffer.from(blob.id);
    const row = Buffer.alloc(8 + id.length + (i < blobs.length - 1 ? 1 : 0));
    row.writeUInt32LE(blob.readaheadOffset, 0);
    row.writeUInt32LE(blob.readaheadSize, 4);
    row.set(id, 8);
    return row;
  });
  const table = Buffer.concat(rows);
  return Buffer.concat([table, Buffer.alloc((8 - (table.length % 8)) % 8)]);
}

/** Writes an extended blob table entry at `at`. */
export function encodeExtBlobV5(
  view: DataView,
  at: number,
  blob: Pick<BlobV5, 'chunkCount' | 'features' | 'uncompressedSize' | 'compressedSize'>,
): void {
  view.setUint32(at + ExtBlobV5.chunkCount, blob.chunkCount, true);
  view.setUint32(at + ExtBlobV5.features, blob.features, true);
  writeU64(view, at + ExtBlobV5.uncompressedSize, blob.uncompressedSize);
  writeU64(view, at + ExtBlobV5.compressedSize, blob.compressedSize);
}

/** What an inode record says, without what follows it. */
interface InodeRecordV5 {
  readonly digest: Uint8Array;
  readonly parentIno: number;
  readonly ino: number;
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
  readonly size: number;
  /** 512-byte units. */
  readonly blocks: number;
  readonly flags: number;
  readonly nlink: number;
  readonly childIndex: number;
  readonly childCount: number;
  readonly nameSize: number;
  readonly symlinkSize: number;
  readonly rdev: number;
  readonly mtimeSec: bigint;
  readonly mtimeNs: number;
}

/** Writes the 128 bytes of an inode record at `at`. */
export function encodeInodeV5(view: DataView, at: number, inode: InodeRecordV5): void {
  const I = InodeV5;
  new Uint8Array(view.buffer, view.byteOffset + at + I.digest, 32).set(inode.digest);
  writeU64(view, at + I.parent, inode.parentIno);
  writeU64(view, at + I.ino, inode.ino);
  view.setUint32(at + I.uid, inode.uid, true);
  view.setUint32(at + I.gid, inode.gid, true);
  view.setUint32(at + I.mode, inode.mode, true);
  writeU64(view, at + I.fileSize, inode.size);
  writeU64(view, at + I.blocks, inode.blocks);
  writeU64(view, at + I.flags, inode.flags);
  view.setUint32(at + I.nlink, inode.nlink, true);
  view.setUint32(at + I.childIndex, inode.childIndex, true);
  view.setUint32(at + I.childCount, inode.childCount, true);
  view.setUint16(at + I.nameSize, inode.nameSize, true);
  view.setUint16(at + I.symlinkSize, inode.symlinkSize, true);
  view.setUint32(at + I.rdev, inode.rdev, true);
  view.setUint32(at + I.mtimeNs, inode.mtimeNs, true);
  view.setBigInt64(at + I.mtime, inode.mtimeSec, true);
}
