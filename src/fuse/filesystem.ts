/**
 * What a FUSE server asks of a file system. Nothing here knows of virtio, /dev/fuse or RAFS.
 *
 * A nodeid is a pair of u32 (`hi`, `lo`): no BigInt on the hot path. Results are `0` or a byte count, or `-errno`, or
 * PENDING. Calls are synchronous and must not allocate on their hit path; out parameters are filled in place.
 */

/** The answer comes later through the `Reply` handed to the call. Outside the range of byte counts and errnos. */
export const PENDING = -0x40000000;

/** Attributes of an inode. Times in seconds (may exceed 32 bits) and nanoseconds. */
export class Attr {
  inoHi = 0;
  inoLo = 0;
  size = 0;
  blocks = 0;
  atime = 0;
  mtime = 0;
  ctime = 0;
  atimeNs = 0;
  mtimeNs = 0;
  ctimeNs = 0;
  mode = 0;
  nlink = 0;
  uid = 0;
  gid = 0;
  rdev = 0;
  blksize = 4096;
  /** How long the kernel may keep these attributes, in milliseconds; Infinity = for ever. */
  validMs = 0;
}

/** A name's answer: nodeid 0:0 is a negative entry that may be cached for `validMs`. */
export class Entry {
  nodeHi = 0;
  nodeLo = 0;
  generation = 0;
  validMs = 0;
  readonly attr: Attr = new Attr();
}

/** Receives directory entries; `add` answers false when the buffer is full (the entry was not taken). */
export interface DirectorySink {
  /** `nameStart`..`nameEnd` of `bytes`; `type` is d_type (DT_*); `cookie` is the offset of the next entry. Plain READDIR. */
  add(
    inoHi: number,
    inoLo: number,
    cookie: number,
    type: number,
    bytes: Uint8Array,
    nameStart: number,
    nameEnd: number,
  ): boolean;
  /** READDIRPLUS; an entry with nodeid 0:0 means "no lookup" (`.` and `..`), its attr.ino is still shown. */
  addPlus(
    entry: Entry,
    cookie: number,
    type: number,
    bytes: Uint8Array,
    nameStart: number,
    nameEnd: number,
  ): boolean;
}

/**
 * Ends the wait of a parked request. The first call counts, on the thread of its server: 0 has the READ repeated, with
 * `bytes` as `supplied` where given, whose first byte is at the request's offset; -errno fails it.
 */
export type Resume = (result: number, bytes?: Uint8Array) => void;

/** Where READ puts bytes. A file system calls `fromFile`/`fromBytes` in order, then returns the total; or `later()` and PENDING. */
export interface ReadSink {
  /**
   * Appends `length` bytes of `fd` at `fileOffset`. Returns the bytes appended (short only at the end of the file), or -errno; or PENDING when
   * a pool thread reads: the file system returns PENDING at once, having done nothing after it, and the server calls `read` again for the rest
   * with `offset` and `size` advanced past what is there.
   */
  fromFile(fd: number, fileOffset: number, length: number): number;
  /** Appends bytes that are in memory (holes, chunks that have no cache file). */
  fromBytes(bytes: Uint8Array, start: number, length: number): number;
  /**
   * Parks the request. The returned function is called exactly once, later, on this thread: `resume(0)` repeats the READ;
   * `resume(-errno)` fails it; `resume(0, bytes)` repeats it with `supplied` set to `bytes`, whose first byte is at the request's offset.
   */
  later(): (result: number, bytes?: Uint8Array) => void;
  /** Bytes passed to `resume`, valid during the repeated call, otherwise null. */
  readonly supplied: Uint8Array | null;
}

/** What OPEN and OPENDIR answer. */
export class Opened {
  fhHi = 0;
  fhLo = 0;
  /** FOPEN_* flags (fuse.h). */
  flags = 0;
}

export class Statfs {
  blocks = 0;
  bfree = 0;
  bavail = 0;
  files = 0;
  ffree = 0;
  bsize = 512;
  namelen = 255;
  frsize = 512;
}

/** A read-only file system. Names are bytes, never decoded. All results: ≥ 0 or -errno, and PENDING where said. */
export interface FileSystem {
  lookup(hi: number, lo: number, bytes: Uint8Array, nameStart: number, nameEnd: number, out: Entry): number;
  getattr(hi: number, lo: number, out: Attr): number;
  /** Copies the target into `out` at `at`; returns its length, -ERANGE-free: `out` holds at least 4096 bytes behind `at`. */
  readlink(hi: number, lo: number, out: Uint8Array, at: number): number;
  open(hi: number, lo: number, flags: number, out: Opened): number;
  opendir(hi: number, lo: number, flags: number, out: Opened): number;
  release(hi: number, lo: number, fhHi: number, fhLo: number): number;
  /** Returns bytes or PENDING. `offset` may be beyond the end (0 bytes). */
  read(hi: number, lo: number, offset: number, size: number, sink: ReadSink): number;
  readdir(hi: number, lo: number, cookie: number, sink: DirectorySink): number;
  readdirplus(hi: number, lo: number, cookie: number, sink: DirectorySink): number;
  /** Length of the value; it is copied to `out` at `at` when `capacity` ≥ length > 0; -ERANGE if 0 < capacity < length; -ENODATA. */
  getxattr(
    hi: number,
    lo: number,
    bytes: Uint8Array,
    nameStart: number,
    nameEnd: number,
    out: Uint8Array,
    at: number,
    capacity: number,
  ): number;
  /** Length of the NUL-terminated names; same rules. */
  listxattr(hi: number, lo: number, out: Uint8Array, at: number, capacity: number): number;
  statfs(hi: number, lo: number, out: Statfs): number;
  /** SEEK_DATA (3) and SEEK_HOLE (4); returns the offset. */
  lseek(hi: number, lo: number, offset: number, whence: number): number;
  forget(hi: number, lo: number, lookups: number): void;
}
