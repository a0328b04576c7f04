export const S_IFMT = 0xf000;
const S_IFIFO = 0x1000;
export const S_IFCHR = 0x2000;
export const S_IFDIR = 0x4000;
export const S_IFBLK = 0x6000;
export const S_IFREG = 0x8000;
export const S_IFLNK = 0xa000;
const S_IFSOCK = 0xc000;

/** Link targets are copied into buffers of this size. */
export const SYMLINK_BYTES_MAX = 4096;

/**
 * Attributes of an inode as an image keeps them; filled in place. Time in seconds (may exceed 32 bits) and nanoseconds.
 */
export class InodeAttr {
  inoLo = 0;
  size = 0;
  blocks = 0;
  mtime = 0;
  mtimeNs = 0;
  mode = 0;
  nlink = 0;
  uid = 0;
  gid = 0;
  rdev = 0;
  blksize = 4096;
}

/** Where a chunk of a file is; filled in place. */
export class ChunkAt {
  blob = 0;
  index = 0;
  /** Uncompressed offset in the blob. */
  offset = 0;
  /** Bytes of the file that come from this chunk. */
  size = 0;
  /** No chunk: zeros. */
  hole = false;
  /** Offset of the v5 chunk record in the bootstrap, or -1. */
  record = -1;
}

/** A directory entry; filled in place. */
export class DirectoryAt {
  lo = 0;
  /** d_type. */
  type = 0;
  /** Cookie of the entry behind this one. */
  cookie = 0;
  bytes: Uint8Array = new Uint8Array(0);
  nameStart = 0;
  nameEnd = 0;
  /** `.` or `..`. */
  dot = false;
}

/**
 * Inodes of a bootstrap, by nodeid `lo`. `checkInode` must have answered 0 for an inode before anything else
 * is asked of it. Nothing throws or loops beyond the bootstrap's size, whatever its bytes; -EIO means
 * damage, described by `fault`.
 */
export interface Image {
  readonly rootLo: number;
  /** What was wrong when the last call answered -EIO. */
  readonly fault: string;
  /** 0, -ENOENT for a number that names no inode, -EIO. The result is remembered. */
  checkInode(lo: number): number;
  mode(lo: number): number;
  /** st_size in bytes. */
  size(lo: number): number;
  /** Everything but owner overrides, inoHi and times of validity. */
  attr(lo: number, out: InodeAttr): void;
  /** Nodeid of the named child, not checked yet; or -ENOENT, -EIO. */
  child(lo: number, bytes: Uint8Array, start: number, end: number): number;
  /** Fills the entry at `cookie` (0 = first); 1, or 0 behind the last, or -EIO. */
  entry(lo: number, cookie: number, out: DirectoryAt): number;
  /** Bytes copied. */
  readlink(lo: number, out: Uint8Array, at: number): number;
  /** Fills chunk number `i` of a regular file; 0 or -EIO. */
  chunk(lo: number, i: number, out: ChunkAt): number;
  getxattr(
    lo: number,
    name: Uint8Array,
    start: number,
    end: number,
    out: Uint8Array,
    at: number,
    capacity: number,
  ): number;
  listxattr(lo: number, out: Uint8Array, at: number, capacity: number): number;
}

/** Order of names: memcmp, then the shorter first. */
export function compareNames(
  a: Uint8Array,
  aStart: number,
  aEnd: number,
  b: Uint8Array,
  bStart: number,
  bEnd: number,
): number {
  const shorter = Math.min(aEnd - aStart, bEnd - bStart);
  for (let i = 0; i < shorter; i++) {
    const difference = a[aStart + i]! - b[bStart + i]!;
    if (difference !== 0) return difference;
  }
  return aEnd - aStart - (bEnd - bStart);
}

/** Whether a directory entry of this name may be shown to a kernel, which rejects the whole listing otherwise. */
export function isEntryName(bytes: Uint8Array, start: number, end: number): boolean {
  if (end <= start || end - start > 255) return false;
  for (let i = start; i < end; i++) if (bytes[i] === 0x2f || bytes[i] === 0) return false;
  return true;
}

/** `.` (1 byte) or `..`. */
export function isDot(bytes: Uint8Array, start: number, end: number): boolean {
  if (bytes[start] !== 0x2e) return false;
  return end - start === 1 || (end - start === 2 && bytes[start + 1] === 0x2e);
}

export function isFileType(mode: number): boolean {
  const type = mode & S_IFMT;
  const special = type === S_IFCHR || type === S_IFBLK || type === S_IFIFO || type === S_IFSOCK;
  return special || type === S_IFREG || type === S_IFDIR || type === S_IFLNK;
}

/** Copies [from, to) of `source` without allocating. */
export function copy(source: Uint8Array, from: number, to: number, out: Uint8Array, at: number): void {
  for (let i = from; i < to; i++) out[at + i - from] = source[i]!;
}
