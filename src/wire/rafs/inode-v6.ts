/** Inode slots are 32 bytes: a nid is a slot's number from the meta area's start. */
export const INODE_SLOT = 32;

/** EROFS compact inode. erofs_fs.h. */
export const CompactInode = {
  format: 0,
  xattrCount: 2,
  mode: 4,
  nlink: 6,
  fileSize: 8,
  union: 16,
  ino: 20,
  uid: 24,
  gid: 26,
  size: 32,
} as const;

/** EROFS extended inode. */
export const ExtendedInode = {
  format: 0,
  xattrCount: 2,
  mode: 4,
  fileSize: 8,
  /** Start block (flat), device number (special) or chunk format (chunk-based). */
  union: 16,
  ino: 20,
  uid: 24,
  gid: 28,
  mtime: 32,
  mtimeNs: 40,
  nlink: 44,
  size: 64,
} as const;

/** Data layouts, bits 1…3 of `format`; bit 0 says extended. */
export const DataLayout = { flatPlain: 0, flatInline: 2, chunkBased: 4 } as const;

/** Directory entry; names follow the entries of a block without NULs between them. */
export const Dirent = { nid: 0, nameOffset: 8, type: 10, size: 12 } as const;

/** d_type (DT_*) by EROFS file type. */
export const direntTypes: readonly number[] = [0, 8, 4, 2, 6, 1, 12, 10];

/** Chunk format bit which says that 8-byte chunk addresses are stored. */
export const CHUNK_FORMAT_INDEXES = 0x20;
