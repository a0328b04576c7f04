/**
 * A FUSE client as strict as a 2026 kernel: every reply must be as long as used.len says, at least a header, and carry
 * the number of its request. Layouts follow include/uapi/linux/fuse.h, written down a second time so that a slip in the
 * product's own tables shows.
 */
import type { Layout } from './driver.ts';

const Opcode = {
  lookup: 1,
  forget: 2,
  getattr: 3,
  readlink: 5,
  open: 14,
  read: 15,
  statfs: 17,
  release: 18,
  getxattr: 22,
  listxattr: 23,
  init: 26,
  opendir: 27,
  readdir: 28,
  releasedir: 29,
  destroy: 38,
  readdirplus: 44,
  lseek: 46,
} as const;

const IN_HEADER = 40;
const OUT_HEADER = 16;
export const ROOT_NODEID = 1n;

/** What carries requests: the queues of a driver, or anything else. Queue 0 is for FORGET. */
export interface RequestCarrier {
  request(
    queue: number,
    readable: Uint8Array,
    writableLength: number,
    layout?: Layout,
  ): Promise<{ usedLen: number; bytes: Uint8Array }>;
}

/** The server answered with an error; `errno` is positive. */
export class FuseError extends Error {
  readonly errno: number;
  constructor(operation: string, errno: number) {
    super(`${operation}: errno ${errno}`);
    this.errno = errno;
  }
}

export interface FuseAttr {
  readonly ino: bigint;
  readonly size: number;
  readonly blocks: number;
  /** Nanoseconds since 1970. */
  readonly mtimeNs: bigint;
  readonly atimeNs: bigint;
  readonly ctimeNs: bigint;
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  /** The kernel's u32 of major and minor. */
  readonly rdev: number;
  readonly blksize: number;
}

export interface FuseEntry {
  /** 0: the name does not exist, and the answer may be cached. */
  readonly nodeid: bigint;
  readonly generation: bigint;
  readonly entryValidSeconds: bigint;
  readonly attrValidSeconds: bigint;
  readonly attr: FuseAttr;
}

export interface FuseDirent {
  readonly ino: bigint;
  readonly offset: bigint;
  /** DT_*. */
  readonly type: number;
  /** Bytes as latin1, one character each. */
  readonly name: string;
  /** READDIRPLUS only. */
  readonly entry?: FuseEntry;
}

export interface InitReply {
  readonly major: number;
  readonly minor: number;
  readonly maxReadahead: number;
  readonly flags: number;
  readonly flags2: number;
  readonly maxBackground: number;
  readonly congestionThreshold: number;
  readonly maxWrite: number;
  readonly timeGran: number;
  readonly maxPages: number;
}

export interface FuseStatfs {
  readonly blocks: bigint;
  readonly bfree: bigint;
  readonly bavail: bigint;
  readonly files: bigint;
  readonly ffree: bigint;
  readonly bsize: number;
  readonly namelen: number;
  readonly frsize: number;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** A name as the manifest and the client hold it, as bytes with a NUL. */
function nameBytes(name: string): Uint8Array {
  return Buffer.concat([Buffer.from(name, 'latin1'), Buffer.of(0)]);
}

function words(...values: readonly (number | bigint)[]): Uint8Array {
  const bytes = new Uint8Array(
    values.reduce<number>((n, value) => n + (typeof value === 'bigint' ? 8 : 4), 0),
  );
  const view = viewOf(bytes);
  let at = 0;
  for (const value of values) {
    if (typeof value === 'bigint') {
      view.setBigUint64(at, value, true);
      at += 8;
    } else {
      view.setUint32(at, value, true);
      at += 4;
    }
  }
  return bytes;
}

function decodeAttr(view: DataView, at: number): FuseAttr {
  const u64 = (offset: number): bigint => view.getBigUint64(at + offset, true);
  const u32 = (offset: number): number => view.getUint32(at + offset, true);
  const time = (seconds: number, ns: number): bigint =>
    BigInt.asIntN(64, u64(seconds)) * 1_000_000_000n + BigInt(u32(ns));
  return {
    ino: u64(0),
    size: Number(u64(8)),
    blocks: Number(u64(16)),
    atimeNs: time(24, 48),
    mtimeNs: time(32, 52),
    ctimeNs: time(40, 56),
    mode: u32(60),
    nlink: u32(64),
    uid: u32(68),
    gid: u32(72),
    rdev: u32(76),
    blksize: u32(80),
  };
}

function decodeEntry(view: DataView, at: number): FuseEntry {
  return {
    nodeid: view.getBigUint64(at, true),
    generation: view.getBigUint64(at + 8, true),
    entryValidSeconds: view.getBigUint64(at + 16, true),
    attrValidSeconds: view.getBigUint64(at + 24, true),
    attr: decodeAttr(view, at + 40),
  };
}

/** The entries of a READDIR(PLUS) reply; a record that is cut off is an error. */
function decodeDirents(bytes: Uint8Array, plus: boolean): FuseDirent[] {
  const view = viewOf(bytes);
  const entries: FuseDirent[] = [];
  const head = plus ? 128 : 0;
  for (let at = 0; at < bytes.length; ) {
    if (at + head + 24 > bytes.length) throw new Error('directory reply ends within an entry');
    const length = view.getUint32(at + head + 16, true);
    const start = at + head + 24;
    if (length === 0 || start + length > bytes.length)
      throw new Error(`directory entry with a name of ${length} bytes`);
    entries.push({
      ino: view.getBigUint64(at + head, true),
      offset: view.getBigUint64(at + head + 8, true),
      type: view.getUint32(at + head + 20, true),
      name: Buffer.from(bytes.subarray(start, start + length)).toString('latin1'),
      ...(plus ? { entry: decodeEntry(view, at) } : {}),
    });
    at = (start + length + 7) & ~7;
  }
  return entries;
}

/** One FUSE session. Every method is one request unless it says otherwise, and throws FuseError for an errno. */
export class FuseClient {
  readonly #carrier: RequestCarrier;
  /** The queue that requests go to. */
  queue = 1;
  /** How chains are laid out; the driver's own choice by default. */
  layout: Layout = {};
  #unique = 0n;

