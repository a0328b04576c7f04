/** What the FUSE server relies on in every file system, checked on each node that can be reached from the root. */
import { expect, it } from 'vitest';
import {
  Attr,
  type DirectorySink,
  Entry,
  type FileSystem,
  Opened,
  PENDING,
  Statfs,
} from '../../src/fuse/filesystem.ts';
import { CollectingSink } from '../support/read-sink.ts';

const ENOENT = -2;
const ENXIO = -6;
const EISDIR = -21;
const ENOTDIR = -20;
const EINVAL = -22;
const ERANGE = -34;
const ENODATA = -61;
const TYPE = { directory: 4, file: 8, link: 10 };
const SEEK_SET = 0;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;
const NAME_MAX = 255;
const PATH_MAX = 4096;

/** A file system to check, and where it begins. */
export interface Subject {
  readonly fs: FileSystem;
  readonly hi: number;
  readonly lo: number;
  /** Nodeids that do not exist. */
  readonly absent: readonly (readonly [hi: number, lo: number])[];
  /** Whether the content of files can be read here. */
  readonly hasContent: boolean;
}

interface Node {
  readonly path: string;
  readonly hi: number;
  readonly lo: number;
  readonly parent: Node | null;
}

interface Row {
  readonly name: string;
  readonly ino: string;
  readonly cookie: number;
  readonly type: number;
  /** READDIRPLUS: nodeid. */
  readonly node: string;
}

function lookup(fs: FileSystem, { hi, lo }: { hi: number; lo: number }, name: string): Entry | number {
  const entry = new Entry();
  // In the middle of other bytes, as in a request.
  const bytes = Buffer.from(`>${name}\0rest`, 'latin1');
  const result = fs.lookup(hi, lo, bytes, 1, 1 + name.length, entry);
  return result < 0 ? result : entry;
}

function attrOf(fs: FileSystem, { hi, lo }: { hi: number; lo: number }): Attr {
  const attr = new Attr();
  expect(fs.getattr(hi, lo, attr)).toBe(0);
  return attr;
}

/** One call's entries from `cookie`, at most `most`. */
function page(fs: FileSystem, { hi, lo }: Node, cookie: number, most: number, plus: boolean): Row[] {
  const rows: Row[] = [];
  const take = (row: Omit<Row, 'name'>, bytes: Uint8Array, start: number, end: number): boolean => {
    if (rows.length === most) return false;
    rows.push({ name: Buffer.from(bytes.slice(start, end)).toString('latin1'), ...row });
    return true;
  };
  const sink: DirectorySink = {
    add(inoHi, inoLo, next, type, bytes, start, end) {
      expect(plus).toBe(false);
      return take({ ino: `${inoHi}:${inoLo}`, cookie: next, type, node: '' }, bytes, start, end);
    },
    addPlus(entry, next, type, bytes, start, end) {
      expect(plus).toBe(true);
      const ino = `${entry.attr.inoHi}:${entry.attr.inoLo}`;
      return take({ ino, cookie: next, type, node: `${entry.nodeHi}:${entry.nodeLo}` }, bytes, start, end);
    },
  };
  expect(plus ? fs.readdirplus(hi, lo, cookie, sink) : fs.readdir(hi, lo, cookie, sink)).toBe(0);
  return rows;
}

/** Every node below the root, with what its directory says of it. */
function* walk(subject: Subject): Generator<{ node: Node; row: Row | null }> {
  const { fs, hi, lo } = subject;
  const queue: { node: Node; row: Row | null }[] = [{ node: { path: '/', hi, lo, parent: null }, row: null }];
  for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
    yield next;
    const { node } = next;
    if (typeOf(attrOf(fs, node)) !== TYPE.directory) continue;
    for (const row of page(fs, node, 0, Infinity, false)) {
      if (isDot(row.name)) continue;
      const entry = lookup(fs, node, row.name) as Entry;
      expect(entry, `${node.path}${row.name}`).toBeInstanceOf(Entry);
      queue.push({
        node: { path: `${node.path}${row.name}/`, hi: entry.nodeHi, lo: entry.nodeLo, parent: node },
        row,
      });
    }
  }
}

const isDot = (name: string) => name === '.' || name === '..';
const typeOf = (attr: Attr) => attr.mode >>> 12;
const shownAs = (attr: Attr) => `${attr.inoHi}:${attr.inoLo}`;

