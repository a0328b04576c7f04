/** Trees in the host's file system, compared with the manifests of the fixtures. */
import { createHash } from 'node:crypto';
import { createReadStream, lstatSync, readdirSync, readlinkSync } from 'node:fs';
import { readXattrs } from '../../src/native/xattr.ts';
import { escapeName, manifestRows } from './rafs-fixtures.ts';

/** The rows which `treeRows` should find. The root's own is the directory's in which the tree is. */
export function manifestWithoutRoot(
  root: string,
  name: string,
  { sockets }: { readonly sockets: boolean },
): string[] {
  return manifestRows(root, name)
    .filter(([path, type]) => path !== '/' && (sockets || type !== 'socket'))
    .map(comparable);
}

const [NLINK, SIZE] = [5, 6];

/** Sizes and link counts of directories are the file system's. */
function comparable(row: readonly string[]): string {
  return row.map((cell, i) => (row[1] === 'dir' && (i === NLINK || i === SIZE) ? '-' : cell)).join('\t');
}

const TYPES: Readonly<Record<number, string>> = {
  1: 'fifo',
  2: 'char',
  4: 'dir',
  6: 'block',
  8: 'file',
  10: 'symlink',
  12: 'socket',
};

/** Rows of everything below a directory, as the manifests have them, sorted by path bytes. */
export async function treeRows(tree: string): Promise<string[]> {
  const rows: { path: Buffer; row: string }[] = [];
  const visit = async (place: Buffer, path: Buffer): Promise<void> => {
    for (const name of readdirSync(place, { encoding: 'buffer' })) {
      const child = Buffer.concat([place, Buffer.from('/'), name]);
      const childPath = Buffer.concat([path, Buffer.from('/'), name]);
      const row = await describeFile(child, childPath);
      rows.push({ path: childPath, row: comparable(row) });
      if (row[1] === 'dir') await visit(child, childPath);
    }
  };
  await visit(Buffer.from(tree), Buffer.alloc(0));
  return rows.sort((a, b) => Buffer.compare(a.path, b.path)).map(({ row }) => row);
}

async function describeFile(place: Buffer, path: Buffer): Promise<string[]> {
  const stats = lstatSync(place, { bigint: true });
  const type = TYPES[Number(stats.mode >> 12n)] ?? '?';
  const hash = createHash('sha256');
  if (type === 'file') for await (const piece of createReadStream(place)) hash.update(piece);
  const xattrs = readXattrs(place).map(({ name, value }) => `${escapeName(name)}=${value.toString('hex')}`);
  const rdev = Number(stats.rdev);
  const device = `${(rdev >>> 8) & 0xfff}:${(rdev & 0xff) | ((rdev >>> 12) & 0xfff00)}`;
  return [
    escapeName(path),
    type,
    (Number(stats.mode) & 0o7777).toString(8).padStart(4, '0'),
    `${stats.uid}`,
    `${stats.gid}`,
    `${stats.nlink}`,
    `${stats.size}`,
    `${stats.mtimeNs / 1_000_000_000n}.${(stats.mtimeNs % 1_000_000_000n).toString().padStart(9, '0')}`,
    type === 'char' || type === 'block' ? device : '0:0',
    type === 'symlink' ? escapeName(readlinkSync(place, { encoding: 'buffer' })) : '-',
    xattrs.length === 0 ? '-' : xattrs.join(','),
    type === 'file' ? hash.digest('hex') : '-',
  ];
}