  constructor(carrier: RequestCarrier) {
    this.#carrier = carrier;
  }

  /** Any request: body after the header, at most `replyBytes` behind the reply's header. Returns what came there. */
  async call(opcode: number, nodeid: bigint, body: Uint8Array, replyBytes: number): Promise<Uint8Array> {
    this.#unique += 2n;
    const unique = this.#unique;
    const request = this.#encode(opcode, unique, nodeid, body);
    const { usedLen, bytes } = await this.#carrier.request(
      this.queue,
      request,
      OUT_HEADER + replyBytes,
      this.layout,
    );
    const view = viewOf(bytes);
    const length = view.getUint32(0, true);
    const name = `opcode ${opcode}`;
    if (usedLen < OUT_HEADER || usedLen > bytes.length) throw new Error(`${name}: used.len is ${usedLen}`);
    if (length !== usedLen) throw new Error(`${name}: out_header.len ${length}, used.len ${usedLen}`);
    if (view.getBigUint64(8, true) !== unique) throw new Error(`${name}: unique is not that of the request`);
    const error = view.getInt32(4, true);
    if (error > 0 || error < -4095) throw new Error(`${name}: error ${error}`);
    if (error < 0) throw new FuseError(name, -error);
    return bytes.subarray(OUT_HEADER, usedLen);
  }