function checkListing(fs: FileSystem, node: Node): void {
  const all = page(fs, node, 0, Infinity, false);
  const plus = page(fs, node, 0, Infinity, true);
  expect(plus.map((row) => ({ ...row, node: '' }))).toEqual(all);
  const names = all.map(({ name }) => name);
  // Wherever the format sorts them.
  expect(names.filter(isDot)).toEqual(['.', '..']);
  expect(all[names.indexOf('.')]!.ino).toBe(shownAs(attrOf(fs, node)));
  expect(new Set(names).size).toBe(names.length);
  expect(names.every((name) => name.length > 0 && name.length <= NAME_MAX && !/[/\0]/.test(name))).toBe(true);
  const cookies = all.map(({ cookie }) => cookie);
  expect(cookies.every((cookie) => cookie > 0 && Number.isSafeInteger(cookie))).toBe(true);
  expect(new Set(cookies).size).toBe(cookies.length);
  // Dots must not be counted as looked up; the others must be what LOOKUP gives.
  for (const row of plus) {
    if (isDot(row.name)) {
      expect(row.node).toBe('0:0');
      continue;
    }
    const { nodeHi, nodeLo } = lookup(fs, node, row.name) as Entry;
    expect(row.node, row.name).toBe(`${nodeHi}:${nodeLo}`);
  }
  // From any cookie the rest follows, whatever fitted before.
  const step = Math.max(1, Math.floor(all.length / 12));
  for (let i = 0; i < all.length; i += step) {
    expect(page(fs, node, cookies[i]!, 3, i % 2 === 0).map(({ name }) => name)).toEqual(
      names.slice(i + 1, i + 4),
    );
  }
  expect(page(fs, node, cookies.at(-1)!, 3, true)).toEqual([]);
  expect(page(fs, node, 0, 0, false)).toEqual([]);
}

function checkDirectory(fs: FileSystem, node: Node): void {
  const { hi, lo } = node;
  const opened = new Opened();
  expect(fs.opendir(hi, lo, 0, opened)).toBe(0);
  expect(fs.release(hi, lo, opened.fhHi, opened.fhLo)).toBe(0);
  expect(fs.open(hi, lo, 0, opened)).toBe(EISDIR);
  expect(fs.read(hi, lo, 0, 10, new CollectingSink())).toBe(EISDIR);
  expect(fs.readlink(hi, lo, new Uint8Array(PATH_MAX), 0)).toBe(EINVAL);
  const missing = lookup(fs, node, 'no such name');
  if (typeof missing === 'number') expect(missing).toBe(ENOENT);
  else expect([missing.nodeHi, missing.nodeLo]).toEqual([0, 0]);
  const self = lookup(fs, node, '.') as Entry;
  expect([self.nodeHi, self.nodeLo]).toEqual([hi, lo]);
  const parent = node.parent ?? node;
  const up = lookup(fs, node, '..') as Entry;
  expect([up.nodeHi, up.nodeLo]).toEqual([parent.hi, parent.lo]);
}

function checkLink(fs: FileSystem, { hi, lo }: Node, attr: Attr): void {
  const out = new Uint8Array(PATH_MAX + 8).fill(0xcc);
  const length = fs.readlink(hi, lo, out, 8);
  expect(length).toBe(attr.size);
  expect(length).toBeGreaterThan(0);
  expect(out.subarray(0, 8).every((byte) => byte === 0xcc)).toBe(true);
  expect(out.subarray(8, 8 + length).includes(0)).toBe(false);
}

/** Bytes of a READ that is answered at once. */
function read(fs: FileSystem, { hi, lo }: Node, offset: number, size: number): Buffer {
  const sink = new CollectingSink();
  const result = fs.read(hi, lo, offset, size, sink);
  expect(result).not.toBe(PENDING);
  expect(sink.bytes.length).toBe(result);
  return sink.bytes;
}

function checkFile(fs: FileSystem, node: Node, { size }: Attr, hasContent: boolean): void {
  const { hi, lo } = node;
  const opened = new Opened();
  expect(fs.open(hi, lo, 0, opened)).toBe(0);
  expect(fs.release(hi, lo, opened.fhHi, opened.fhLo)).toBe(0);
  for (const offset of [size, size + 1, 2 ** 40, 2 ** 53, 2 ** 63]) {
    expect(read(fs, node, offset, 4096).length).toBe(0);
    expect(fs.lseek(hi, lo, offset, SEEK_DATA)).toBe(ENXIO);
  }
  expect(read(fs, node, 0, 0).length).toBe(0);
  if (size > 0) {
    expect(fs.lseek(hi, lo, 0, SEEK_DATA)).toBe(0);
    expect(fs.lseek(hi, lo, size - 1, SEEK_HOLE)).toBe(size);
    expect(fs.lseek(hi, lo, 0, SEEK_SET)).toBe(EINVAL);
  }
  if (!hasContent) return;
  const all = read(fs, node, 0, size + 1000);
  expect(all.length).toBe(size);
  for (const [from, length] of [
    [0, 1],
    [size >> 1, 5000],
    [Math.max(0, size - 3), 100],
  ] as const)
    expect(Buffer.compare(read(fs, node, from, length), all.subarray(from, from + length))).toBe(0);
}

