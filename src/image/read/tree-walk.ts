import type { Bootstrap, BootstrapV6 } from '../../rafs/bootstrap.ts';
import { DirectoryAt, type Image, InodeAttr, S_IFDIR, S_IFMT, S_IFREG } from '../../rafs/image.ts';
import { ImageV5 } from '../../rafs/image-v5.ts';
import { ImageV6 } from '../../rafs/image-v6.ts';
import { align8, readU64 } from '../../wire/rafs/bytes.ts';
import { ChunkAddress, ChunkRecordLayout } from '../../wire/rafs/chunk.ts';
import { BlobFeature } from '../../wire/rafs/flags.ts';
import { INODE_OFFSET_UNIT_V5, InodeFlagV5, InodeV5, recordBytesV5 } from '../../wire/rafs/inode-v5.ts';
import { CompactInode, ExtendedInode, INODE_SLOT } from '../../wire/rafs/inode-v6.ts';
import { xattrBytesV6 } from '../../wire/rafs/xattr.ts';

/** Deeper trees, and longer paths, no program can use by path. */
const DEPTH_MAX = 2048;
const PATH_BYTES_MAX = 0x10000;
const ROOT_NAME: Uint8Array = Buffer.from('/');
/** How the name of a dictionary's one file begins; v5 cuts it. */
const DICTIONARY_FILE: Uint8Array = Buffer.from('/chunkdic');

/** A directory entry met on the way; the same object is filled again for the next one. */
export interface WalkEntry {
  /** Nodeid: i_ino in v5, nid in v6. */
  readonly lo: number;
  readonly parentLo: number;
  /** Raw bytes in the bootstrap; `/` for the root. */
  readonly name: Uint8Array;
  /** Offset of its inode in the bootstrap. In v5 every alias of a hard link has a record of its own. */
  readonly at: number;
  /** Whether this inode was not met before under another name. */
  readonly isFirst: boolean;
  /** st_mode. */
  readonly mode: number;
  /** Directories above it. */
  readonly depth: number;
  /** Path from the root, raw bytes: a copy. */
  path(): Buffer;
}

/** Takes what is wrong with the entry or directory at `path`; may throw to end the walk. */
type ReportFault = (path: Buffer, lo: number, fault: string) => void;

interface Frame {
  readonly lo: number;
  readonly parentLo: number;
  readonly name: Uint8Array;
  readonly pathSize: number;
  cookie: number;
  previous: Uint8Array | null;
  dots: number;
}

/** The reader of a bootstrap's inodes; `validate` verifies v5 inode digests. */
export function imageOf(bootstrap: Bootstrap, validate = false): Image {
  return bootstrap.version === 5 ? new ImageV5(bootstrap, validate) : new ImageV6(bootstrap);
}

/**
 * Every entry of the tree, parents before children, children in the order of the directory. Ends for any bytes, in time
 * and memory bound by the bootstrap's size: a directory is entered once, and inodes may not claim more bytes than there
 * are. What is damaged is reported and left out, with all below it.
 */
export function* walkTree(bootstrap: Bootstrap, image: Image, report: ReportFault): Generator<WalkEntry> {
  const walk = new Walk(bootstrap, image, report);
  yield* walk.entries();
}

/**
 * `Image.entry`, which also takes the one file of a dictionary made by the original: that has a path for a name, which
 * no kernel would be shown.
 */
export function readEntry(
  bootstrap: Bootstrap,
  image: Image,
  lo: number,
  cookie: number,
  out: DirectoryAt,
): number {
  const found = image.entry(lo, cookie, out);
  // Only an entry with a place, but not a name, leaves a cookie.
  if (found >= 0 || out.cookie <= cookie) return found;
  const isDictionary = bootstrap.blobs.some(
    ({ features }) => (features & BlobFeature.chunkDictGenerated) !== 0,
  );
  const start = out.bytes.subarray(out.nameStart, out.nameStart + DICTIONARY_FILE.length);
  return isDictionary && Buffer.compare(start, DICTIONARY_FILE) === 0 ? 1 : found;
}

/** Where the inode of the walk's root is. */
function rootAt(bootstrap: Bootstrap): number {
  const { view, superblock, rootLo, version } = bootstrap;
  return version === 5
    ? view.getUint32(superblock.inodeTableOffset, true) * INODE_OFFSET_UNIT_V5
    : inodeAtV6(bootstrap, rootLo);
}