  #encode(opcode: number, unique: bigint, nodeid: bigint, body: Uint8Array): Uint8Array {
    const request = new Uint8Array(IN_HEADER + body.length);
    request.set(words(request.length, opcode, unique, nodeid, 0, 0, 1, 0));
    request.set(body, IN_HEADER);
    return request;
  }

  async #exact(opcode: number, nodeid: bigint, body: Uint8Array, replyBytes: number): Promise<DataView> {
    const reply = await this.call(opcode, nodeid, body, replyBytes);
    if (reply.length !== replyBytes)
      throw new Error(`opcode ${opcode}: ${reply.length} bytes, not ${replyBytes}`);
    return viewOf(reply);
  }

  /** What Linux 6.1 sends. */
  async init(flags = 0x7bfffffb, flags2 = 0xb): Promise<InitReply> {
    const body = new Uint8Array(64);
    body.set(words(7, 38, 131072, flags, flags2));
    const view = await this.#exact(Opcode.init, 0n, body, 64);
    const u32 = (at: number): number => view.getUint32(at, true);
    return {
      major: u32(0),
      minor: u32(4),
      maxReadahead: u32(8),
      flags: u32(12),
      maxBackground: view.getUint16(16, true),
      congestionThreshold: view.getUint16(18, true),
      maxWrite: u32(20),
      timeGran: u32(24),
      maxPages: view.getUint16(28, true),
      flags2: u32(32),
    };
  }

  async destroy(): Promise<void> {
    await this.call(Opcode.destroy, 0n, new Uint8Array(0), 0);
  }

  /** Throws FuseError(2) both for ENOENT and for a negative entry. */
  async lookup(parent: bigint, name: string): Promise<FuseEntry> {
    const entry = decodeEntry(await this.#exact(Opcode.lookup, parent, nameBytes(name), 128), 0);
    if (entry.nodeid === 0n) throw new FuseError(`lookup ${name}`, 2);
    return entry;
  }

  /** Several LOOKUPs from the root. */
  async walk(path: string): Promise<bigint> {
    let nodeid = ROOT_NODEID;
    for (const name of path.split('/')) if (name !== '') nodeid = (await this.lookup(nodeid, name)).nodeid;
    return nodeid;
  }

  /** On the hiprio queue, without a reply: used.len must be 0. */
  async forget(nodeid: bigint, lookups = 1n): Promise<void> {
    this.#unique += 2n;
    const request = this.#encode(Opcode.forget, this.#unique, nodeid, words(lookups));
    const { usedLen } = await this.#carrier.request(0, request, 0, { readable: [], indirect: false });
    if (usedLen !== 0) throw new Error(`FORGET: used.len is ${usedLen}`);
  }

  async getattr(nodeid: bigint): Promise<FuseAttr> {
    return decodeAttr(await this.#exact(Opcode.getattr, nodeid, words(0, 0, 0n), 104), 16);
  }

  async readlink(nodeid: bigint): Promise<string> {
    const reply = await this.call(Opcode.readlink, nodeid, new Uint8Array(0), 4096);
    return Buffer.from(reply).toString('latin1');
  }

  /** The file handle; 0 when the server wants no OPEN at all (ENOSYS). */
  async open(nodeid: bigint, directory = false): Promise<bigint> {
    try {
      const view = await this.#exact(directory ? Opcode.opendir : Opcode.open, nodeid, words(0, 0), 16);
      return view.getBigUint64(0, true);
    } catch (error) {
      if (error instanceof FuseError && error.errno === 38) return 0n;
      throw error;
    }
  }

  /** ENOSYS is as good as success, as it is to the kernel. */
  async release(nodeid: bigint, fh: bigint, directory = false): Promise<void> {
    try {
      await this.call(directory ? Opcode.releasedir : Opcode.release, nodeid, words(fh, 0, 0, 0n), 0);
    } catch (error) {
      if (!(error instanceof FuseError && error.errno === 38)) throw error;
    }
  }

  /** One READ. */
  async read(nodeid: bigint, offset: number, size: number, fh = 0n): Promise<Uint8Array> {
    return this.call(Opcode.read, nodeid, words(fh, BigInt(offset), size, 0, 0n, 0, 0), size);
  }

  /** READs of `size` bytes until `length` or a short one. Each piece is given to `take` in order. */
  async readAll(
    nodeid: bigint,
    length: number,
    take: (bytes: Uint8Array) => void,
    size: number = 128 << 10,
  ): Promise<void> {
    for (let offset = 0; offset < length; ) {
      const bytes = await this.read(nodeid, offset, Math.min(size, length - offset));
      if (bytes.length === 0) throw new Error(`read: end of file at ${offset}, size is ${length}`);
      take(bytes);
      offset += bytes.length;
    }
  }

  async readdir(nodeid: bigint, offset: bigint, size: number, plus: boolean, fh = 0n): Promise<FuseDirent[]> {
    const opcode = plus ? Opcode.readdirplus : Opcode.readdir;
    return decodeDirents(await this.call(opcode, nodeid, words(fh, offset, size, 0, 0n, 0, 0), size), plus);
  }

  /** The whole directory, `.` and `..` included: OPENDIR, as many READDIR(PLUS) as it takes, RELEASEDIR. */
  async readWholeDirectory(nodeid: bigint, plus = true, size = 4096): Promise<FuseDirent[]> {
    const fh = await this.open(nodeid, true);
    const all: FuseDirent[] = [];
    for (let offset = 0n; ; ) {
      const entries = await this.readdir(nodeid, offset, size, plus, fh);
      const last = entries.at(-1);
      if (last === undefined) break;
      all.push(...entries);
      offset = last.offset;
    }
    await this.release(nodeid, fh, true);
    return all;
  }

  /** Two requests: the length, then the value. */
  async getxattr(nodeid: bigint, name: string): Promise<Uint8Array> {
    const bytes = nameBytes(name);
    const view = await this.#exact(Opcode.getxattr, nodeid, Buffer.concat([words(0, 0), bytes]), 8);
    const length = view.getUint32(0, true);
    if (length === 0) return new Uint8Array(0);
    const value = await this.call(Opcode.getxattr, nodeid, Buffer.concat([words(length, 0), bytes]), length);
    if (value.length !== length) throw new Error(`getxattr: ${value.length} bytes, ${length} were announced`);
    return value;
  }

  /** Two requests; names as latin1. None where there are none, or the server has no xattrs. */
  async listxattr(nodeid: bigint): Promise<string[]> {
    try {
      const length = (await this.#exact(Opcode.listxattr, nodeid, words(0, 0), 8)).getUint32(0, true);
      if (length === 0) return [];
      const names = await this.call(Opcode.listxattr, nodeid, words(length, 0), length);
      return Buffer.from(names).toString('latin1').split('\0').slice(0, -1);
    } catch (error) {
      if (error instanceof FuseError && (error.errno === 61 || error.errno === 95)) return [];
      throw error;
    }
  }

  async statfs(nodeid: bigint = ROOT_NODEID): Promise<FuseStatfs> {
    const view = await this.#exact(Opcode.statfs, nodeid, new Uint8Array(0), 80);
    const u64 = (at: number): bigint => view.getBigUint64(at, true);
    return {
      blocks: u64(0),
      bfree: u64(8),
      bavail: u64(16),
      files: u64(24),
      ffree: u64(32),
      bsize: view.getUint32(40, true),
      namelen: view.getUint32(44, true),
      frsize: view.getUint32(48, true),
    };
  }

  /** SEEK_DATA 3, SEEK_HOLE 4. */
  async lseek(nodeid: bigint, offset: number, whence: number): Promise<number> {
    const view = await this.#exact(Opcode.lseek, nodeid, words(0n, BigInt(offset), whence, 0), 8);
    return Number(view.getBigUint64(0, true));
  }
}
