import type { Attr, DirectorySink, Entry, FileSystem, Opened, ReadSink, Statfs } from '../fuse/filesystem.ts';
import { Entry as EntryRecord } from '../fuse/filesystem.ts';
import { Errno } from '../lib/errno.ts';
import { type MountedFs, type PseudoNode, PseudoTree, ROOT_LO } from './pseudo-tree.ts';

/**
 * How long a guest may keep what it saw of a pseudo directory. virtio-fs has no invalidation, so this is how long a
 * mount can stay unseen; nothing is gained by more, since one LOOKUP a second per mountpoint costs nothing.
 */
const PSEUDO_VALID_MS = 100;

const S_IFDIR = 0o040000;
const DT_DIR = 4;
const DOT_BYTE = 0x2e;
const DOT: Uint8Array = Buffer.from('.');
const DOT_DOT: Uint8Array = Buffer.from('..');
/** Cookies of `.` and `..`; child n has FIRST_CHILD + n. */
const FIRST_CHILD = 2;

/** Passes entries on as valid for no longer than a pseudo directory's. */
class ShortLivedEntries implements DirectorySink {
  sink!: DirectorySink;

  add(
    inoHi: number,
    inoLo: number,
    cookie: number,
    type: number,
    bytes: Uint8Array,
    nameStart: number,
    nameEnd: number,
  ): boolean {
    return this.sink.add(inoHi, inoLo, cookie, type, bytes, nameStart, nameEnd);
  }

  addPlus(
    entry: Entry,
    cookie: number,
    type: number,
    bytes: Uint8Array,
    nameStart: number,
    nameEnd: number,
  ): boolean {
    entry.validMs = Math.min(entry.validMs, PSEUDO_VALID_MS);
    return this.sink.addPlus(entry, cookie, type, bytes, nameStart, nameEnd);
  }
}

/**
 * One tree over many images. The high word of a nodeid is the serial of the mount which it belongs to, 0 for pseudo
 * directories; nodeid 1 is the root, or the root of the image mounted at `/`.
 */
export class Vfs implements FileSystem {
  readonly tree: PseudoTree = new PseudoTree();
  readonly #uid: number;
  readonly #gid: number;
  readonly #entry = new EntryRecord();
  readonly #shortLived = new ShortLivedEntries();
  /** Result of the last `#find`: the node's low word within its file system. */
  #lo = 0;
  #filled = 0;
  #lastSerial = 0;
  #lastFs: MountedFs | null = null;

  constructor(uid = 0, gid = 0) {
    this.#uid = uid;
    this.#gid = gid;
  }

  /** Makes `fs` appear at `path`. Throws PathError. */
  mount(path: string, fs: MountedFs, serial: number): void {
    this.tree.add(path, fs, serial);
    this.#lastFs = null;
  }

  /** Takes the mount from its path. Nodes that a guest or a waiting request holds are served until `forgetMount`. */
  unmount(serial: number): boolean {
    return this.tree.remove(serial);
  }

  /** Nodes of this mount give ENOENT from now on. */
  forgetMount(serial: number): void {
    this.#lastFs = null;
    this.tree.forget(serial);
  }

  /** The image that a nodeid belongs to, or null for a pseudo directory or a mount that is gone. */
  #find(hi: number, lo: number): MountedFs | null {
    if (hi !== 0) {
      this.#lo = lo;
      if (hi === this.#lastSerial && this.#lastFs !== null) return this.#lastFs;
      this.#lastSerial = hi;
      this.#lastFs = this.tree.mount(hi)?.fs ?? null;
      return this.#lastFs;
    }
    if (lo !== ROOT_LO || this.tree.root.mount === null) return null;
    const { fs } = this.tree.root.mount;
    this.#lo = fs.rootLo;
    return fs;
  }

  /** Serial of the image at `/`, or 0. */
  get rootSerial(): number {
    return this.tree.root.mount?.serial ?? 0;
  }

