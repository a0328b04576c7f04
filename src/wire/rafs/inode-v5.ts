import { align8 } from './bytes.ts';

/**
 * RAFS v5 inode record. Behind it: name, link target (each padded to 8), xattr table, chunk records.
 * rafs/src/metadata/layout/v5.rs.
 */
export const InodeV5 = {
  digest: 0,
  parent: 32,
  ino: 40,
  uid: 48,
  gid: 52,
  projid: 56,
  mode: 60,
  fileSize: 64,
  blocks: 72,
  flags: 80,
  nlink: 88,
  /** Index (not ino) of the first child: children are consecutive in the inode table. */
  childIndex: 92,
  /** Directory: children. Regular file: chunks. */
  childCount: 96,
  nameSize: 100,
  symlinkSize: 102,
  rdev: 104,
  mtimeNs: 108,
  mtime: 112,
  size: 128,
} as const;

/** Flags of a v5 inode. `hardlink` is set by the tar builder only; readers go by nlink. */
export const InodeFlagV5 = { symlink: 1, hardlink: 2, xattr: 4, hasHole: 8 } as const;
/** The rdev that the tar builder gives to what is no device; the directory builder gives 0. */
export const NO_DEVICE = 0xffffffff;

/** Inode table entry: offset of the record divided by this. */
export const INODE_OFFSET_UNIT_V5 = 8;
/** Smallest entry: records lie behind the superblock. Entries must be greater. */
export const INODE_ENTRY_MIN_V5 = 0x400;

/** Bytes of a v5 record up to its xattrs or chunks: record, name, link target. */
export function recordBytesV5(nameSize: number, symlinkSize: number): number {
  return InodeV5.size + align8(nameSize) + align8(symlinkSize);
}
