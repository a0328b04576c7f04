/** Walks everything below a directory through a FUSE client and compares it with a manifest of what should be there. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { type FuseAttr, type FuseClient, ROOT_NODEID } from './fuse-client.ts';

const TYPES: Readonly<Record<number, string>> = {
  1: 'fifo',
  2: 'char',
  4: 'dir',
  6: 'block',
  8: 'file',
  10: 'symlink',
  12: 'socket',
};

/** Columns of a manifest: path, type, mode, uid, gid, nlink, size, mtime, rdev, link target, xattrs, sha256. */
const COLUMNS = [
  'path',
  'type',
  'mode',
  'uid',
  'gid',
  'nlink',
  'size',
  'mtime',
  'rdev',
  'link',
  'xattrs',
  'sha256',
];

export interface WalkOptions {
  /** The directory to begin with. */
  readonly root?: bigint;
  /** Columns not to compare, e.g. `sha256` for a tree whose data is not at hand. */
  readonly ignore?: readonly string[];
  /** READDIR and LOOKUP instead of READDIRPLUS. */
  readonly plain?: boolean;
  /** Bytes of a READ. */
  readonly readBytes?: number;
}

/** Bytes below 0x20, 0x7f and `\` as `\xHH`, the rest as they are (latin1). */
function escapeBytes(text: string): string {
  return text.replace(/[\x00-\x1f\x7f\\]/g, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`);
}

function formatTime(ns: bigint): string {
  const fraction = ((ns % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n;
  return `${(ns - fraction) / 1_000_000_000n}.${fraction.toString().padStart(9, '0')}`;
}

function formatDevice(rdev: number): string {
  return `${(rdev >>> 8) & 0xfff}:${(rdev & 0xff) | ((rdev >>> 12) & 0xfff00)}`;
}

async function formatXattrs(client: FuseClient, nodeid: bigint): Promise<string> {
  const parts: string[] = [];
  for (const name of await client.listxattr(nodeid)) {
    const value = await client.getxattr(nodeid, name);
    parts.push(`${escapeBytes(name)}=${Buffer.from(value).toString('hex')}`);
  }
  return parts.length === 0 ? '-' : parts.sort().join(',');
}

async function describe(
  client: FuseClient,
  nodeid: bigint,
  path: string,
  attr: FuseAttr,
  { ignore = [], readBytes }: WalkOptions,
): Promise<string> {
  const type = TYPES[attr.mode >>> 12] ?? `type ${attr.mode >>> 12}`;
  const isDevice = type === 'char' || type === 'block';
  const link = type === 'symlink' ? escapeBytes(await client.readlink(nodeid)) : '-';
  let sha256 = '-';
  if (type === 'file' && !ignore.includes('sha256')) {
    const hash = createHash('sha256');
    await client.readAll(nodeid, attr.size, (bytes) => hash.update(bytes), readBytes);
    sha256 = hash.digest('hex');
  }
  return [
    path === '' ? '/' : escapeBytes(path),
    type,
    (attr.mode & 0o7777).toString(8).padStart(4, '0'),
    attr.uid,
    attr.gid,
    attr.nlink,
    attr.size,
    formatTime(attr.mtimeNs),
    isDevice ? formatDevice(attr.rdev) : '0:0',
    link,
    ignore.includes('xattrs') ? '-' : await formatXattrs(client, nodeid),
    sha256,
  ].join('\t');
}

async function children(
  client: FuseClient,
  nodeid: bigint,
  plain: boolean,
): Promise<{ name: string; nodeid: bigint; attr: FuseAttr }[]> {
  const result: { name: string; nodeid: bigint; attr: FuseAttr }[] = [];
  for (const { name, type, entry } of await client.readWholeDirectory(nodeid, !plain)) {
    if (name === '.' || name === '..') continue;
    const found = entry !== undefined && entry.nodeid !== 0n ? entry : await client.lookup(nodeid, name);
    if (found.attr.mode >>> 12 !== type)
      throw new Error(`${name}: d_type ${type}, mode ${found.attr.mode.toString(8)}`);
    result.push({ name, nodeid: found.nodeid, attr: found.attr });
  }
  return result;
}

/** One line per inode, in the manifests' form, sorted by path bytes. */
export async function walkTree(client: FuseClient, options: WalkOptions = {}): Promise<string[]> {
  const root = options.root ?? ROOT_NODEID;
  const lines: string[] = [];
  const queue = [{ path: '', nodeid: root, attr: await client.getattr(root) }];
  for (let item = queue.pop(); item !== undefined; item = queue.pop()) {
    const { path, nodeid, attr } = item;
    lines.push(await describe(client, nodeid, path, attr, options));
    if (attr.mode >>> 12 !== 4) continue;
    for (const child of await children(client, nodeid, options.plain ?? false)) {
      queue.push({ path: `${path}/${child.name}`, nodeid: child.nodeid, attr: child.attr });
    }
  }
  return lines.sort();
}

/** The lines of a manifest, `.tsv` or `.tsv.gz`, as latin1. */
export function readManifest(file: string): string[] {
  const bytes = readFileSync(file);
  const text = (file.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString('latin1');
  return text
    .split('\n')
    .filter((line) => line !== '')
    .sort();
}

function byPath(lines: readonly string[]): Map<string, string[]> {
  return new Map(lines.map((line) => [line.slice(0, line.indexOf('\t')), line.split('\t')]));
}

function sameXattrs(a: string, b: string): boolean {
  return a.split(',').sort().join() === b.split(',').sort().join();
}

/** Differences, a line each: what lacks, what is too much, and which column differs how. Empty = equal. */
export function compareTrees(
  expected: readonly string[],
  actual: readonly string[],
  ignore: readonly string[] = [],
): string[] {
  const wanted = byPath(expected);
  const seen = byPath(actual);
  const differences: string[] = [];
  for (const [path, columns] of wanted) {
    const found = seen.get(path);
    if (found === undefined) {
      differences.push(`${path}: missing`);
      continue;
    }
    for (const [i, name] of COLUMNS.entries()) {
      const same = name === 'xattrs' ? sameXattrs(columns[i]!, found[i]!) : columns[i] === found[i];
      if (!same && !ignore.includes(name))
        differences.push(`${path}: ${name} is ${found[i]}, expected ${columns[i]}`);
    }
  }
  for (const path of seen.keys()) if (!wanted.has(path)) differences.push(`${path}: not expected`);
  return differences;
}

/** Walks the tree and compares it with a manifest file. */
export async function compareWithManifest(
  client: FuseClient,
  file: string,
  options: WalkOptions = {},
): Promise<string[]> {
  return compareTrees(readManifest(file), await walkTree(client, options), options.ignore);
}
