import {
  type Attr,
  type DirectorySink,
  Entry,
  type FileSystem,
  type Opened,
  PENDING,
  type ReadSink,
  type Statfs,
} from '../../src/fuse/filesystem.ts';

const ENOENT = 2;
const EINVAL = 22;
const ENOTDIR = 20;
const EISDIR = 21;
const ENXIO = 6;
const ERANGE = 34;
const ENODATA = 61;

/** A piece of a file: of a descriptor, or bytes. */
export type Extent =
  | { readonly fd: number; readonly offset: number; readonly length: number }
  | { readonly bytes: Uint8Array };

export interface MemoryNode {
  readonly entries?: Readonly<Record<string, number>>;
  readonly extents?: readonly Extent[];
  readonly target?: string;
  readonly xattrs?: Readonly<Record<string, Uint8Array>>;
  /** READ waits until one of `waiting` is called. */
  missing?: boolean;
  /** Every call about it throws. */
  readonly broken?: boolean;
}

/** A read-only file system over a table of nodes, by the low word of their nodeid. Names are latin1. */
export class MemoryFs implements FileSystem {
  readonly serial: number;
  readonly rootLo: number;
  readonly nodes: Record<number, MemoryNode>;
  /** READs that wait for `missing` to be over. */
  readonly waiting: ((result: number, bytes?: Uint8Array) => void)[] = [];
  readonly forgotten: string[] = [];
  readonly released: string[] = [];
  readonly #entry = new Entry();

  constructor(nodes: Record<number, MemoryNode>, serial = 0, rootLo = 1) {
    this.nodes = nodes;
    this.serial = serial;
    this.rootLo = rootLo;
  }

