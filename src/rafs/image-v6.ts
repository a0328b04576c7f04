import { Errno } from '../lib/errno.ts';
import { align8, readI64, readU64 } from '../wire/rafs/bytes.ts';
import { ChunkAddress, chunkAddressIndex } from '../wire/rafs/chunk.ts';
import {
  CompactInode,
  DataLayout,
  Dirent,
  direntTypes,
  ExtendedInode,
  INODE_SLOT,
} from '../wire/rafs/inode-v6.ts';
import { XattrBodyV6, XattrEntryV6, xattrBytesV6, xattrPrefixes } from '../wire/rafs/xattr.ts';
import type { BootstrapV6 } from './bootstrap.ts';
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

/** A directory cookie is block × this + entry: a block of 4096 bytes holds fewer entries (13 bytes each at least). */
const COOKIE_STRIDE = 512;

/** Inodes of a v6 bootstrap; nodeid = nid. */
export class ImageV6 implements Image {
  readonly rootLo: number;
  fault = '';
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  readonly #meta: number;
  readonly #blockSize: number;
  readonly #chunkSize: number;
  readonly #blobs: number;
  /** One bit per nid that passed `checkInode`. */
  readonly #checked: Uint8Array;
  /** Name found by the last #name. */
  #nameStart = 0;
  #nameEnd = 0;

  constructor(bootstrap: BootstrapV6) {
    this.rootLo = bootstrap.rootLo;
    this.#view = bootstrap.view;
    this.#bytes = bootstrap.bytes;
    this.#blockSize = bootstrap.superblock.blockSize;
    this.#meta = bootstrap.superblock.metaBlockAddress * this.#blockSize;
    this.#chunkSize = bootstrap.chunkSize;
    this.#blobs = bootstrap.blobs.length;
    this.#checked = new Uint8Array(((this.#bytes.length - this.#meta) / INODE_SLOT / 8 + 1) >>> 0);
  }

