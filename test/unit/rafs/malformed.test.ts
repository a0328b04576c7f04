import { describe, expect, it } from 'vitest';
import { Attr, Entry } from '../../../src/fuse/filesystem.ts';
import type { RafsFileSystem } from '../../../src/imagefs/filesystem.ts';
import { openBootstrap } from '../../../src/rafs/open-bootstrap.ts';
import { InodeV5 } from '../../../src/wire/rafs/inode-v5.ts';
import { ExtendedInode } from '../../../src/wire/rafs/inode-v6.ts';
import { bootstrapBytes, FIXTURES, list, openFileSystem } from '../../support/rafs-fixtures.ts';

/** Opens an image with a change to its root inode; collects what is reported. */
function withRoot(
  name: string,
  change: (view: DataView, root: number) => void,
): { fs: RafsFileSystem; reports: string[] } {
  const buffer = bootstrapBytes(FIXTURES, name);
  const bootstrap = openBootstrap(buffer, name);
  const view = new DataView(buffer);
  const root =
    bootstrap.version === 5
      ? view.getUint32(bootstrap.superblock.inodeTableOffset, true) * 8
      : bootstrap.superblock.metaBlockAddress * bootstrap.superblock.blockSize + bootstrap.rootLo * 32;
  change(view, root);
  const reports: string[] = [];
  return {
    fs: openFileSystem(buffer, { validate: false, onBadInode: (_lo, reason) => reports.push(reason) }),
    reports,
  };
}

const V5 = 'v5-merge3';
const V6 = 'v6-merge3';
const cases: [string, string, (view: DataView, root: number) => void, string][] = [
  ['v5 mode without type', V5, (view, root) => view.setUint32(root + InodeV5.mode, 0o755, true), 'mode'],
  ['v5 root that is a file', V5, (view, root) => view.setUint32(root + InodeV5.mode, 0o100755, true), 'root'],
  ['v5 nlink of 0', V5, (view, root) => view.setUint32(root + InodeV5.nlink, 0, true), 'nlink'],
  ['v5 name of 0 bytes', V5, (view, root) => view.setUint16(root + InodeV5.nameSize, 0, true), 'name size'],
  [
    'v5 name of 300 bytes',
    V5,
    (view, root) => view.setUint16(root + InodeV5.nameSize, 300, true),
    'name size',
  ],
  [
    'v5 children that begin at their directory',
    V5,
    (view, root) => view.setUint32(root + InodeV5.childIndex, 1, true),
    'child index',
  ],
  [
    'v5 children behind the table',
    V5,
    (view, root) => view.setUint32(root + InodeV5.childCount, 0xffffffff, true),
    'child index',
  ],
  ['v5 foreign i_ino', V5, (view, root) => view.setUint32(root + InodeV5.ino, 2, true), 'i_ino'],
  ['v5 xattr table of 2^60 bytes', V5, xattrBomb, 'xattr table size'],
  ['v6 format with unknown bits', V6, (view, root) => view.setUint16(root, 0x21, true), 'i_format'],
  ['v6 directory that is chunk-based', V6, (view, root) => view.setUint16(root, 9, true), 'i_format'],
  [
    'v6 directory of 2^52 bytes',
    V6,
    (view, root) => view.setUint32(root + ExtendedInode.fileSize + 4, 1 << 20, true),
    'i_',
  ],
  [
    'v6 xattrs behind the end',
    V6,
    (view, root) => view.setUint16(root + ExtendedInode.xattrCount, 0xffff, true),
    'i_xattr_icount',
  ],
  [
    'v6 nanoseconds of more than a second',
    V6,
    (view, root) => view.setUint32(root + ExtendedInode.mtimeNs, 1e9, true),
    'i_mtime_nsec',
  ],
];

function xattrBomb(view: DataView, root: number): void {
  view.setUint32(root + InodeV5.flags, 4, true);
  view.setBigUint64(root + InodeV5.size + 8, 1n << 60n, true);
}

describe('an inode is EIO, reported once, when it has a', () => {
  for (const [what, name, change, reason] of cases) {
    it(what, () => {
      const { fs, reports } = withRoot(name, change);
      expect(fs.getattr(0, fs.rootLo, new Attr())).toBe(-5);
      expect(fs.lookup(0, fs.rootLo, Buffer.from('a'), 0, 1, new Entry())).toBe(-5);
      expect(list(fs, fs.rootLo)).toBe(-5);
      expect(reports).toEqual([expect.stringContaining(reason)]);
    });
  }
});

describe('a v6 directory entry', () => {
  const dirents = (root: number) => root + ExtendedInode.size;

  it('whose names begin nowhere makes its directory EIO', () => {
    for (const offset of [0, 11, 13, 0xfff0]) {
      const { fs } = withRoot(V6, (view, root) => view.setUint16(dirents(root) + 8, offset, true));
      expect(list(fs, fs.rootLo)).toBe(-5);
      expect(fs.lookup(0, fs.rootLo, Buffer.from('etc'), 0, 3, new Entry())).toBe(-5);
    }
  });

  it('whose nid is outside the bootstrap makes the listing EIO', () => {
    for (const nid of [0n, 1n << 31n, 1n << 40n, (1n << 64n) - 1n]) {
      const { fs } = withRoot(V6, (view, root) => view.setBigUint64(dirents(root) + 24, nid, true));
      expect(list(fs, fs.rootLo)).toBe(-5);
    }
  });
});

it('a number that names no inode is ENOENT', () => {
  for (const name of [V5, V6]) {
    const { fs, reports } = withRoot(name, () => {});
    for (const lo of [0, 0x7fffffff, 0xffffffff]) expect(fs.getattr(0, lo, new Attr())).toBe(-2);
    expect(reports).toEqual([]);
  }
});

it('an inode whose digest is wrong is EIO with validation, and readable without', () => {
  const buffer = bootstrapBytes(FIXTURES, V5);
  const { superblock } = openBootstrap(buffer, V5) as { superblock: { inodeTableOffset: number } };
  const view = new DataView(buffer);
  const root = view.getUint32(superblock.inodeTableOffset, true) * 8;
  view.setUint8(root, view.getUint8(root) ^ 1);
  const reports: string[] = [];
  const onBadInode = (_lo: number, reason: string) => reports.push(reason);
  expect(openFileSystem(buffer, { validate: true, onBadInode }).getattr(0, 1, new Attr())).toBe(-5);
  expect(reports).toEqual(['inode digest']);
  expect(openFileSystem(buffer, { validate: false }).getattr(0, 1, new Attr())).toBe(0);
});
