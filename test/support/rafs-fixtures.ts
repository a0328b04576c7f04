import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync, zstdDecompressSync } from 'node:zlib';
import type { BlobView, ChunkFetcher } from '../../src/blob/view.ts';
import { Attr, type DirectorySink, Entry } from '../../src/fuse/filesystem.ts';
import { RafsFileSystem, type RafsOptions } from '../../src/imagefs/filesystem.ts';
import type { Bootstrap } from '../../src/rafs/bootstrap.ts';
import { openBootstrap } from '../../src/rafs/open-bootstrap.ts';

/** The subset in the repository. */
export const FIXTURES: string = join(import.meta.dirname, '../fixtures');

export function imageNames(root: string): string[] {
  return readdirSync(join(root, 'images')).sort();
}

/** The image's bootstrap: its file, or the `image.boot` section at the end of its blob. */
export function bootstrapBytes(root: string, name: string): ArrayBuffer {
  const file = join(root, 'images', name, 'image.boot');
  if (existsSync(file)) return copyOf(readFileSync(file));
  const id = readFileSync(join(root, 'images', name, 'inline'), 'utf8').trim();
  return copyOf(inlineBootstrap(readFileSync(join(root, 'blobs', id))));
}

/** Tar headers stand behind what they describe: walks them from the end. */
function inlineBootstrap(blob: Buffer): Buffer {
  for (let end = blob.length; end >= 512; ) {
    const header = blob.subarray(end - 512, end);
    const size = Number.parseInt(header.toString('latin1', 124, 135), 8);
    const content = blob.subarray(end - 512 - size, end - 512);
    if (header.toString('latin1', 0, 10) === 'image.boot') {
      return content.readUInt32LE(0) === 0xfd2fb528 ? zstdDecompressSync(content) : content;
    }
    end -= 512 + size;
  }
  throw new Error('no image.boot in the blob');
}

function copyOf(bytes: Buffer): ArrayBuffer {
  return new Uint8Array(bytes).buffer;
}

/** Rows of the image's manifest, each split at tabs; names are any bytes, hence latin1. */
export function manifestRows(root: string, name: string): string[][] {
  const manifest = readFileSync(join(root, 'images', name, 'manifest'), 'utf8').trim();
  const plain = join(root, 'manifests', `${manifest}.tsv`);
  const text = existsSync(plain)
    ? readFileSync(plain, 'latin1')
    : gunzipSync(readFileSync(`${plain}.gz`)).toString('latin1');
  return text
    .trimEnd()
    .split('\n')
    .map((line) => line.split('\t'));
}

/** Views over nothing: no chunk is ready. */
export function emptyViews(bootstrap: Bootstrap): BlobView[] {
  const evictions = new SharedArrayBuffer(4);
  return bootstrap.blobs.map((blob) => ({
    handle: blob.index,
    fd: -1,
    delivery: 'file',
    ready: new SharedArrayBuffer((blob.chunkCount >> 3) + 1),
    evictions,
    chunkCount: blob.chunkCount,
    size: blob.uncompressedSize,
  }));
}

export const noFetcher: ChunkFetcher = {
  fetch() {
    throw new Error('nothing should be fetched');
  },
};

/** A file system with defaults that a test may override; a malformed inode fails the test. */
export function openFileSystem(buffer: ArrayBuffer, overrides: Partial<RafsOptions> = {}): RafsFileSystem {
  const bootstrap = openBootstrap(buffer, 'test');
  return new RafsFileSystem(bootstrap, {
    serial: 7,
    blobs: emptyViews(bootstrap),
    fetcher: noFetcher,
    uid: 0,
    gid: 0,
    xattrs: true,
    validate: true,
    onBadInode: (lo, reason) => {
      throw new Error(`inode ${lo}: ${reason}`);
    },
    ...overrides,
  });
}

/** A name of a listing, by READDIR. */
export interface Listed {
  readonly name: Buffer;
  readonly lo: number;
  readonly type: number;
  readonly cookie: number;
}