  #node(lo: number): MemoryNode | undefined {
    const node = this.nodes[lo];
    if (node?.broken === true) throw new Error(`node ${lo} is broken`);
    return node;
  }

  #parent(lo: number): number {
    const parents = Object.entries(this.nodes).find(([, node]) =>
      Object.values(node.entries ?? {}).includes(lo),
    );
    return parents === undefined ? lo : Number(parents[0]);
  }

  lookup(_hi: number, lo: number, bytes: Uint8Array, start: number, end: number, out: Entry): number {
    const node = this.#node(lo);
    if (node?.entries === undefined) return node === undefined ? -ENOENT : -ENOTDIR;
    const name = Buffer.from(bytes.slice(start, end)).toString('latin1');
    const child = name === '.' ? lo : name === '..' ? this.#parent(lo) : node.entries[name];
    out.validMs = Number.POSITIVE_INFINITY;
    out.generation = 0;
    out.nodeHi = child === undefined ? 0 : this.serial;
    out.nodeLo = child ?? 0;
    return child === undefined ? 0 : this.getattr(this.serial, child, out.attr);
  }

  getattr(_hi: number, lo: number, out: Attr): number {
    const node = this.#node(lo);
    if (node === undefined) return -ENOENT;
    out.inoHi = this.serial;
    out.inoLo = lo;
    out.size = this.#size(node);
    out.blocks = Math.ceil(out.size / 512);
    out.atime = out.mtime = out.ctime = 1_700_086_401;
    out.atimeNs = out.mtimeNs = out.ctimeNs = 1_234_567;
    out.mode = node.entries ? 0o040755 : node.target === undefined ? 0o100644 : 0o120777;
    out.nlink = node.entries ? 2 : 1;
    out.uid = 1000;
    out.gid = 1001;
    out.rdev = 0;
    out.validMs = Number.POSITIVE_INFINITY;
    return 0;
  }

  #size(node: MemoryNode): number {
    if (node.target !== undefined) return node.target.length;
    return (node.extents ?? []).reduce((sum, e) => sum + ('bytes' in e ? e.bytes.length : e.length), 0);
  }

  readlink(_hi: number, lo: number, out: Uint8Array, at: number): number {
    const node = this.#node(lo);
    if (node?.target === undefined) return node === undefined ? -ENOENT : -EINVAL;
    const { target } = node;
    out.set(Buffer.from(target, 'latin1'), at);
    return target.length;
  }

  open(_hi: number, lo: number, _flags: number, out: Opened): number {
    const node = this.#node(lo);
    if (node?.entries !== undefined || node === undefined) return node === undefined ? -ENOENT : -EISDIR;
    return this.#opened(lo, 2, out);
  }

  opendir(_hi: number, lo: number, _flags: number, out: Opened): number {
    const node = this.#node(lo);
    if (node?.entries === undefined) return node === undefined ? -ENOENT : -ENOTDIR;
    return this.#opened(lo, 10, out);
  }

  #opened(lo: number, flags: number, out: Opened): number {
    out.fhHi = 0x55;
    out.fhLo = lo;
    out.flags = flags;
    return 0;
  }

  release(_hi: number, _lo: number, fhHi: number, fhLo: number): number {
    this.released.push(`${fhHi}:${fhLo}`);
    return 0;
  }

  read(_hi: number, lo: number, offset: number, size: number, sink: ReadSink): number {
    const node = this.#node(lo);
    if (node?.extents === undefined) return node === undefined ? -ENOENT : -EISDIR;
    if (sink.supplied !== null) return sink.fromBytes(sink.supplied, 0, Math.min(size, sink.supplied.length));
    if (node.missing === true) {
      this.waiting.push(sink.later());
      return PENDING;
    }
    let start = 0;
    let sent = 0;
    for (const extent of node.extents) {
      const length = 'bytes' in extent ? extent.bytes.length : extent.length;
      const from = Math.max(0, offset - start);
      const take = Math.min(length - from, size - sent);
      start += length;
      if (take <= 0) continue;
      const result =
        'bytes' in extent
          ? sink.fromBytes(extent.bytes, from, take)
          : sink.fromFile(extent.fd, extent.offset + from, take);
      if (result < 0) return result;
      sent += result;
    }
    return sent;
  }

  readdir(_hi: number, lo: number, cookie: number, sink: DirectorySink): number {
    return this.#list(lo, cookie, (child, next, type, name) =>
      sink.add(this.serial, child, next, type, name, 0, name.length),
    );
  }

  readdirplus(_hi: number, lo: number, cookie: number, sink: DirectorySink): number {
    const entry = this.#entry;
    return this.#list(lo, cookie, (child, next, type, name) => {
      this.getattr(this.serial, child, entry.attr);
      entry.nodeHi = next <= 2 ? 0 : this.serial;
      entry.nodeLo = next <= 2 ? 0 : child;
      entry.validMs = Number.POSITIVE_INFINITY;
      return sink.addPlus(entry, next, type, name, 0, name.length);
    });
  }

  #list(
    lo: number,
    cookie: number,
    add: (child: number, next: number, type: number, name: Uint8Array) => boolean,
  ): number {
    const node = this.#node(lo);
    if (node?.entries === undefined) return node === undefined ? -ENOENT : -ENOTDIR;
    const all = Object.entries({ '.': lo, '..': this.#parent(lo), ...node.entries });
    for (let i = cookie; i < all.length; i++) {
      const [name, child] = all[i]!;
      const type = this.nodes[child]?.entries ? 4 : this.nodes[child]?.target === undefined ? 8 : 10;
      if (!add(child, i + 1, type, Buffer.from(name, 'latin1'))) return 0;
    }
    return 0;
  }

  getxattr(
    _hi: number,
    lo: number,
    bytes: Uint8Array,
    start: number,
    end: number,
    out: Uint8Array,
    at: number,
    capacity: number,
  ): number {
    const name = Buffer.from(bytes.slice(start, end)).toString('latin1');
    const node = this.#node(lo);
    if (node === undefined) return -ENOENT;
    const value = node.xattrs?.[name];
    return value === undefined ? -ENODATA : this.#copy(value, out, at, capacity);
  }

  listxattr(_hi: number, lo: number, out: Uint8Array, at: number, capacity: number): number {
    const node = this.#node(lo);
    if (node === undefined) return -ENOENT;
    const names = Object.keys(node.xattrs ?? {}).map((name) => `${name}\0`);
    return this.#copy(Buffer.from(names.join(''), 'latin1'), out, at, capacity);
  }

  #copy(value: Uint8Array, out: Uint8Array, at: number, capacity: number): number {
    if (capacity > 0 && capacity < value.length) return -ERANGE;
    if (capacity > 0) out.set(value, at);
    return value.length;
  }

  statfs(_hi: number, _lo: number, out: Statfs): number {
    out.files = Object.keys(this.nodes).length;
    return 0;
  }

  lseek(_hi: number, lo: number, offset: number, whence: number): number {
    const node = this.#node(lo);
    if (node === undefined) return -ENOENT;
    const size = this.#size(node);
    if (whence !== 3 && whence !== 4) return -EINVAL;
    if (offset >= size) return -ENXIO;
    return whence === 3 ? offset : size;
  }

  forget(hi: number, lo: number, lookups: number): void {
    this.forgotten.push(`${hi}:${lo}-${lookups}`);
  }
}
