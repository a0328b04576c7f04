/**
 * The FUSE protocol's layouts and numbers (include/uapi/linux/fuse.h, protocol 7.x), little-endian, offsets in bytes.
 */
export { readU64, writeU64 } from '../lib/u64.ts';

export const FUSE_MAJOR = 7;
export const FUSE_MINOR = 38;

export const InHeader = {
  len: 0,
  opcode: 4,
  unique: 8,
  nodeid: 16,
  uid: 24,
  gid: 28,
  pid: 32,
  size: 40,
} as const;
export const OutHeader = { len: 0, error: 4, unique: 8, size: 16 } as const;

export const AttrLayout = {
  ino: 0,
  size: 8,
  blocks: 16,
  atime: 24,
  mtime: 32,
  ctime: 40,
  atimeNs: 48,
  mtimeNs: 52,
  ctimeNs: 56,
  mode: 60,
  nlink: 64,
  uid: 68,
  gid: 72,
  rdev: 76,
  blksize: 80,
  flags: 84,
  bytes: 88,
} as const;

export const EntryOut = {
  nodeid: 0,
  generation: 8,
  entryValid: 16,
  attrValid: 24,
  entryValidNs: 32,
  attrValidNs: 36,
  attr: 40,
  bytes: 128,
} as const;

export const AttrOut = { attrValid: 0, attrValidNs: 8, dummy: 12, attr: 16, bytes: 104 } as const;
export const OpenIn = { flags: 0, openFlags: 4, bytes: 8 } as const;
export const OpenOut = { fh: 0, openFlags: 8, backingId: 12, bytes: 16 } as const;
export const ReadIn = { fh: 0, offset: 8, size: 16, bytes: 40 } as const;
export const ReleaseIn = { fh: 0, bytes: 24 } as const;
export const ForgetIn = { nlookup: 0, bytes: 8 } as const;
export const BatchForgetIn = { count: 0, bytes: 8, item: 16 } as const;
export const GetxattrIn = { size: 0, bytes: 8 } as const;
export const GetxattrOut = { size: 0, bytes: 8 } as const;
export const LseekIn = { fh: 0, offset: 8, whence: 16, bytes: 24 } as const;
export const LseekOut = { offset: 0, bytes: 8 } as const;
export const StatfsOut = {
  blocks: 0,
  bfree: 8,
  bavail: 16,
  files: 24,
  ffree: 32,
  bsize: 40,
  namelen: 44,
  frsize: 48,
  bytes: 80,
} as const;
export const Dirent = { ino: 0, off: 8, namelen: 16, type: 20, name: 24 } as const;

/** INIT as sent up to 7.35 (16 bytes) and since 7.36 (64 bytes, flags2). */
export const InitIn = {
  major: 0,
  minor: 4,
  maxReadahead: 8,
  flags: 12,
  flags2: 16,
  bytes: 16,
  bytesExtended: 64,
} as const;
export const InitOut = {
  major: 0,
  minor: 4,
  maxReadahead: 8,
  flags: 12,
  maxBackground: 16,
  congestionThreshold: 18,
  maxWrite: 20,
  timeGran: 24,
  maxPages: 28,
  mapAlignment: 30,
  flags2: 32,
  bytes: 64,
  /** What clients of minor ≤ 22 and ≤ 4 expect. */
  bytesMinor22: 24,
  bytesMinor4: 8,
} as const;

/** Bits of INIT's `flags` (FUSE_ASYNC_READ … FUSE_INIT_EXT). */
export const InitFlag = {
  asyncRead: 0x1,
  exportSupport: 0x10,
  doReaddirplus: 0x2000,
  readdirplusAuto: 0x4000,
  asyncDio: 0x8000,
  noOpenSupport: 0x20000,
  parallelDirops: 0x40000,
  maxPages: 0x400000,
  cacheSymlinks: 0x800000,
  noOpendirSupport: 0x1000000,
  explicitInvalData: 0x2000000,
  initExt: 0x40000000,
} as const;

export const Opcode = {
  LOOKUP: 1,
  FORGET: 2,
  GETATTR: 3,
  SETATTR: 4,
  READLINK: 5,
  SYMLINK: 6,
  MKNOD: 8,
  MKDIR: 9,
  UNLINK: 10,
  RMDIR: 11,
  RENAME: 12,
  LINK: 13,
  OPEN: 14,
  READ: 15,
  WRITE: 16,
  STATFS: 17,
  RELEASE: 18,
  FSYNC: 20,
  SETXATTR: 21,
  GETXATTR: 22,
  LISTXATTR: 23,
  REMOVEXATTR: 24,
  FLUSH: 25,
  INIT: 26,
  OPENDIR: 27,
  READDIR: 28,
  RELEASEDIR: 29,
  FSYNCDIR: 30,
  ACCESS: 34,
  CREATE: 35,
  INTERRUPT: 36,
  DESTROY: 38,
  BATCH_FORGET: 42,
  FALLOCATE: 43,
  READDIRPLUS: 44,
  RENAME2: 45,
  LSEEK: 46,
  COPY_FILE_RANGE: 47,
  SYNCFS: 50,
  TMPFILE: 51,
} as const;

/** Operations that are counted, in the order of the original's arrays (nydusd.md §9). */
export const COUNTED_OPS: readonly string[] = [
  'getattr',
  'readlink',
  'open',
  'release',
  'read',
  'statfs',
  'getxattr',
  'listxattr',
  'opendir',
  'lookup',
  'readdir',
  'readdirplus',
  'access',
  'forget',
  'batch_forget',
];