  #serial(hi: number): number {
    return hi === 0 ? (this.tree.root.mount?.serial ?? 0) : hi;
  }

  #pseudo(hi: number, lo: number): PseudoNode | undefined {
    return hi === 0 ? this.tree.node(lo) : undefined;
  }

  lookup(hi: number, lo: number, bytes: Uint8Array, nameStart: number, nameEnd: number, out: Entry): number {
    const fs = this.#find(hi, lo);
    if (fs !== null) {
      const serial = this.#serial(hi);
      const length = nameEnd - nameStart;
      const dots =
        bytes[nameStart] === DOT_BYTE &&
        (length === 1 || (length === 2 && bytes[nameStart + 1] === DOT_BYTE));
      if (dots && this.#leavesImage(serial, fs, length === 2, out)) return this.#filled;
      const result = fs.lookup(serial, this.#lo, bytes, nameStart, nameEnd, out);
      // Another image may be mounted at `/`, and its names are looked up in the same nodeid 1.
      if (hi === 0) out.validMs = PSEUDO_VALID_MS;
      return dots && result === 0 ? this.#oneRoot(serial, fs, out) : result;
    }
    const node = this.#pseudo(hi, lo);
    if (node === undefined) return -Errno.ENOENT;
    const name = Buffer.from(bytes.buffer, bytes.byteOffset + nameStart, nameEnd - nameStart).toString();
    // ENOENT as an error is not remembered by the kernel: a name may be mounted a moment later.
    const child = name === '.' ? node : name === '..' ? (node.parent ?? node) : node.children.get(name);
    return child === undefined ? -Errno.ENOENT : this.#fillEntry(child, out);
  }

  /** `..` of an image's root is the directory that the image is mounted in: true, with the result in `#filled`. */
  #leavesImage(serial: number, fs: MountedFs, isParent: boolean, out: Entry): boolean {
    const mount = this.tree.mount(serial);
    if (!isParent || this.#lo !== fs.rootLo || mount?.node.mount !== mount) return false;
    this.#filled = this.#fillEntry(mount!.node.parent ?? mount!.node, out);
    return true;
  }

  /** The root of the image at `/` is nodeid 1 and nothing else: two nodes for one directory break file handles. */
  #oneRoot(serial: number, fs: MountedFs, out: Entry): number {
    const isRoot =
      this.tree.root.mount?.serial === serial && out.nodeHi === serial && out.nodeLo === fs.rootLo;
    return isRoot ? this.#fillEntry(this.tree.root, out) : 0;
  }

  /** What a name in a pseudo directory shows: the image mounted there, or the directory. */
  #fillEntry(node: PseudoNode, out: Entry): number {
    const { mount } = node;
    out.generation = 0;
    if (mount === null || node.parent === null) {
      out.nodeHi = 0;
      out.nodeLo = node.lo;
      const result = this.getattr(0, node.lo, out.attr);
      if (result < 0) return result;
    } else {
      const result = mount.fs.getattr(mount.serial, mount.fs.rootLo, out.attr);
      if (result < 0) return result;
      out.nodeHi = mount.serial;
      out.nodeLo = mount.fs.rootLo;
    }
    out.validMs = PSEUDO_VALID_MS;
    return 0;
  }

  getattr(hi: number, lo: number, out: Attr): number {
    const fs = this.#find(hi, lo);
    if (fs !== null) {
      const result = fs.getattr(this.#serial(hi), this.#lo, out);
      // What is mounted at `/` may change under nodeid 1, which the guest keeps for ever.
      if (hi === 0) out.validMs = PSEUDO_VALID_MS;
      return result;
    }
    const node = this.#pseudo(hi, lo);
    if (node === undefined) return -Errno.ENOENT;
    const seconds = Math.floor(node.changedMs / 1000);
    out.inoHi = 0;
    out.inoLo = node.lo;
    out.size = 0;
    out.blocks = 0;
    out.atime = seconds;
    out.mtime = seconds;
    out.ctime = seconds;
    out.atimeNs = out.mtimeNs = out.ctimeNs = (node.changedMs % 1000) * 1_000_000;
    out.mode = S_IFDIR | 0o755;
    out.nlink = 2 + node.children.size;
    out.uid = this.#uid;
    out.gid = this.#gid;
    out.rdev = 0;
    out.blksize = 4096;
    out.validMs = PSEUDO_VALID_MS;
    return 0;
  }

  readlink(hi: number, lo: number, out: Uint8Array, at: number): number {
    const fs = this.#find(hi, lo);
    return fs === null
      ? this.#notHere(hi, lo, Errno.EINVAL)
      : fs.readlink(this.#serial(hi), this.#lo, out, at);
  }

  /** For what a pseudo directory cannot do. */
  #notHere(hi: number, lo: number, errno: number): number {
    return this.#pseudo(hi, lo) === undefined ? -Errno.ENOENT : -errno;
  }

  open(hi: number, lo: number, flags: number, out: Opened): number {
    const fs = this.#find(hi, lo);
    return fs === null
      ? this.#notHere(hi, lo, Errno.EISDIR)
      : fs.open(this.#serial(hi), this.#lo, flags, out);
  }

  /** Without CACHE_DIR for pseudo directories: their entries change while the guest looks. */
  opendir(hi: number, lo: number, flags: number, out: Opened): number {
    const fs = this.#find(hi, lo);
    if (fs !== null) {
      const result = fs.opendir(this.#serial(hi), this.#lo, flags, out);
      if (hi === 0) out.flags = 0;
      return result;
    }
    if (this.#pseudo(hi, lo) === undefined) return -Errno.ENOENT;
    out.fhHi = 0;
    out.fhLo = 0;
    out.flags = 0;
    return 0;
  }

  release(hi: number, lo: number, fhHi: number, fhLo: number): number {
    const fs = this.#find(hi, lo);
    return fs === null ? 0 : fs.release(this.#serial(hi), this.#lo, fhHi, fhLo);
  }

  read(hi: number, lo: number, offset: number, size: number, sink: ReadSink): number {
    const fs = this.#find(hi, lo);
    if (fs === null) return this.#notHere(hi, lo, Errno.EISDIR);
    return fs.read(this.#serial(hi), this.#lo, offset, size, sink);
  }

  readdir(hi: number, lo: number, cookie: number, sink: DirectorySink): number {
    const fs = this.#find(hi, lo);
    if (fs !== null) return fs.readdir(this.#serial(hi), this.#lo, cookie, sink);
    return this.#list(hi, lo, cookie, sink, false);
  }

  readdirplus(hi: number, lo: number, cookie: number, sink: DirectorySink): number {
    const fs = this.#find(hi, lo);
    if (fs !== null) {
      const serial = this.#serial(hi);
      if (hi !== 0) return fs.readdirplus(serial, this.#lo, cookie, sink);
      this.#shortLived.sink = sink;
      return fs.readdirplus(serial, this.#lo, cookie, this.#shortLived);
    }
    return this.#list(hi, lo, cookie, sink, true);
  }

  /** The cookie of a child is its inode number, so that a listing survives mounts and unmounts between two calls. */
  #list(hi: number, lo: number, cookie: number, sink: DirectorySink, plus: boolean): number {
    const node = this.#pseudo(hi, lo);
    if (node === undefined) return -Errno.ENOENT;
    if (cookie < 1 && !this.#addDot(node, 1, DOT, sink, plus)) return 0;
    if (cookie < FIRST_CHILD && !this.#addDot(node.parent ?? node, FIRST_CHILD, DOT_DOT, sink, plus))
      return 0;
    for (const child of node.children.values()) {
      if (child.lo <= cookie - FIRST_CHILD) continue;
      if (!this.#addChild(child, sink, plus)) return 0;
    }
    return 0;
  }

  #addDot(node: PseudoNode, cookie: number, name: Uint8Array, sink: DirectorySink, plus: boolean): boolean {
    if (!plus) return sink.add(0, node.lo, cookie, DT_DIR, name, 0, name.length);
    const entry = this.#entry;
    if (this.#fillEntry(node, entry) < 0) return true;
    entry.nodeHi = 0;
    entry.nodeLo = 0;
    return sink.addPlus(entry, cookie, DT_DIR, name, 0, name.length);
  }

  #addChild(child: PseudoNode, sink: DirectorySink, plus: boolean): boolean {
    const { name } = child;
    const cookie = FIRST_CHILD + child.lo;
    const entry = this.#entry;
    // A mount whose root cannot be read is left out; looking it up says why.
    if (this.#fillEntry(child, entry) < 0) return true;
    if (plus) return sink.addPlus(entry, cookie, DT_DIR, name, 0, name.length);
    return sink.add(entry.attr.inoHi, entry.attr.inoLo, cookie, DT_DIR, name, 0, name.length);
  }

  getxattr(
    hi: number,
    lo: number,
    bytes: Uint8Array,
    nameStart: number,
    nameEnd: number,
    out: Uint8Array,
    at: number,
    capacity: number,
  ): number {
    const fs = this.#find(hi, lo);
    if (fs === null) return this.#notHere(hi, lo, Errno.ENODATA);
    return fs.getxattr(this.#serial(hi), this.#lo, bytes, nameStart, nameEnd, out, at, capacity);
  }

  listxattr(hi: number, lo: number, out: Uint8Array, at: number, capacity: number): number {
    const fs = this.#find(hi, lo);
    if (fs !== null) return fs.listxattr(this.#serial(hi), this.#lo, out, at, capacity);
    return this.#pseudo(hi, lo) === undefined ? -Errno.ENOENT : 0;
  }

  statfs(hi: number, lo: number, out: Statfs): number {
    const fs = this.#find(hi, lo);
    if (fs !== null) return fs.statfs(this.#serial(hi), this.#lo, out);
    if (this.#pseudo(hi, lo) === undefined) return -Errno.ENOENT;
    out.blocks = out.bfree = out.bavail = out.ffree = 0;
    out.files = this.tree.nodeCount;
    out.bsize = out.frsize = 512;
    out.namelen = 255;
    return 0;
  }

  lseek(hi: number, lo: number, offset: number, whence: number): number {
    const fs = this.#find(hi, lo);
    return fs === null
      ? this.#notHere(hi, lo, Errno.EINVAL)
      : fs.lseek(this.#serial(hi), this.#lo, offset, whence);
  }

  forget(hi: number, lo: number, lookups: number): void {
    const fs = hi === 0 ? null : this.#find(hi, lo);
    fs?.forget(hi, this.#lo, lookups);
  }
}