  checkInode(lo: number): number {
    if (lo < 1 || this.#inode(lo) + CompactInode.size > this.#bytes.length) return -ENOENT;
    if (this.#checked[lo >>> 3]! & (1 << (lo & 7))) return 0;
    const result = this.#firstCheck(lo);
    if (result === 0) this.#checked[lo >>> 3]! |= 1 << (lo & 7);
    return result;
  }

  mode(lo: number): number {
    return this.#view.getUint16(this.#inode(lo) + ExtendedInode.mode, true);
  }

  size(lo: number): number {
    const at = this.#inode(lo);
    return this.#extended(at)
      ? readU64(this.#view, at + ExtendedInode.fileSize)
      : this.#view.getUint32(at + CompactInode.fileSize, true);
  }

  attr(lo: number, out: InodeAttr): void {
    const view = this.#view;
    const at = this.#inode(lo);
    const mode = view.getUint16(at + ExtendedInode.mode, true);
    const device = (mode & S_IFMT) === S_IFCHR || (mode & S_IFMT) === S_IFBLK;
    out.inoLo = lo;
    out.mode = mode;
    out.rdev = device ? view.getUint32(at + ExtendedInode.union, true) : 0;
    out.blksize = 4096;
    if (this.#extended(at)) {
      out.size = readU64(view, at + ExtendedInode.fileSize);
      out.mtime = readI64(view, at + ExtendedInode.mtime);
      out.mtimeNs = view.getUint32(at + ExtendedInode.mtimeNs, true);
      out.nlink = view.getUint32(at + ExtendedInode.nlink, true);
      out.uid = view.getUint32(at + ExtendedInode.uid, true);
      out.gid = view.getUint32(at + ExtendedInode.gid, true);
    } else {
      out.size = view.getUint32(at + CompactInode.fileSize, true);
      out.mtime = 0;
      out.mtimeNs = 0;
      out.nlink = view.getUint16(at + CompactInode.nlink, true);
      out.uid = view.getUint16(at + CompactInode.uid, true);
      out.gid = view.getUint16(at + CompactInode.gid, true);
    }
    out.blocks = Math.ceil(out.size / 512);
  }

  child(lo: number, bytes: Uint8Array, start: number, end: number): number {
    const block = this.#findBlock(lo, bytes, start, end);
    if (block < 0) return block;
    const at = this.#block(lo, block);
    const blockEnd = at + this.#blockBytes(lo, block);
    let low = 0;
    let high = this.#entries(at, blockEnd);
    const count = high;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (!this.#name(at, blockEnd, middle, count)) return -EIO;
      const order = compareNames(this.#bytes, this.#nameStart, this.#nameEnd, bytes, start, end);
      if (order === 0) return this.#nid(at + middle * Dirent.size);
      if (order < 0) low = middle + 1;
      else high = middle;
    }
    return -ENOENT;
  }

  entry(lo: number, cookie: number, out: DirectoryAt): number {
    let block = Math.floor(cookie / COOKIE_STRIDE);
    let i = cookie % COOKIE_STRIDE;
    const blocks = Math.ceil(this.size(lo) / this.#blockSize);
    if (block >= blocks) return 0;
    let at = this.#block(lo, block);
    let blockEnd = at + this.#blockBytes(lo, block);
    let count = this.#entries(at, blockEnd);
    if (count < 0) return count;
    if (i >= count) {
      block++;
      i = 0;
      if (block >= blocks) return 0;
      at = this.#block(lo, block);
      blockEnd = at + this.#blockBytes(lo, block);
      count = this.#entries(at, blockEnd);
      if (count < 0) return count;
    }
    if (!this.#name(at, blockEnd, i, count)) return -EIO;
    const nid = this.#nid(at + i * Dirent.size);
    if (nid < 0) return nid;
    out.lo = nid;
    out.type = direntTypes[this.#bytes[at + i * Dirent.size + Dirent.type]!] ?? 0;
    out.cookie = block * COOKIE_STRIDE + i + 1;
    out.bytes = this.#bytes;
    out.nameStart = this.#nameStart;
    out.nameEnd = this.#nameEnd;
    out.dot = isDot(this.#bytes, this.#nameStart, this.#nameEnd);
    return isEntryName(this.#bytes, this.#nameStart, this.#nameEnd)
      ? 1
      : this.#bad('name of a directory entry');
  }

  readlink(lo: number, out: Uint8Array, at: number): number {
    const length = this.size(lo);
    for (let block = 0, done = 0; done < length; block++) {
      const start = this.#block(lo, block);
      const part = this.#blockBytes(lo, block);
      copy(this.#bytes, start, start + part, out, at + done);
      done += part;
    }
    return length;
  }

  chunk(lo: number, i: number, out: ChunkAt): number {
    const at = this.#chunks(lo) + i * ChunkAddress.size;
    const device = this.#bytes[at + ChunkAddress.device]!;
    if (device === 0 || device > this.#blobs) return this.#bad('chunk address: blob index');
    out.blob = device - 1;
    out.index = chunkAddressIndex(this.#view, at);
    out.offset = this.#view.getUint32(at + ChunkAddress.blockAddress, true) * this.#blockSize;
    out.size = Math.min(this.#chunkSize, this.size(lo) - i * this.#chunkSize);
    out.hole = false;
    out.record = -1;
    return 0;
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
    const stop = this.#xattrEnd(lo);
    for (let entry = this.#xattrs(lo); entry + XattrEntryV6.size <= stop; entry = this.#nextXattr(entry)) {
      const prefix = this.#checkXattr(entry, stop);
      if (prefix === null) return -EIO;
      const suffix = entry + XattrEntryV6.size;
      const value = suffix + this.#bytes[entry]!;
      const split = start + prefix.length;
      if (split > end || compareNames(prefix, 0, prefix.length, name, start, split) !== 0) continue;
      if (compareNames(this.#bytes, suffix, value, name, split, end) !== 0) continue;
      const length = this.#view.getUint16(entry + XattrEntryV6.valueSize, true);
      if (capacity === 0 || length === 0) return length;
      if (capacity < length) return -ERANGE;
      copy(this.#bytes, value, value + length, out, at);
      return length;
    }
    return -ENODATA;
  }

  listxattr(lo: number, out: Uint8Array, at: number, capacity: number): number {
    const stop = this.#xattrEnd(lo);
    let length = 0;
    for (let entry = this.#xattrs(lo); entry + XattrEntryV6.size <= stop; entry = this.#nextXattr(entry)) {
      const prefix = this.#checkXattr(entry, stop);
      if (prefix === null) return -EIO;
      const suffix = entry + XattrEntryV6.size;
      const suffixSize = this.#bytes[entry]!;
      const size = prefix.length + suffixSize + 1;
      if (capacity > 0) {
        if (length + size > capacity) return -ERANGE;
        copy(prefix, 0, prefix.length, out, at + length);
        copy(this.#bytes, suffix, suffix + suffixSize, out, at + length + prefix.length);
        out[at + length + size - 1] = 0;
      }
      length += size;
    }
    return length;
  }

  #inode(lo: number): number {
    return this.#meta + lo * INODE_SLOT;
  }

  #extended(at: number): boolean {
    return (this.#bytes[at]! & 1) !== 0;
  }

  #layout(at: number): number {
    return (this.#bytes[at]! >> 1) & 7;
  }

  #inodeBytes(at: number): number {
    return this.#extended(at) ? ExtendedInode.size : CompactInode.size;
  }

  /** End of inode and xattrs: where inline data begins. */
  #tail(at: number): number {
    return (
      at + this.#inodeBytes(at) + xattrBytesV6(this.#view.getUint16(at + ExtendedInode.xattrCount, true))
    );
  }

  #chunks(lo: number): number {
    return align8(this.#tail(this.#inode(lo)));
  }

  #firstCheck(lo: number): number {
    const view = this.#view;
    const at = this.#inode(lo);
    const format = view.getUint16(at, true);
    if ((format & ~0xf) !== 0) return this.#bad('i_format: unknown bits');
    if (at + this.#inodeBytes(at) > this.#bytes.length) return this.#bad('inode outside the bootstrap');
    const mode = view.getUint16(at + ExtendedInode.mode, true);
    if (!isFileType(mode)) return this.#bad('i_mode: no file type');
    const size = this.size(lo);
    if (size > Number.MAX_SAFE_INTEGER) return this.#bad('i_size: above 2^53');
    if (this.#extended(at) && view.getUint32(at + ExtendedInode.mtimeNs, true) >= 1e9)
      return this.#bad('i_mtime_nsec');
    if (this.#tail(at) > this.#bytes.length) return this.#bad('i_xattr_icount');
    const type = mode & S_IFMT;
    if (lo === this.rootLo && type !== S_IFDIR) return this.#bad('root: not a directory');
    const layout = this.#layout(at);
    if (type === S_IFREG) {
      if (layout !== DataLayout.chunkBased) return this.#bad('i_format: a file must be chunk-based');
      const chunks = Math.ceil(size / this.#chunkSize);
      const fits = this.#chunks(lo) + chunks * ChunkAddress.size <= this.#bytes.length;
      return fits ? 0 : this.#bad('i_size: chunk addresses outside the bootstrap');
    }
    if (type !== S_IFDIR && type !== S_IFLNK)
      return layout === DataLayout.flatPlain ? 0 : this.#bad('i_format: must be flat');
    if (type === S_IFLNK && (size === 0 || size > SYMLINK_BYTES_MAX))
      return this.#bad('i_size: link target of 1 to 4096 bytes');
    return this.#checkData(at, size, layout);
  }

  /** Blocks and tail of a directory or link lie inside the bootstrap. */
  #checkData(at: number, size: number, layout: number): number {
    if (layout !== DataLayout.flatPlain && layout !== DataLayout.flatInline)
      return this.#bad('i_format: must be flat');
    const inline = layout === DataLayout.flatInline;
    const tail = size % this.#blockSize;
    const inBlocks = inline ? size - tail : size;
    const start = this.#view.getUint32(at + ExtendedInode.union, true) * this.#blockSize;
    if (inBlocks > 0 && start + inBlocks > this.#bytes.length)
      return this.#bad('i_u: data outside the bootstrap');
    if (inline && this.#tail(at) + tail > this.#bytes.length)
      return this.#bad('i_size: inline data outside the bootstrap');
    return 0;
  }

  /** Offset of a data block of a directory or link; the last one of an inline inode trails it. */
  #block(lo: number, block: number): number {
    const at = this.#inode(lo);
    const inline =
      this.#layout(at) === DataLayout.flatInline && (block + 1) * this.#blockSize > this.size(lo);
    if (inline) return this.#tail(at);
    return (this.#view.getUint32(at + ExtendedInode.union, true) + block) * this.#blockSize;
  }

  #blockBytes(lo: number, block: number): number {
    return Math.min(this.#blockSize, this.size(lo) - block * this.#blockSize);
  }

  /** Last block whose first name is not behind the wanted one; -ENOENT, -EIO. */
  #findBlock(lo: number, bytes: Uint8Array, start: number, end: number): number {
    let low = 0;
    let high = Math.ceil(this.size(lo) / this.#blockSize);
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      const at = this.#block(lo, middle);
      const blockEnd = at + this.#blockBytes(lo, middle);
      const count = this.#entries(at, blockEnd);
      if (count < 0) return count;
      if (!this.#name(at, blockEnd, 0, count)) return -EIO;
      if (compareNames(this.#bytes, this.#nameStart, this.#nameEnd, bytes, start, end) <= 0) low = middle + 1;
      else high = middle;
    }
    return low === 0 ? -ENOENT : low - 1;
  }

  /** Entries in a directory block: the first name lies right behind the last entry. */
  #entries(at: number, blockEnd: number): number {
    if (at + Dirent.size > blockEnd) return this.#bad('directory block: too short');
    const first = this.#view.getUint16(at + Dirent.nameOffset, true);
    if (first < Dirent.size || first % Dirent.size !== 0 || at + first >= blockEnd)
      return this.#bad('dirent nameoff');
    return first / Dirent.size;
  }

  /** Finds entry `i`'s name; false (and `fault`) if it is malformed. */
  #name(at: number, blockEnd: number, i: number, count: number): boolean {
    const entry = at + i * Dirent.size;
    const start = at + this.#view.getUint16(entry + Dirent.nameOffset, true);
    let end = blockEnd;
    if (i + 1 < count) end = at + this.#view.getUint16(entry + Dirent.size + Dirent.nameOffset, true);
    else {
      // Padding behind the last name is zero; one byte more than a name may have is enough to see that it is too long.
      const limit = Math.min(blockEnd, start + 256);
      end = start;
      while (end < limit && this.#bytes[end] !== 0) end++;
    }
    this.#nameStart = start;
    this.#nameEnd = end;
    if (start >= at + count * Dirent.size && end > start && end <= blockEnd && end - start <= 255)
      return true;
    this.#bad('dirent nameoff');
    return false;
  }

  #nid(entry: number): number {
    const nid = readU64(this.#view, entry);
    const fits = nid >= 1 && nid <= 0xffff_ffff && this.#inode(nid) + CompactInode.size <= this.#bytes.length;
    return fits ? nid : this.#bad('dirent nid');
  }

  /** Start of the xattr entries, behind their header. */
  #xattrs(lo: number): number {
    const at = this.#inode(lo);
    return at + this.#inodeBytes(at) + XattrBodyV6.size;
  }

  #xattrEnd(lo: number): number {
    const at = this.#inode(lo);
    return this.#view.getUint16(at + ExtendedInode.xattrCount, true) === 0 ? 0 : this.#tail(at);
  }

  /** Prefix of the entry's name; null (and `fault`) if the entry is malformed. */
  #checkXattr(entry: number, stop: number): Uint8Array | null {
    const prefix = xattrPrefixes[this.#bytes[entry + XattrEntryV6.nameIndex]!];
    const size =
      XattrEntryV6.size + this.#bytes[entry]! + this.#view.getUint16(entry + XattrEntryV6.valueSize, true);
    if (prefix === undefined) this.#bad('xattr name index');
    else if (entry + size > stop) this.#bad('xattr entry size');
    else return prefix;
    return null;
  }

  #nextXattr(entry: number): number {
    const size =
      XattrEntryV6.size + this.#bytes[entry]! + this.#view.getUint16(entry + XattrEntryV6.valueSize, true);
    return entry + ((size + 3) & ~3);
  }

  #bad(fault: string): number {
    this.fault = fault;
    return -EIO;
  }
}