/** Whole directory, `batch` entries a call, so that resuming at a cookie is exercised. Negative = -errno. */
export function list(fs: RafsFileSystem, lo: number, batch = 7): Listed[] | number {
  const all: Listed[] = [];
  for (let cookie = 0; ; ) {
    let room = batch;
    const sink: DirectorySink = {
      add(_hi, inoLo, next, type, bytes, start, end) {
        if (room-- === 0) return false;
        all.push({ name: Buffer.from(bytes.subarray(start, end)), lo: inoLo, type, cookie: next });
        return true;
      },
      addPlus: () => false,
    };
    const before = all.length;
    const result = fs.readdir(0, lo, cookie, sink);
    if (result < 0) return result;
    if (all.length === before) return all;
    cookie = all.at(-1)!.cookie;
  }
}

const scratch = new Uint8Array(1 << 17);

/** The manifest's row of an inode, without the content's digest. */
export function describe(fs: RafsFileSystem, path: string, lo: number): string[] {
  const attr = new Attr();
  const result = fs.getattr(0, lo, attr);
  if (result < 0) throw new Error(`${path}: getattr ${result}`);
  const type = attr.mode >> 12;
  const major = (attr.rdev >> 8) & 0xfff;
  const minor = (attr.rdev & 0xff) | ((attr.rdev >>> 12) & 0xfff00);
  return [
    path,
    TYPES[type] ?? '?',
    (attr.mode & 0o7777).toString(8).padStart(4, '0'),
    String(attr.uid),
    String(attr.gid),
    String(attr.nlink),
    String(attr.size),
    `${attr.mtime}.${String(attr.mtimeNs).padStart(9, '0')}`,
    `${major}:${minor}`,
    type === 10 ? escapeName(scratch.subarray(0, fs.readlink(0, lo, scratch, 0))) : '-',
    xattrsOf(fs, lo),
  ];
}

const TYPES: Record<number, string> = {
  1: 'fifo',
  2: 'char',
  4: 'dir',
  6: 'block',
  8: 'file',
  10: 'symlink',
  12: 'socket',
};

function xattrsOf(fs: RafsFileSystem, lo: number): string {
  const length = fs.listxattr(0, lo, scratch, 0, scratch.length);
  if (length < 0) throw new Error(`listxattr ${length}`);
  if (length === 0) return '-';
  const names = Buffer.from(scratch.subarray(0, length - 1))
    .toString('latin1')
    .split('\0');
  return names
    .sort()
    .map((name) => {
      const bytes = Buffer.from(name, 'latin1');
      const size = fs.getxattr(0, lo, bytes, 0, bytes.length, scratch, 0, scratch.length);
      return `${escapeName(bytes)}=${Buffer.from(scratch.subarray(0, size)).toString('hex')}`;
    })
    .join(',');
}

/** As the manifests write names: control bytes and backslash as \xHH, the rest as it is. */
export function escapeName(bytes: Uint8Array): string {
  const parts: Buffer[] = [];
  for (const byte of bytes) {
    const plain = byte >= 0x20 && byte !== 0x7f && byte !== 0x5c;
    parts.push(plain ? Buffer.of(byte) : Buffer.from(`\\x${byte.toString(16).padStart(2, '0')}`));
  }
  return Buffer.concat(parts).toString('latin1');
}

/** All rows of a tree, sorted by path bytes, each name looked up as well as listed. */
export function walk(fs: RafsFileSystem): string[][] {
  const rows: string[][] = [];
  const visit = (path: string, lo: number) => {
    rows.push(describe(fs, path === '' ? '/' : path, lo));
    const attr = new Attr();
    fs.getattr(0, lo, attr);
    if (attr.mode >> 12 !== 4) return;
    const entries = list(fs, lo);
    if (typeof entries === 'number') throw new Error(`${path}: readdir ${entries}`);
    for (const { name, lo: child } of entries) {
      if (name.toString() === '.' || name.toString() === '..') continue;
      const entry = new Entry();
      const result = fs.lookup(0, lo, name, 0, name.length, entry);
      if (result !== 0 || entry.nodeLo !== child)
        throw new Error(`${path}/${name}: lookup ${result}, ${entry.nodeLo} ≠ ${child}`);
      visit(`${path}/${escapeName(name)}`, child);
    }
  };
  visit('', fs.rootLo);
  return rows.sort((a, b) => (a[0]! < b[0]! ? -1 : 1));
}