/** Offset of the v5 inode record whose name is at `nameStart`. */
export function recordOfName(nameStart: number): number {
  return nameStart - InodeV5.size;
}

/** Offset of a v6 inode. */
export function inodeAtV6(bootstrap: BootstrapV6, nid: number): number {
  const { metaBlockAddress, blockSize } = bootstrap.superblock;
  return metaBlockAddress * blockSize + nid * INODE_SLOT;
}

class Walk implements WalkEntry {
  readonly #bootstrap: Bootstrap;
  readonly #image: Image;
  readonly #report: ReportFault;
  readonly #stack: Frame[] = [];
  /** Names met so far, by inode. */
  readonly #names = new Map<number, number>();
  /** v5: records met, each of which is one entry. */
  readonly #records = new Set<number>();
  readonly #entry = new DirectoryAt();
  readonly #attr = new InodeAttr();
  #bytesLeft: number;
  /** v5: entries of the inode table that no directory had yet. */
  #childrenLeft: number;
  lo = 0;
  parentLo = 0;
  name: Uint8Array = ROOT_NAME;
  at = 0;
  isFirst = true;
  mode = 0;
  depth = 0;

  constructor(bootstrap: Bootstrap, image: Image, report: ReportFault) {
    this.#bootstrap = bootstrap;
    this.#image = image;
    this.#report = report;
    this.#bytesLeft = bootstrap.bytes.length;
    this.#childrenLeft = bootstrap.version === 5 ? bootstrap.superblock.inodeTableEntries : 0;
  }