function checkXattrs(fs: FileSystem, { hi, lo }: Node): void {
  const out = new Uint8Array(1 << 17);
  const length = fs.listxattr(hi, lo, out, 0, 0);
  expect(fs.listxattr(hi, lo, out, 4, out.length - 4)).toBe(length);
  const names = Buffer.from(out.subarray(4, 4 + length)).toString('latin1');
  if (length > 1) expect(fs.listxattr(hi, lo, out, 0, length - 1)).toBe(ERANGE);
  expect(names === '' || names.endsWith('\0')).toBe(true);
  const get = (name: string, capacity: number): number => {
    const bytes = Buffer.from(`>${name}\0`, 'latin1');
    return fs.getxattr(hi, lo, bytes, 1, 1 + name.length, out, 0, capacity);
  };
  for (const name of names.split('\0').slice(0, -1)) {
    const size = get(name, 0);
    expect(size, name).toBeGreaterThanOrEqual(0);
    expect(get(name, out.length), name).toBe(size);
    if (size > 1) expect([get(name, size), get(name, size - 1)]).toEqual([size, ERANGE]);
  }
  expect(get('user.absent', 100)).toBe(ENODATA);
}

function checkNotDirectory(fs: FileSystem, node: Node): void {
  const { hi, lo } = node;
  const nothing: DirectorySink = { add: () => true, addPlus: () => true };
  expect(lookup(fs, node, 'x')).toBe(ENOTDIR);
  expect(fs.opendir(hi, lo, 0, new Opened())).toBe(ENOTDIR);
  expect(fs.readdir(hi, lo, 0, nothing)).toBe(ENOTDIR);
  expect(fs.readdirplus(hi, lo, 0, nothing)).toBe(ENOTDIR);
}

function checkAbsent({ fs, absent }: Subject): void {
  const sink: DirectorySink = { add: () => true, addPlus: () => true };
  const out = new Uint8Array(PATH_MAX);
  const bytes = Buffer.from('user.x');
  expect(absent.length).toBeGreaterThan(0);
  for (const [hi, lo] of absent) {
    const results = {
      lookup: lookup(fs, { hi, lo }, 'x'),
      getattr: fs.getattr(hi, lo, new Attr()),
      readlink: fs.readlink(hi, lo, out, 0),
      open: fs.open(hi, lo, 0, new Opened()),
      opendir: fs.opendir(hi, lo, 0, new Opened()),
      read: fs.read(hi, lo, 0, 10, new CollectingSink()),
      readdir: fs.readdir(hi, lo, 0, sink),
      readdirplus: fs.readdirplus(hi, lo, 0, sink),
      getxattr: fs.getxattr(hi, lo, bytes, 0, bytes.length, out, 0, out.length),
      listxattr: fs.listxattr(hi, lo, out, 0, out.length),
      lseek: fs.lseek(hi, lo, 0, SEEK_DATA),
    };
    for (const [what, result] of Object.entries(results))
      expect(result, `${what} of ${hi}:${lo}`).toBe(ENOENT);
    fs.release(hi, lo, 0, 0);
    fs.forget(hi, lo, 1);
  }
}

/** Registers the suite for one file system. */
export function conformance(name: string, open: () => Subject): void {
  it(`${name}: attributes are the same from GETATTR, LOOKUP and listings`, () => {
    const subject = open();
    const { fs } = subject;
    let count = 0;
    for (const { node, row } of walk(subject)) {
      count++;
      const attr = attrOf(fs, node);
      expect(attrOf(fs, node)).toEqual(attr);
      if (row === null) continue;
      expect({ ino: row.ino, type: row.type }, node.path).toEqual({ ino: shownAs(attr), type: typeOf(attr) });
      const entry = lookup(fs, node.parent!, row.name) as Entry;
      expect(shownAs(entry.attr), node.path).toBe(shownAs(attr));
      expect(entry.attr.mode).toBe(attr.mode);
    }
    expect(count).toBeGreaterThan(3);
  });

  it(`${name}: directories are listed whole, from any cookie, and dots lead up and nowhere`, () => {
    const subject = open();
    for (const { node } of walk(subject)) {
      if (typeOf(attrOf(subject.fs, node)) !== TYPE.directory) continue;
      checkListing(subject.fs, node);
      checkDirectory(subject.fs, node);
    }
  });

  it(`${name}: files, links and the rest answer what they are asked, and nothing else`, () => {
    const subject = open();
    const { fs, hasContent } = subject;
    for (const { node } of walk(subject)) {
      const attr = attrOf(fs, node);
      checkXattrs(fs, node);
      if (typeOf(attr) === TYPE.directory) continue;
      checkNotDirectory(fs, node);
      if (typeOf(attr) === TYPE.file) checkFile(fs, node, attr, hasContent);
      if (typeOf(attr) === TYPE.link) checkLink(fs, node, attr);
      else expect(fs.readlink(node.hi, node.lo, new Uint8Array(PATH_MAX), 0)).toBe(EINVAL);
    }
  });

  it(`${name}: nodes that do not exist answer errors and harm nobody`, () => {
    checkAbsent(open());
  });

  it(`${name}: STATFS says how long names may be`, () => {
    const { fs, hi, lo } = open();
    const stat = new Statfs();
    expect([fs.statfs(hi, lo, stat), stat.namelen]).toEqual([0, NAME_MAX]);
    expect(stat.bsize).toBeGreaterThan(0);
  });
}
