import { digest } from '../lib/content-hash.ts';
import { Errno } from '../lib/errno.ts';
import { align8, readI64, readU64 } from '../wire/rafs/bytes.ts';
import { ChunkRecordLayout } from '../wire/rafs/chunk.ts';
import { digesterOf, NAME_MAX } from '../wire/rafs/flags.ts';
import {
  INODE_ENTRY_MIN_V5,
  INODE_OFFSET_UNIT_V5,
  InodeFlagV5,
  InodeV5,
  recordBytesV5,
} from '../wire/rafs/inode-v5.ts';
import type { BootstrapV5 } from './bootstrap.ts';
import {
  type ChunkAt,
  compareNames,
  copy,
  type DirectoryAt,
  type Image,
  type InodeAttr,
  isDot,
  isEntryName,
  isFileType,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  SYMLINK_BYTES_MAX,
} from './image.ts';

const { EIO, ENODATA, ENOENT, ERANGE } = Errno;

const CHUNK = ChunkRecordLayout;
const DOTS: Uint8Array = Buffer.from('..');

/**
 * Inodes of a v5 bootstrap; nodeid = i_ino, which all aliases of a hardlink share. Options: `validate` checks
 * inode digests at first use.
 */
export class ImageV5 implements Image {
  readonly rootLo: number = 1;
  fault = '';
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  readonly #table: number;
  readonly #entries: number;
  readonly #chunkSize: number;
  readonly #blobs: number;
  readonly #digester: 'blake3' | 'sha256';
  readonly #validate: boolean;
  readonly #legacyOffsets: readonly Float64Array[] | null;
  /** One bit per inode that passed `checkInode`. */
  readonly #checked: Uint8Array;

  constructor(bootstrap: BootstrapV5, validate: boolean) {
    this.#view = bootstrap.view;
    this.#bytes = bootstrap.bytes;
    this.#table = bootstrap.superblock.inodeTableOffset;
    this.#entries = bootstrap.superblock.inodeTableEntries;
    this.#chunkSize = bootstrap.chunkSize;
    this.#blobs = bootstrap.blobs.length;
    this.#digester = digesterOf(bootstrap.flags);
    this.#validate = validate;
    this.#legacyOffsets = bootstrap.legacyOffsets;
    this.#checked = new Uint8Array((this.#entries >> 3) + 1);
  }