  path(): Buffer {
    const parts: Uint8Array[] = [];
    for (const { name } of this.#stack.slice(1)) parts.push(ROOT_NAME, name);
    if (this.name[0] === ROOT_NAME[0]) return Buffer.from(this.name);
    return Buffer.concat([...parts, ROOT_NAME, this.name]);
  }

  *entries(): Generator<WalkEntry> {
    const { rootLo } = this.#image;
    if (!this.#enter(rootLo, rootLo, ROOT_NAME, rootAt(this.#bootstrap))) return;
    yield this;
    this.#push(1);
    for (let frame = this.#stack.at(-1); frame !== undefined; frame = this.#stack.at(-1)) {
      const type = this.#next(frame);
      if (type < 0) {
        this.#stack.pop();
        continue;
      }
      if (!this.#accept(type)) continue;
      yield this;
      if ((this.mode & S_IFMT) === S_IFDIR) this.#push(frame.pathSize + this.name.length + 1);
    }
  }

  #push(pathSize: number): void {
    const { lo, parentLo, name } = this;
    this.#stack.push({ lo, parentLo, name, pathSize, cookie: 0, previous: null, dots: 0 });
  }

  /** Moves to the directory's next entry that is not a dot: its d_type, or -1 at the end. */
  #next(frame: Frame): number {
    const entry = this.#entry;
    for (;;) {
      const found = readEntry(this.#bootstrap, this.#image, frame.lo, frame.cookie, entry);
      if (found <= 0) {
        this.#leave(frame, found < 0 ? this.#image.fault : frame.dots === 2 ? '' : 'no entries . and ..');
        return -1;
      }
      frame.cookie = entry.cookie;
      const name = entry.bytes.subarray(entry.nameStart, entry.nameEnd);
      if (frame.previous !== null && Buffer.compare(frame.previous, name) >= 0) {
        this.#leave(frame, `entry ${JSON.stringify(Buffer.from(name).toString())}: names must ascend`);
        return -1;
      }
      // The dots of v5 are not stored: the reader makes them up before all names.
      if (!entry.dot || this.#bootstrap.version === 6) frame.previous = name;
      if (entry.dot) {
        const wanted = name.length === 1 ? frame.lo : frame.parentLo;
        frame.dots++;
        if (entry.lo === wanted) continue;
        this.#leave(frame, `entry ${name.length === 1 ? '.' : '..'}: inode ${entry.lo}, must be ${wanted}`);
        return -1;
      }
      this.lo = entry.lo;
      this.parentLo = frame.lo;
      this.name = name;
      this.depth = this.#stack.length;
      this.at =
        this.#bootstrap.version === 5 ? recordOfName(entry.nameStart) : inodeAtV6(this.#bootstrap, entry.lo);
      return entry.type;
    }
  }

  #leave(frame: Frame, fault: string): void {
    if (fault === '') return;
    this.name = frame.name;
    this.depth = this.#stack.length - 1;
    const below = this.#stack.pop()!;
    this.#report(this.path(), frame.lo, fault);
    this.#stack.push(below);
  }

  /** Whether the entry just read is sound; `type` is its d_type. */
  #accept(type: number): boolean {
    const parent = this.#stack.at(-1)!;
    if (this.depth > DEPTH_MAX) return this.#refuse(`more than ${DEPTH_MAX} directories deep`);
    if (parent.pathSize + this.name.length > PATH_BYTES_MAX)
      return this.#refuse(`a path of more than ${PATH_BYTES_MAX} bytes`);
    if (!this.#enter(this.lo, this.parentLo, this.name, this.at)) return false;
    if (type !== (this.mode & S_IFMT) >> 12)
      return this.#refuse(`type ${type} in the directory, but mode 0${this.mode.toString(8)}`);
    return true;
  }

  #enter(lo: number, parentLo: number, name: Uint8Array, at: number): boolean {
    this.lo = lo;
    this.parentLo = parentLo;
    this.name = name;
    this.at = at;
    const names = this.#names.get(lo) ?? 0;
    this.isFirst = names === 0;
    const { version } = this.#bootstrap;
    if (version === 5 && this.#records.has(at)) return this.#refuse('a record with two entries');
    if (this.#image.checkInode(lo) !== 0) return this.#refuse(this.#image.fault || `no inode ${lo}`);
    this.mode = this.#image.mode(lo);
    if (!this.isFirst && (this.mode & S_IFMT) === S_IFDIR)
      return this.#refuse('a directory with two parents: hard links of directories, or a cycle');
    this.#image.attr(lo, this.#attr);
    if (names > 0 && names >= this.#attr.nlink)
      return this.#refuse(`more names than its nlink = ${this.#attr.nlink}`);
    if (this.isFirst || version === 5) this.#bytesLeft -= this.#claim(lo);
    if (!this.#takesOwnChildren()) return this.#refuse('directories that share children');
    if (this.#bytesLeft < 0)
      return this.#refuse('inodes that overlap: they claim more bytes than the bootstrap has');
    this.#names.set(lo, names + 1);
    if (version === 5) this.#records.add(at);
    return true;
  }

  /** v5: a directory's children are a range of the inode table, which no other may have. */
  #takesOwnChildren(): boolean {
    if (this.#bootstrap.version === 6 || (this.mode & S_IFMT) !== S_IFDIR) return true;
    this.#childrenLeft -= this.#bootstrap.view.getUint32(this.at + InodeV5.childCount, true);
    return this.#childrenLeft >= 0;
  }

  #refuse(fault: string): false {
    this.#report(this.path(), this.lo, fault);
    return false;
  }

  /** Bytes of the bootstrap that belong to a checked inode. */
  #claim(lo: number): number {
    const { view, chunkSize, version } = this.#bootstrap;
    if (version === 5) {
      const { chunks, count } = chunkRecordsV5(view, this.at);
      return chunks - this.at + count * ChunkRecordLayout.size;
    }
    const at = inodeAtV6(this.#bootstrap, lo);
    const size = this.#image.size(lo);
    const type = this.mode & S_IFMT;
    const own = inodeBytesV6(view, at);
    return own + (type === S_IFREG ? Math.ceil(size / chunkSize) * ChunkAddress.size : size);
  }
}

/** Bytes of a v6 inode with its xattrs. */
export function inodeBytesV6(view: DataView, at: number): number {
  const size = view.getUint8(at) & 1 ? ExtendedInode.size : CompactInode.size;
  return size + xattrBytesV6(view.getUint16(at + ExtendedInode.xattrCount, true));
}

/** Where the chunk records of the v5 inode record at `at` begin and how many it has; only regular files have any. */
export function chunkRecordsV5(view: DataView, at: number): { chunks: number; count: number } {
  const name = view.getUint16(at + InodeV5.nameSize, true);
  const target = view.getUint16(at + InodeV5.symlinkSize, true);
  let chunks = at + recordBytesV5(name, target);
  if (view.getUint32(at + InodeV5.flags, true) & InodeFlagV5.xattr)
    chunks += chunks + 8 <= view.byteLength ? 8 + align8(readU64(view, chunks)) : view.byteLength;
  const regular = (view.getUint32(at + InodeV5.mode, true) & S_IFMT) === S_IFREG;
  return { chunks, count: regular ? view.getUint32(at + InodeV5.childCount, true) : 0 };
}
