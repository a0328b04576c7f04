import { openSync } from 'node:fs';
import { join } from 'node:path';
import type { RafsFileSystem } from '../../src/imagefs/filesystem.ts';
import { openBootstrap } from '../../src/rafs/open-bootstrap.ts';
import { Vfs } from '../../src/vfs/vfs.ts';
import { MemoryFs, type MemoryNode } from '../support/memory-fs.ts';
import { bootstrapBytes, emptyViews, FIXTURES, openFileSystem } from '../support/rafs-fixtures.ts';
import { conformance, type Subject } from './filesystem.ts';

const RAFS_SERIAL = 7;

function tree(root: number): Record<number, MemoryNode> {
  return {
    [root]: {
      entries: { file: 50, link: 51, dir: 52, empty: 53, 'n\xe4me': 54 },
      xattrs: { 'user.color': Buffer.from('blue'), 'user.empty': Buffer.alloc(0) },
    },
    50: { extents: [{ bytes: Buffer.from('hello, ') }, { bytes: Buffer.from('guest') }] },
    51: { target: '../where/it/leads' },
    52: { entries: Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`e${i}`, 60 + i])) },
    53: { entries: {} },
    54: { extents: [] },
    ...Object.fromEntries(Array.from({ length: 40 }, (_, i) => [60 + i, { extents: [] }])),
  };
}

/** An image of the repository; content where its blobs hold plain bytes. */
function image(name: string, hasContent: boolean): Subject & { readonly fs: RafsFileSystem } {
  const buffer = bootstrapBytes(FIXTURES, name);
  const { blobs } = openBootstrap(buffer, name);
  const views = emptyViews(openBootstrap(buffer, name)).map((view, i) =>
    hasContent ? { ...view, fd: openSync(join(FIXTURES, 'blobs', blobs[i]!.id), 'r'), ready: null } : view,
  );
  const fs = openFileSystem(buffer, { blobs: views, serial: RAFS_SERIAL, onBadInode: () => {} });
  return { fs, hi: RAFS_SERIAL, lo: fs.rootLo, absent: [], hasContent };
}

conformance('a file system in memory', () => {
  const fs = new MemoryFs(tree(1), 0, 1);
  return { fs, hi: 0, lo: 1, absent: [[0, 4000]], hasContent: true };
});

conformance('a tree of mounts', () => {
  const vfs = new Vfs();
  vfs.mount('/a/one', new MemoryFs(tree(36), 1, 36), 1);
  vfs.mount('/a/b/c/two', new MemoryFs(tree(36), 2, 36), 2);
  vfs.mount('/gone', new MemoryFs(tree(36), 3, 36), 3);
  vfs.unmount(3);
  vfs.forgetMount(3);
  const absent = [
    [0, 0],
    [0, 4000],
    [1, 4000],
    [3, 36],
    [3, 50],
    [0xffffffff, 1],
  ] as const;
  return { fs: vfs, hi: 0, lo: 1, absent, hasContent: true };
});

conformance('an image at the root', () => {
  const vfs = new Vfs();
  vfs.mount('/', image('v5-none-blake3', true).fs, RAFS_SERIAL);
  return {
    fs: vfs,
    hi: 0,
    lo: 1,
    absent: [
      [0, 2],
      [8, 1],
    ],
    hasContent: true,
  };
});

for (const [name, hasContent] of [
  ['v5-none-blake3', true],
  ['v6-tarfs', true],
  ['v5-repeatable', false],
  ['v6-zstd-blake3', false],
  ['v6-merge3', false],
] as const)
  conformance(name, () => ({ ...image(name, hasContent), absent: [[RAFS_SERIAL, 0xfffffff0]] }));
