import type { BlobView, ChunkFetcher } from '../blob/view.ts';
import {
  type Attr,
  type DirectorySink,
  Entry,
  type FileSystem,
  type Opened,
  PENDING,
  type ReadSink,
  type Statfs,
} from '../fuse/filesystem.ts';
import { Errno } from '../lib/errno.ts';
import type { Bootstrap } from '../rafs/bootstrap.ts';
import { ChunkAt, DirectoryAt, type Image, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from '../rafs/image.ts';
import { ImageV5 } from '../rafs/image-v5.ts';
import { ImageV6 } from '../rafs/image-v6.ts';
import { OpenFlag } from '../wire/fuse.ts';
import { SuperFlag } from '../wire/rafs/flags.ts';
import { ChunkMiss } from './miss.ts';

const { EINVAL, EIO, EISDIR, ENODATA, ENOENT, ENOTDIR, ENXIO, EROFS } = Errno;

/** What a mount gives its file system. */
export interface RafsOptions {
  /** High word of all nodeids and inode numbers. */
  readonly serial: number;
  /** By blob index; one for each row of the bootstrap's blob table. */
  readonly blobs: readonly BlobView[];
  readonly fetcher: ChunkFetcher;
  /** Owner shown where the bootstrap has none (EXPLICIT_UID_GID unset). */
  readonly uid: number;
  readonly gid: number;
  /** False hides extended attributes. */
  readonly xattrs: boolean;
  /** v5: compare an inode's digest when it is first used. */
  readonly validate: boolean;
  /** Told once of each inode that answers EIO because its metadata is malformed. */
  readonly onBadInode: (lo: number, reason: string) => void;
}

const O_ACCMODE = 3;
const O_TRUNC = 0o1000;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;
/** Inodes remembered as reported; a hostile image must not fill memory or the log. */
const REPORTED_MAX = 1024;
const ZEROS: Uint8Array = new Uint8Array(65536);

/** In place of a descriptor: zeros. Not -1, which a blob without cache file has. */
const HOLE = -2;

/** Outcomes of looking at the chunks of a read. */
const READY = 0;
const MISSING = 1;

/** A RAFS image as a read-only file system. Nothing ever changes, so all answers are valid for ever. */
export class RafsFileSystem implements FileSystem {
  readonly rootLo: number;
  readonly #image: Image;
  readonly #options: RafsOptions;
  readonly #blobs: readonly BlobView[];
  /** Ready bits by blob index; null = always ready. */
  readonly #ready: readonly (Uint8Array | null)[];
  /** Changes when chunks are evicted; null where none ever is. */
  readonly #evictions: Int32Array | null;
  readonly #chunkSize: number;
  readonly #ownerOverride: boolean;
  readonly #inodesCount: number;
  readonly #miss: ChunkMiss;
  readonly #reported: Set<number> = new Set();
  readonly #chunk: ChunkAt = new ChunkAt();
  readonly #cursor: DirectoryAt = new DirectoryAt();
  readonly #entry: Entry = new Entry();

  constructor(bootstrap: Bootstrap, options: RafsOptions) {
    this.#image = bootstrap.version === 5 ? new ImageV5(bootstrap, options.validate) : new ImageV6(bootstrap);
    this.rootLo = bootstrap.rootLo;
    this.#options = options;
    this.#blobs = options.blobs;
    this.#ready = options.blobs.map((blob) => (blob.ready === null ? null : new Uint8Array(blob.ready)));
    // One count serves all blobs of the process.
    const evictions = options.blobs.find((blob) => blob.evictions !== null)?.evictions;
    this.#evictions = evictions == null ? null : new Int32Array(evictions);
    this.#chunkSize = bootstrap.chunkSize;
    this.#ownerOverride = (bootstrap.flags & SuperFlag.explicitUidGid) === 0;
    this.#inodesCount = bootstrap.inodesCount;
    this.#miss = new ChunkMiss(bootstrap, this.#image, options.blobs, this.#evictions, options.fetcher);
  }

  lookup(_hi: number, lo: number, bytes: Uint8Array, nameStart: number, nameEnd: number, out: Entry): number {
    const found = this.#checkType(lo, S_IFDIR);
    if (found < 0) return found;
    const child = this.#image.child(lo, bytes, nameStart, nameEnd);
    if (child === -ENOENT) {
      out.nodeHi = 0;
      out.nodeLo = 0;
      out.generation = 0;
      out.validMs = Number.POSITIVE_INFINITY;
      return 0;
    }
    if (child < 0) return this.#bad(lo);
    return this.#fill(child, out);
  }

  getattr(_hi: number, lo: number, out: Attr): number {
    const result = this.#check(lo);
    if (result === 0) this.#attr(lo, out);
    return result;
  }

  readlink(_hi: number, lo: number, out: Uint8Array, at: number): number {
    const result = this.#checkType(lo, S_IFLNK);
    return result < 0 ? result : this.#image.readlink(lo, out, at);
  }

  open(_hi: number, lo: number, flags: number, out: Opened): number {
    const result = this.#checkType(lo, S_IFREG);
    if (result < 0) return result;
    if ((flags & O_ACCMODE) !== 0 || (flags & O_TRUNC) !== 0) return -EROFS;
    out.fhHi = 0;
    out.fhLo = 0;
    out.flags = OpenFlag.keepCache;
    return 0;
  }

  opendir(_hi: number, lo: number, _flags: number, out: Opened): number {
    const result = this.#checkType(lo, S_IFDIR);
    if (result < 0) return result;
    out.fhHi = 0;
    out.fhLo = 0;
    out.flags = OpenFlag.keepCache | OpenFlag.cacheDir;
    return 0;
  }

  release(_hi: number, _lo: number, _fhHi: number, _fhLo: number): number {
    return 0;
  }

  read(_hi: number, lo: number, offset: number, size: number, sink: ReadSink): number {
    const result = this.#checkType(lo, S_IFREG);
    if (result < 0) return result;
    const fileSize = this.#image.size(lo);
    if (offset >= fileSize || size <= 0) return 0;
    const end = Math.min(offset + size, fileSize);
    const supplied = sink.supplied;
    if (supplied !== null) return sink.fromBytes(supplied, 0, Math.min(supplied.length, end - offset));
    // Before the first look at a bit: see blob/open-cache.ts.
    if (this.#evictions !== null) sink.relyOn(this.#evictions);
    const first = Math.floor(offset / this.#chunkSize);
    if (end <= (first + 1) * this.#chunkSize) {
      const state = this.#look(lo, first);
      // The common case: a page or a few of one chunk.
      if (state === READY && !this.#chunk.hole) {
        const from = this.#chunk.offset + offset - first * this.#chunkSize;
        return this.#sendRun(sink, this.#blobs[this.#chunk.blob]!.fd, from, end - offset);
      }
      if (state < 0) return state;
    }
    const state = this.#survey(lo, offset, end);
    if (state === READY) return this.#send(lo, offset, end, sink);
    if (state < 0) return state;
    this.#miss.fetch(lo, offset, end, sink.later());
    return PENDING;
  }

  readdir(_hi: number, lo: number, cookie: number, sink: DirectorySink): number {
    const result = this.#checkType(lo, S_IFDIR);
    if (result < 0) return result;
    const entry = this.#cursor;
    for (let at = cookie; ; at = entry.cookie) {
      const found = this.#image.entry(lo, at, entry);
      if (found < 0) return this.#bad(lo);
      if (found === 0) return 0;
      const { cookie: next, type, bytes, nameStart, nameEnd } = entry;
      if (!sink.add(this.#options.serial, entry.lo, next, type, bytes, nameStart, nameEnd)) return 0;
    }
  }

  readdirplus(_hi: number, lo: number, cookie: number, sink: DirectorySink): number {
    const result = this.#checkType(lo, S_IFDIR);
    if (result < 0) return result;
    const entry = this.#cursor;
    for (let at = cookie; ; at = entry.cookie) {
      const found = this.#image.entry(lo, at, entry);
      if (found < 0) return this.#bad(lo);
      if (found === 0) return 0;
      const out = this.#entry;
      // A damaged child must not hide its siblings: it is listed without attributes, and its own lookup fails.
      if (entry.dot || this.#fill(entry.lo, out) < 0) this.#withoutLookup(entry, out);
      if (!sink.addPlus(out, entry.cookie, entry.type, entry.bytes, entry.nameStart, entry.nameEnd)) return 0;
    }
  }

  getxattr(
    _hi: number,
    lo: number,
    bytes: Uint8Array,
    nameStart: number,
    nameEnd: number,
    out: Uint8Array,
    at: number,
    capacity: number,
  ): number {
    const result = this.#check(lo);
    if (result < 0) return result;
    if (!this.#options.xattrs) return -ENODATA;
    const length = this.#image.getxattr(lo, bytes, nameStart, nameEnd, out, at, capacity);
    return length === -EIO ? this.#bad(lo) : length;
  }

  listxattr(_hi: number, lo: number, out: Uint8Array, at: number, capacity: number): number {
    const result = this.#check(lo);
    if (result < 0) return result;
    if (!this.#options.xattrs) return 0;
    const length = this.#image.listxattr(lo, out, at, capacity);
    return length === -EIO ? this.#bad(lo) : length;
  }

  statfs(_hi: number, _lo: number, out: Statfs): number {
    out.blocks = 0;
    out.bfree = 0;
    out.bavail = 0;
    out.files = this.#inodesCount;
    out.ffree = 0;
    out.bsize = 512;
    out.namelen = 255;
    out.frsize = 512;
    return 0;
  }

  lseek(_hi: number, lo: number, offset: number, whence: number): number {
    const result = this.#checkType(lo, S_IFREG);
    if (result < 0) return result;
    const size = this.#image.size(lo);
    if (whence !== SEEK_DATA && whence !== SEEK_HOLE) return -EINVAL;
    if (!(offset >= 0 && offset < size)) return -ENXIO;
    return whence === SEEK_DATA ? offset : size;
  }

  forget(_hi: number, _lo: number, _lookups: number): void {}

  #check(lo: number): number {
    const result = this.#image.checkInode(lo);
    return result === -EIO ? this.#bad(lo) : result;
  }

  /** `check`, and the inode is of this type. */
  #checkType(lo: number, type: number): number {
    const result = this.#check(lo);
    if (result < 0) return result;
    const actual = this.#image.mode(lo) & S_IFMT;
    if (actual === type) return 0;
    if (type === S_IFDIR) return -ENOTDIR;
    return actual === S_IFDIR && type === S_IFREG ? -EISDIR : -EINVAL;
  }

  #fill(lo: number, out: Entry): number {
    const result = this.#check(lo);
    if (result < 0) return -EIO;
    out.nodeHi = this.#options.serial;
    out.nodeLo = lo;
    out.generation = 0;
    out.validMs = Number.POSITIVE_INFINITY;
    this.#attr(lo, out.attr);
    return 0;
  }

  #attr(lo: number, out: Attr): void {
    this.#image.attr(lo, out);
    out.inoHi = this.#options.serial;
    // The format keeps one time; the kernel's EROFS shows it as all three.
    out.atime = out.mtime;
    out.ctime = out.mtime;
    out.atimeNs = out.mtimeNs;
    out.ctimeNs = out.mtimeNs;
    out.validMs = Number.POSITIVE_INFINITY;
    if (this.#ownerOverride) {
      out.uid = this.#options.uid;
      out.gid = this.#options.gid;
    }
  }

  #withoutLookup(entry: DirectoryAt, out: Entry): void {
    out.nodeHi = 0;
    out.nodeLo = 0;
    out.generation = 0;
    out.validMs = 0;
    out.attr.validMs = 0;
    out.attr.inoHi = this.#options.serial;
    out.attr.inoLo = entry.lo;
    out.attr.mode = entry.type << 12;
  }

  /** Looks at every chunk of the range before anything is sent: READY, MISSING or -EIO. */
  #survey(lo: number, offset: number, end: number): number {
    const last = Math.floor((end - 1) / this.#chunkSize);
    let state = READY;
    for (let i = Math.floor(offset / this.#chunkSize); i <= last; i++) {
      const one = this.#look(lo, i);
      if (one < 0) return one;
      if (one === MISSING) state = MISSING;
    }
    return state;
  }

  /** Finds chunk `i` and checks it: READY (a hole is), MISSING or -EIO. */
  #look(lo: number, i: number): number {
    const at = this.#chunk;
    if (this.#image.chunk(lo, i, at) < 0) return this.#bad(lo);
    if (at.hole) return READY;
    const blob = this.#blobs[at.blob];
    if (blob === undefined) return this.#bad(lo, 'chunk blob index: no such blob');
    if (at.offset + at.size > blob.size) return this.#bad(lo, 'chunk outside its blob');
    const ready = this.#ready[at.blob]!;
    if (ready !== null && at.index >= blob.chunkCount) return this.#bad(lo, 'chunk index');
    if (blob.delivery === 'bytes') return MISSING;
    if (ready === null) return READY;
    // Not Atomics.load, which is a call: a bit seen late is a miss too many, and the fetcher sets it after the data is
    // in the file.
    return (ready[at.index >> 3]! & (0x80 >> (at.index & 7))) === 0 ? MISSING : READY;
  }

  /** All chunks are ready: sends them, those which follow each other in the cache with one read. */
  #send(lo: number, offset: number, end: number, sink: ReadSink): number {
    const at = this.#chunk;
    const last = Math.floor((end - 1) / this.#chunkSize);
    let fd = HOLE;
    let start = 0;
    let length = 0;
    for (let i = Math.floor(offset / this.#chunkSize); i <= last; i++) {
      this.#image.chunk(lo, i, at);
      const from = Math.max(offset, i * this.#chunkSize);
      const size = Math.min(end, (i + 1) * this.#chunkSize) - from;
      const chunkFd = at.hole ? HOLE : this.#blobs[at.blob]!.fd;
      const chunkStart = at.offset + from - i * this.#chunkSize;
      if (length > 0 && chunkFd === fd && (fd === HOLE || chunkStart === start + length)) {
        length += size;
        continue;
      }
      const sent = length === 0 ? 0 : this.#sendRun(sink, fd, start, length);
      if (sent !== length) return sent;
      fd = chunkFd;
      start = chunkStart;
      length = size;
    }
    const sent = this.#sendRun(sink, fd, start, length);
    return sent === length ? end - offset : sent;
  }

  /** `length`, or what READ must answer instead: PENDING, -errno; -EIO for a cache file that ends too early. */
  #sendRun(sink: ReadSink, fd: number, start: number, length: number): number {
    if (fd !== HOLE) {
      const sent = sink.fromFile(fd, start, length);
      return sent >= 0 && sent !== length ? -EIO : sent;
    }
    for (let done = 0; done < length; ) {
      const part = Math.min(ZEROS.length, length - done);
      const sent = sink.fromBytes(ZEROS, 0, part);
      if (sent !== part) return sent < 0 ? sent : -EIO;
      done += part;
    }
    return length;
  }

  #bad(lo: number, reason: string = this.#image.fault): number {
    if (!this.#reported.has(lo) && this.#reported.size < REPORTED_MAX) {
      this.#reported.add(lo);
      this.#options.onBadInode(lo, reason);
    }
    return -EIO;
  }
}