  checkInode(lo: number): number {
    if (lo < 1 || lo > this.#entries) return -ENOENT;
    if (this.#checked[lo >> 3]! & (1 << (lo & 7))) return 0;
    const result = this.#firstCheck(lo);
    if (result === 0) this.#checked[lo >> 3]! |= 1 << (lo & 7);
    return result;
  }

  mode(lo: number): number {
    return this.#view.getUint32(this.#record(lo) + InodeV5.mode, true);
  }

  size(lo: number): number {
    return readU64(this.#view, this.#record(lo) + InodeV5.fileSize);
  }

  attr(lo: number, out: InodeAttr): void {
    const view = this.#view;
    const at = this.#record(lo);
    const mode = view.getUint32(at + InodeV5.mode, true);
    const device = (mode & S_IFMT) === S_IFCHR || (mode & S_IFMT) === S_IFBLK;
    out.inoLo = lo;
    out.size = readU64(view, at + InodeV5.fileSize);
    out.blocks = readU64(view, at + InodeV5.blocks);
    out.mtime = readI64(view, at + InodeV5.mtime);
    out.mtimeNs = view.getUint32(at + InodeV5.mtimeNs, true);
    out.mode = mode;
    out.nlink = view.getUint32(at + InodeV5.nlink, true);
    out.uid = view.getUint32(at + InodeV5.uid, true);
    out.gid = view.getUint32(at + InodeV5.gid, true);
    // The tar builder leaves 0xffffffff where there is no device.
    out.rdev = device ? view.getUint32(at + InodeV5.rdev, true) : 0;
    out.blksize = 4096;
  }

  child(lo: number, bytes: Uint8Array, start: number, end: number): number {
    if (isDot(bytes, start, end)) return end - start === 1 ? lo : this.#parent(lo);
    const directory = this.#record(lo);
    const first = this.#view.getUint32(directory + InodeV5.childIndex, true);
    let low = 0;
    let high = this.#view.getUint32(directory + InodeV5.childCount, true);
    while (low < high) {
      const middle = (low + high) >>> 1;
      const at = this.#locate(first + middle);
      if (at < 0) return at;
      const name = at + InodeV5.size;
      const order = compareNames(this.#bytes, name, name + this.#nameSize(at), bytes, start, end);
      if (order === 0) return this.#ino(at, first + middle);
      if (order < 0) low = middle + 1;
      else high = middle;
    }
    return -ENOENT;
  }

  entry(lo: number, cookie: number, out: DirectoryAt): number {
    if (cookie < 2) return this.#dotEntry(lo, cookie, out);
    const directory = this.#record(lo);
    const i = cookie - 2;
    if (i >= this.#view.getUint32(directory + InodeV5.childCount, true)) return 0;
    const index = this.#view.getUint32(directory + InodeV5.childIndex, true) + i;
    const at = this.#locate(index);
    if (at < 0) return at;
    const ino = this.#ino(at, index);
    if (ino < 0) return ino;
    out.lo = ino;
    out.type = (this.#view.getUint32(at + InodeV5.mode, true) & S_IFMT) >> 12;
    out.cookie = cookie + 1;
    out.bytes = this.#bytes;
    out.nameStart = at + InodeV5.size;
    out.nameEnd = out.nameStart + this.#nameSize(at);
    out.dot = false;
    const ok =
      isEntryName(out.bytes, out.nameStart, out.nameEnd) && !isDot(out.bytes, out.nameStart, out.nameEnd);
    return ok ? 1 : this.#bad('name of a child');
  }

  readlink(lo: number, out: Uint8Array, at: number): number {
    const record = this.#record(lo);
    const start = record + InodeV5.size + align8(this.#nameSize(record));
    const length = this.#symlinkSize(record);
    copy(this.#bytes, start, start + length, out, at);
    return length;
  }

  chunk(lo: number, i: number, out: ChunkAt): number {
    const view = this.#view;
    const record = this.#record(lo);
    const fileSize = readU64(view, record + InodeV5.fileSize);
    const fileOffset = i * this.#chunkSize;
    const size = Math.min(this.#chunkSize, fileSize - fileOffset);
    const holes = (view.getUint32(record + InodeV5.flags, true) & InodeFlagV5.hasHole) !== 0;
    const at = holes ? this.#findChunk(record, fileOffset) : this.#chunkNumber(record, i);
    out.size = size;
    out.hole = at < 0 && holes;
    out.record = at;
    if (out.hole) return 0;
    if (at < 0) return this.#bad('chunk count: fewer than the size needs');
    out.blob = view.getUint32(at + CHUNK.blobIndex, true);
    out.index = view.getUint32(at + CHUNK.index, true);
    out.offset = readU64(view, at + CHUNK.uncompressedOffset);
    if (out.blob >= this.#blobs) return this.#bad('chunk blob index');
    if (this.#legacyOffsets !== null) {
      out.index = legacyIndex(this.#legacyOffsets[out.blob]!, out.offset);
      if (out.index < 0) return this.#bad('chunk uncompressed offset');
    }
    if (view.getUint32(at + CHUNK.uncompressedSize, true) < size) return this.#bad('chunk uncompressed size');
    return 0;
  }

  /** Visits the chunk records of a regular file; nothing for other or damaged inodes. */
  eachChunkRecord(lo: number, visit: (at: number) => void): void {
    if (this.checkInode(lo) !== 0 || (this.mode(lo) & S_IFMT) !== S_IFREG) return;
    const record = this.#record(lo);
    const start = this.#chunks(record);
    const count = this.#view.getUint32(record + InodeV5.childCount, true);
    for (let i = 0; i < count; i++) visit(start + i * CHUNK.size);
  }

  getxattr(
    lo: number,
    name: Uint8Array,
    start: number,
    end: number,
    out: Uint8Array,
    at: number,
    capacity: number,
  ): number {
    const record = this.#record(lo);
    let pair = this.#xattrs(record);
    const stop = pair + this.#xattrBytes(record);
    for (; pair + 4 <= stop; pair = this.#pairEnd(pair)) {
      const pairEnd = this.#pairEnd(pair);
      if (pairEnd > stop) return this.#bad('xattr pair size');
      const nul = this.#nul(pair + 4, pairEnd);
      if (nul < 0 || compareNames(this.#bytes, pair + 4, nul, name, start, end) !== 0) continue;
      const length = pairEnd - nul - 1;
      if (capacity === 0 || length === 0) return length;
      if (capacity < length) return -ERANGE;
      copy(this.#bytes, nul + 1, pairEnd, out, at);
      return length;
    }
    return -ENODATA;
  }

  listxattr(lo: number, out: Uint8Array, at: number, capacity: number): number {
    const record = this.#record(lo);
    let pair = this.#xattrs(record);
    const stop = pair + this.#xattrBytes(record);
    let length = 0;
    for (; pair + 4 <= stop; pair = this.#pairEnd(pair)) {
      const pairEnd = this.#pairEnd(pair);
      if (pairEnd > stop) return this.#bad('xattr pair size');
      const nul = this.#nul(pair + 4, pairEnd);
      if (nul <= pair + 4) continue;
      const name = nul + 1 - (pair + 4);
      if (capacity > 0) {
        if (length + name > capacity) return -ERANGE;
        copy(this.#bytes, pair + 4, nul + 1, out, at + length);
      }
      length += name;
    }
    return length;
  }

  /** Offset of a checked inode's record. */
  #record(lo: number): number {
    return this.#view.getUint32(this.#table + (lo - 1) * 4, true) * INODE_OFFSET_UNIT_V5;
  }

  /** Offset of the record at an index of the inode table, its fixed part and name inside the bootstrap; or -EIO. */
  #locate(index: number): number {
    if (index < 1 || index > this.#entries) return this.#bad('child index');
    const entry = this.#view.getUint32(this.#table + (index - 1) * 4, true);
    const at = entry * INODE_OFFSET_UNIT_V5;
    const length = this.#bytes.length;
    if (entry <= INODE_ENTRY_MIN_V5 || at + InodeV5.size > length) return this.#bad('inode table entry');
    const nameSize = this.#nameSize(at);
    if (nameSize < 1 || nameSize > NAME_MAX) return this.#bad('name size');
    if (at + InodeV5.size + nameSize > length) return this.#bad('name outside the bootstrap');
    return at;
  }

  /** i_ino of the record at `index`: the index, or a smaller one for an alias of a hardlink. */
  #ino(at: number, index: number): number {
    const ino = readU64(this.#view, at + InodeV5.ino);
    return ino >= 1 && ino <= index ? ino : this.#bad('i_ino');
  }

  #parent(lo: number): number {
    if (lo === 1) return 1;
    return readU64(this.#view, this.#record(lo) + InodeV5.parent);
  }

  #dotEntry(lo: number, cookie: number, out: DirectoryAt): number {
    out.lo = cookie === 0 ? lo : this.#parent(lo);
    out.type = S_IFDIR >> 12;
    out.cookie = cookie + 1;
    out.bytes = DOTS;
    out.nameStart = 0;
    out.nameEnd = cookie + 1;
    out.dot = true;
    return 1;
  }

  #firstCheck(lo: number): number {
    const view = this.#view;
    const at = this.#locate(lo);
    if (at < 0) return at;
    if (readU64(view, at + InodeV5.ino) !== lo) return this.#bad('i_ino: not its index');
    const mode = view.getUint32(at + InodeV5.mode, true);
    if (!isFileType(mode)) return this.#bad('mode: no file type');
    if (view.getUint32(at + InodeV5.nlink, true) === 0) return this.#bad('nlink: 0');
    if (readU64(view, at + InodeV5.fileSize) > Number.MAX_SAFE_INTEGER) return this.#bad('size: above 2^53');
    if (readU64(view, at + InodeV5.blocks) > Number.MAX_SAFE_INTEGER) return this.#bad('blocks: above 2^53');
    if (view.getUint32(at + InodeV5.mtimeNs, true) >= 1e9) return this.#bad('mtime nanoseconds');
    const parent = readU64(view, at + InodeV5.parent);
    if (lo !== 1 && (parent < 1 || parent > this.#entries)) return this.#bad('parent');
    const shape = this.#checkShape(lo, at, mode & S_IFMT);
    if (shape !== 0 || !this.#validate) return shape;
    return this.#checkDigest(at, mode & S_IFMT);
  }

  /** What trails the record lies inside the bootstrap, and children are behind their directory. */
  #checkShape(lo: number, at: number, type: number): number {
    const view = this.#view;
    const length = this.#bytes.length;
    const symlinkSize = this.#symlinkSize(at);
    if ((type === S_IFLNK) !== symlinkSize > 0) return this.#bad('symlink size');
    if (symlinkSize > SYMLINK_BYTES_MAX) return this.#bad('symlink size: above 4096');
    let end = at + recordBytesV5(this.#nameSize(at), symlinkSize);
    if (end > length) return this.#bad('name or link target outside the bootstrap');
    if (view.getUint32(at + InodeV5.flags, true) & InodeFlagV5.xattr) {
      if (end + 8 > length) return this.#bad('xattr table outside the bootstrap');
      end += 8 + align8(readU64(view, end));
      if (end > length) return this.#bad('xattr table size');
    }
    const count = view.getUint32(at + InodeV5.childCount, true);
    if (type === S_IFDIR) {
      const first = view.getUint32(at + InodeV5.childIndex, true);
      if (count > 0 && (first <= lo || first + count - 1 > this.#entries)) return this.#bad('child index');
      return lo === 1 || readU64(view, at + InodeV5.parent) < lo
        ? 0
        : this.#bad('parent: not before its child');
    }
    if (lo === 1) return this.#bad('root: not a directory');
    if (type !== S_IFREG) return 0;
    if (end + count * CHUNK.size > length) return this.#bad('chunk records outside the bootstrap');
    const holes = (view.getUint32(at + InodeV5.flags, true) & InodeFlagV5.hasHole) !== 0;
    return holes ? this.#checkChunkOrder(end, count) : 0;
  }

  /** With holes, chunks are found by file offset: they must ascend in whole chunks. */
  #checkChunkOrder(start: number, count: number): number {
    let previous = -1;
    for (let i = 0; i < count; i++) {
      const offset = readU64(this.#view, start + i * CHUNK.size + CHUNK.fileOffset);
      if (offset <= previous || offset % this.#chunkSize !== 0) return this.#bad('chunk file offset');
      previous = offset;
    }
    return 0;
  }

  /** The inode's own digest, not those of its children. */
  #checkDigest(at: number, type: number): number {
    let actual: Uint8Array;
    if (type === S_IFLNK) {
      const start = at + InodeV5.size + align8(this.#nameSize(at));
      actual = digest(this.#digester, this.#bytes.subarray(start, start + this.#symlinkSize(at)));
    } else if (type === S_IFREG) {
      actual = digest(this.#digester, this.#chunkDigests(at));
    } else if (type === S_IFDIR) {
      const children = this.#childDigests(at);
      if (children === null) return -EIO;
      actual = digest(this.#digester, children);
    } else return 0;
    const same = compareNames(actual, 0, 32, this.#bytes, at, at + 32) === 0;
    return same ? 0 : this.#bad('inode digest');
  }

  #chunkDigests(at: number): Uint8Array {
    const count = this.#view.getUint32(at + InodeV5.childCount, true);
    const start = this.#chunks(at);
    const all = new Uint8Array(count * 32);
    for (let i = 0; i < count; i++)
      copy(this.#bytes, start + i * CHUNK.size, start + i * CHUNK.size + 32, all, i * 32);
    return all;
  }

  #childDigests(at: number): Uint8Array | null {
    const count = this.#view.getUint32(at + InodeV5.childCount, true);
    const first = this.#view.getUint32(at + InodeV5.childIndex, true);
    const all = new Uint8Array(count * 32);
    for (let i = 0; i < count; i++) {
      const child = this.#locate(first + i);
      if (child < 0) return null;
      copy(this.#bytes, child, child + 32, all, i * 32);
    }
    return all;
  }

  #chunkNumber(record: number, i: number): number {
    if (i >= this.#view.getUint32(record + InodeV5.childCount, true)) return -1;
    return this.#chunks(record) + i * CHUNK.size;
  }

  #findChunk(record: number, fileOffset: number): number {
    const start = this.#chunks(record);
    let low = 0;
    let high = this.#view.getUint32(record + InodeV5.childCount, true);
    while (low < high) {
      const middle = (low + high) >>> 1;
      const at = start + middle * CHUNK.size;
      const offset = readU64(this.#view, at + CHUNK.fileOffset);
      if (offset === fileOffset) return at;
      if (offset < fileOffset) low = middle + 1;
      else high = middle;
    }
    return -1;
  }

  #chunks(record: number): number {
    const bytes = this.#xattrBytes(record);
    const flagged = (this.#view.getUint32(record + InodeV5.flags, true) & InodeFlagV5.xattr) !== 0;
    return (
      record +
      recordBytesV5(this.#nameSize(record), this.#symlinkSize(record)) +
      (flagged ? 8 + align8(bytes) : 0)
    );
  }

  /** Start of the xattr pairs. */
  #xattrs(record: number): number {
    return record + recordBytesV5(this.#nameSize(record), this.#symlinkSize(record)) + 8;
  }

  /** Bytes of the xattr pairs; 0 without xattrs. */
  #xattrBytes(record: number): number {
    if ((this.#view.getUint32(record + InodeV5.flags, true) & InodeFlagV5.xattr) === 0) return 0;
    return readU64(this.#view, this.#xattrs(record) - 8);
  }

  #pairEnd(pair: number): number {
    return pair + 4 + this.#view.getUint32(pair, true);
  }

  #nul(start: number, end: number): number {
    for (let i = start; i < end; i++) if (this.#bytes[i] === 0) return i;
    return -1;
  }

  #nameSize(record: number): number {
    return this.#view.getUint16(record + InodeV5.nameSize, true);
  }

  #symlinkSize(record: number): number {
    return this.#view.getUint16(record + InodeV5.symlinkSize, true);
  }

  #bad(fault: string): number {
    this.fault = fault;
    return -EIO;
  }
}

/** Place of `offset` in a sorted list, or -1. */
function legacyIndex(offsets: Float64Array, offset: number): number {
  let low = 0;
  let high = offsets.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (offsets[middle]! < offset) low = middle + 1;
    else high = middle;
  }
  return offsets[low] === offset ? low : -1;
}
