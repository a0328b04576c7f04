/**
 * What a FUSE server asks of a file system. Nothing here knows of virtio or RAFS.
 *
 * A nodeid is a pair of u32 (`hi`, `lo`): no BigInt on the hot path. Results are 0 or a byte count, or -errno; READ may
 * answer PENDING. Calls are synchronous and must not allocate on their hit path; out parameters are filled in place.
 */

/** The READ was parked with `ReadSink.later`, and is answered later. Outside the range of byte counts and errnos. */
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
  /** Plain READDIR: the name lies in `bytes`, `type` is DT_*, `cookie` is the offset of the next entry. */
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

/**
 * Where READ puts bytes. A file system calls `fromFile` and `fromBytes` in order and returns the total; or it calls
 * `later` and returns PENDING.
 */
export interface ReadSink {
  /**
   * What is appended from now on is good only while `count[0]` stays what it is: when it has changed by the time the
   * bytes have been moved, they are thrown away and the READ begins anew. Another thread may change it, each time once.
   */
  relyOn(count: Int32Array): void;
  /**
   * Appends `length` bytes of `fd` at `fileOffset`. They are read once the file system's call is over, by a pool
   * thread where the page cache lacks them; a file that ends before, or cannot be read, makes the answer EIO. Returns
   * the bytes taken, fewer than `length` when the answer is full, or -EIO for more pieces than a READ may have.
   */
  fromFile(fd: number, fileOffset: number, length: number): number;
  /**
   * Appends bytes that are in memory (holes, chunks that have no cache file). As `fromFile`, but they are copied now.
   */
  fromBytes(bytes: Uint8Array, start: number, length: number): number;
  /** Parks the request. What is returned must be called once the data is there, or cannot be had. */
  later(): Resume;
  /** Bytes passed to `Resume`, valid during the repeated call, otherwise null. */
  readonly supplied: Uint8Array | null;
}

/** What OPEN and OPENDIR answer. */
export class Opened {
  fhHi = 0;
  fhLo = 0;
  /** FOPEN_* flags (fuse.h). */
  flags = 0;
}

/** What STATFS shows: struct fuse_kstatfs, counts in units of `frsize` bytes. */
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

/** A read-only file system. Names are bytes, never decoded. */
export interface FileSystem {
  lookup(hi: number, lo: number, bytes: Uint8Array, nameStart: number, nameEnd: number, out: Entry): number;
  getattr(hi: number, lo: number, out: Attr): number;
  /** Copies the target into `out` at `at`, where at least 4096 bytes are free. Its length. */
  readlink(hi: number, lo: number, out: Uint8Array, at: number): number;
  open(hi: number, lo: number, flags: number, out: Opened): number;
  opendir(hi: number, lo: number, flags: number, out: Opened): number;
  release(hi: number, lo: number, fhHi: number, fhLo: number): number;
  /** Bytes, or PENDING. `offset` may be beyond the end (0 bytes). */
  read(hi: number, lo: number, offset: number, size: number, sink: ReadSink): number;
  readdir(hi: number, lo: number, cookie: number, sink: DirectorySink): number;
  readdirplus(hi: number, lo: number, cookie: number, sink: DirectorySink): number;
  /**
   * Length of the value, which is copied to `out` at `at` when `capacity` ≥ length > 0; -ERANGE if 0 < capacity <
   * length; -ENODATA if there is none.
   */
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
