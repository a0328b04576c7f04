import { beforeEach, describe, expect, it } from 'vitest';
import { Attr, type DirectorySink, Entry, Opened, Statfs } from '../../../src/fuse/filesystem.ts';
import { Vfs } from '../../../src/vfs/vfs.ts';
import { MemoryFs } from '../../support/memory-fs.ts';

const ENOENT = -2;
const IMAGE_ROOT = 36;
const SHORT_MS = 1000;

let vfs: Vfs;
beforeEach(() => {
  vfs = new Vfs();
});

/** An image with the file `name` and the directory `sub`, and in it `deep`. */
function image(serial: number, name = 'file'): MemoryFs {
  const nodes = {
    [IMAGE_ROOT]: { entries: { [name]: 40, sub: 41 } },
    40: { target: 'x' },
    41: { entries: { deep: 42 } },
    42: {},
  };
  return new MemoryFs(nodes, serial, IMAGE_ROOT);
}

function lookup(hi: number, lo: number, name: string): Entry | number {
  const entry = new Entry();
  const bytes = Buffer.from(`>${name}\0`);
  const result = vfs.lookup(hi, lo, bytes, 1, bytes.length - 1, entry);
  return result < 0 ? result : entry;
}

/** nodeid at the end of a path, as `hi:lo`, or -errno. */
function walk(path: string): string | number {
  let node: Entry | number = Object.assign(new Entry(), { nodeHi: 0, nodeLo: 1 });
  for (const name of path.split('/').filter(Boolean)) {
    node = lookup((node as Entry).nodeHi, (node as Entry).nodeLo, name);
    if (typeof node === 'number') return node;
  }
  return `${node.nodeHi}:${node.nodeLo}`;
}

function list(hi: number, lo: number, from = 0, atMost = Number.POSITIVE_INFINITY) {
  const rows: { name: string; ino: string; cookie: number; node: string }[] = [];
  const take = (ino: string, node: string, cookie: number, bytes: Uint8Array, start: number, end: number) => {
    if (rows.length === atMost) return false;
    rows.push({ name: Buffer.from(bytes.slice(start, end)).toString(), ino, cookie, node });
    return true;
  };
  const sink: DirectorySink = {
    add: (inoHi, inoLo, cookie, _type, bytes, start, end) =>
      take(`${inoHi}:${inoLo}`, '', cookie, bytes, start, end),
    addPlus: (entry, cookie, _type, bytes, start, end) =>
      take(
        `${entry.attr.inoHi}:${entry.attr.inoLo}`,
        `${entry.nodeHi}:${entry.nodeLo}`,
        cookie,
        bytes,
        start,
        end,
      ),
  };
  expect(vfs.readdirplus(hi, lo, from, sink)).toBe(0);
  const plus = rows.splice(0);
  expect(vfs.readdir(hi, lo, from, sink)).toBe(0);
  expect(rows.map(({ name, ino, cookie }) => ({ name, ino, cookie }))).toEqual(
    plus.map(({ name, ino, cookie }) => ({ name, ino, cookie })),
  );
  return plus;
}

const names = (hi: number, lo: number) => list(hi, lo).map((row) => row.name);

describe('an empty tree', () => {
  it('is an empty directory that anybody may read and nobody write', () => {
    const attr = new Attr();
    expect(vfs.getattr(0, 1, attr)).toBe(0);
    expect([attr.mode, attr.nlink, attr.inoLo]).toEqual([0o040755, 2, 1]);
    expect(names(0, 1)).toEqual(['.', '..']);
    expect(walk('/foo')).toBe(ENOENT);
  });
});

describe('a mount', () => {
  it('appears at its path, with directories above it', () => {
    vfs.mount('/foo/bar', image(5), 5);
    expect(walk('/foo')).toBe('0:2');
    expect(walk('/foo/bar')).toBe(`5:${IMAGE_ROOT}`);
    expect(walk('/foo/bar/sub/deep')).toBe('5:42');
    const attr = new Attr();
    vfs.getattr(0, 2, attr);
    expect([attr.nlink, attr.mode]).toEqual([3, 0o040755]);
  });

  it('never clashes with another of the same inodes', () => {
    vfs.mount('/a', image(1), 1);
    vfs.mount('/b', image(2), 2);
    expect([walk('/a/file'), walk('/b/file')]).toEqual(['1:40', '2:40']);
    expect(list(0, 1).slice(2)).toMatchObject([
      { name: 'a', ino: `1:${IMAGE_ROOT}`, node: `1:${IMAGE_ROOT}` },
      { name: 'b', ino: `2:${IMAGE_ROOT}`, node: `2:${IMAGE_ROOT}` },
    ]);
  });

  it('is seen soon by a guest that has looked: nothing pseudo is kept for long', () => {
    expect(walk('/a')).toBe(ENOENT);
    vfs.mount('/a/b', image(1), 1);
    for (const found of [lookup(0, 1, 'a'), lookup(0, 2, 'b'), lookup(0, 1, '.')] as Entry[]) {
      expect(found.validMs).toBeLessThanOrEqual(SHORT_MS);
    }
    expect((lookup(0, 1, 'a') as Entry).attr.validMs).toBeLessThanOrEqual(SHORT_MS);
    const opened = new Opened();
    opened.flags = 10;
    expect([vfs.opendir(0, 2, 0, opened), opened.flags]).toEqual([0, 0]);
  });

  it('is kept for ever inside, though its root is not known to stay', () => {
    vfs.mount('/a', image(1), 1);
    expect((lookup(1, IMAGE_ROOT, 'file') as Entry).validMs).toBe(Number.POSITIVE_INFINITY);
    const opened = new Opened();
    expect([vfs.opendir(1, IMAGE_ROOT, 0, opened), opened.flags]).toEqual([0, 10]);
  });

  it('hides what is below it until it goes', () => {
    vfs.mount('/a/b', image(1), 1);
    vfs.mount('/a', image(2), 2);
    expect([walk('/a'), walk('/a/b')]).toEqual([`2:${IMAGE_ROOT}`, '0:0']);
    vfs.unmount(2);
    expect([walk('/a'), walk('/a/b/file')]).toEqual(['0:2', '1:40']);
  });

  it('below another stays hidden, and remains when that goes', () => {
    vfs.mount('/a', image(1), 1);
    vfs.mount('/a/b/c', image(2), 2);
    expect([walk('/a'), walk('/a/b')]).toEqual([`1:${IMAGE_ROOT}`, '0:0']);
    vfs.unmount(1);
    expect(walk('/a/b/c/file')).toBe('2:40');
  });

  it('at a busy path replaces what is there, whose nodes are served until they are forgotten', () => {
    vfs.mount('/a', image(1), 1);
    vfs.mount('/a', image(2), 2);
    const attr = new Attr();
    expect([walk('/a/file'), vfs.getattr(1, 40, attr)]).toEqual(['2:40', 0]);
    vfs.forgetMount(1);
    expect([vfs.unmount(1), vfs.getattr(1, 40, attr), walk('/a/file')]).toEqual([false, ENOENT, '2:40']);
  });

  it('with a path that is none leaves nothing behind', () => {
    expect(() => vfs.mount('relative', image(1), 1)).toThrow();
    expect(() => vfs.mount(`/ok/${'n'.repeat(256)}`, image(1), 1)).toThrow();
    expect([vfs.tree.nodeCount, vfs.tree.mountCount]).toEqual([1, 0]);
  });
});

describe('a mount at the root', () => {
  it('is nodeid 1, whose attributes are not kept for long and whose listing not at all', () => {
    vfs.mount('/', image(9), 9);
    const attr = new Attr();
    expect([vfs.getattr(0, 1, attr), attr.inoHi, attr.inoLo]).toEqual([0, 9, IMAGE_ROOT]);
    expect(attr.validMs).toBeLessThanOrEqual(SHORT_MS);
    const opened = new Opened();
    expect([vfs.opendir(0, 1, 0, opened), opened.flags]).toEqual([0, 0]);
    expect([walk('/file'), walk('/sub/deep')]).toEqual(['9:40', '9:42']);
    expect(names(0, 1)).toEqual(['.', '..', 'file', 'sub']);
  });

  it('may be followed by another image: its names are soon looked up again, those that were missing too', () => {
    vfs.mount('/', image(9), 9);
    for (const name of ['file', 'absent', 'sub'])
      expect((lookup(0, 1, name) as Entry).validMs, name).toBeLessThanOrEqual(SHORT_MS);
    const kept: number[] = [];
    const addPlus = (entry: Entry) => kept.push(entry.validMs) > 0;
    vfs.readdirplus(0, 1, 0, { add: () => false, addPlus });
    expect(kept).toHaveLength(4);
    expect(Math.max(...kept)).toBeLessThanOrEqual(SHORT_MS);
    const sub = lookup(0, 1, 'sub') as Entry;
    expect((lookup(sub.nodeHi, sub.nodeLo, 'deep') as Entry).validMs).toBe(Number.POSITIVE_INFINITY);
  });

  it('hides every other mount until it goes', () => {
    vfs.mount('/a', image(1), 1);
    vfs.mount('/', image(9), 9);
    expect([walk('/a'), walk('/file')]).toEqual(['0:0', '9:40']);
    vfs.unmount(9);
    expect([walk('/a/file'), walk('/file')]).toEqual(['1:40', ENOENT]);
  });

  it('has one root: what leads up to it gives nodeid 1', () => {
    vfs.mount('/', image(9), 9);
    for (const [hi, lo, name] of [
      [0, 1, '.'],
      [0, 1, '..'],
      [9, 41, '..'],
      [9, IMAGE_ROOT, '.'],
      [9, IMAGE_ROOT, '..'],
    ] as const) {
      const found = lookup(hi, lo, name) as Entry;
      expect([found.nodeHi, found.nodeLo], `${hi}:${lo} ${name}`).toEqual([0, 1]);
      expect(found.validMs).toBeLessThanOrEqual(SHORT_MS);
    }
  });
});

describe('dots', () => {
  it('lead from node to node as file handles need', () => {
    vfs.mount('/foo/bar', image(5), 5);
    const node = (hi: number, lo: number, name: string) => {
      const { nodeHi, nodeLo } = lookup(hi, lo, name) as Entry;
      return `${nodeHi}:${nodeLo}`;
    };
    expect([node(0, 2, '.'), node(0, 2, '..'), node(0, 1, '.'), node(0, 1, '..')]).toEqual([
      '0:2',
      '0:1',
      '0:1',
      '0:1',
    ]);
    expect([node(5, 41, '.'), node(5, 41, '..')]).toEqual(['5:41', `5:${IMAGE_ROOT}`]);
    expect(node(5, IMAGE_ROOT, '.')).toBe(`5:${IMAGE_ROOT}`);
    // Out of the image, into the directory that it is mounted in.
    expect(node(5, IMAGE_ROOT, '..')).toBe('0:2');
  });

  it('of an image that lost its place lead nowhere else', () => {
    vfs.mount('/foo/bar', image(5), 5);
    vfs.unmount(5);
    expect(lookup(5, IMAGE_ROOT, '..')).toMatchObject({ nodeHi: 5, nodeLo: IMAGE_ROOT });
  });

  it('are listed with the inodes they stand for', () => {
    vfs.mount('/foo/bar', image(5), 5);
    expect(list(0, 2)).toMatchObject([
      { name: '.', ino: '0:2', node: '0:0' },
      { name: '..', ino: '0:1', node: '0:0' },
      { name: 'bar', ino: `5:${IMAGE_ROOT}`, node: `5:${IMAGE_ROOT}` },
    ]);
  });
});

describe('an unmount', () => {
  it('takes the directories away that only it needed', () => {
    vfs.mount('/a/b/c', image(1), 1);
    vfs.mount('/a/x', image(2), 2);
    vfs.unmount(1);
    expect([walk('/a/b'), walk('/a/x')]).toEqual([ENOENT, `2:${IMAGE_ROOT}`]);
    vfs.unmount(2);
    expect([names(0, 1), vfs.tree.nodeCount]).toEqual([['.', '..'], 1]);
  });

  it('changes the time of the directory it was in', async () => {
    vfs.mount('/a', image(1), 1);
    const before = new Attr();
    vfs.getattr(0, 1, before);
    await new Promise((resolve) => setTimeout(resolve, 5));
    vfs.unmount(1);
    const after = new Attr();
    vfs.getattr(0, 1, after);
    const time = ({ mtime, mtimeNs }: Attr) => mtime * 1e9 + mtimeNs;
    expect(time(after)).toBeGreaterThan(time(before));
  });

  it('serves the nodes that a waiting request holds until they are forgotten', () => {
    vfs.mount('/a', image(1), 1);
    vfs.unmount(1);
    const attr = new Attr();
    expect([walk('/a'), vfs.getattr(1, 40, attr)]).toEqual([ENOENT, 0]);
    vfs.forgetMount(1);
    expect(vfs.getattr(1, 40, attr)).toBe(ENOENT);
  });

  it('of what is not there says so', () => {
    expect(vfs.unmount(77)).toBe(false);
  });

  it('during a listing neither repeats nor skips another mount', () => {
    for (let i = 1; i <= 6; i++) vfs.mount(`/m${i}`, image(i), i);
    const first = list(0, 1, 0, 4);
    expect(first.map((row) => row.name)).toEqual(['.', '..', 'm1', 'm2']);
    vfs.unmount(1);
    vfs.unmount(2);
    vfs.unmount(3);
    vfs.mount('/m7', image(7), 7);
    expect(list(0, 1, first.at(-1)!.cookie).map((row) => row.name)).toEqual(['m4', 'm5', 'm6', 'm7']);
  });
});

describe('nodes that are not', () => {
  it.each([
    [0, 2],
    [0, 0],
    [7, 1],
    [0xffffffff, 0xffffffff],
  ])('%i:%i give ENOENT to every call', (hi, lo) => {
    const bytes = Buffer.from('name');
    const out = new Uint8Array(8192);
    const sink = {
      relyOn: () => {},
      fromFile: () => 0,
      fromBytes: () => 0,
      later: () => () => {},
      supplied: null,
    };
    const none: DirectorySink = { add: () => true, addPlus: () => true };
    expect([
      lookup(hi, lo, 'name'),
      vfs.getattr(hi, lo, new Attr()),
      vfs.readlink(hi, lo, out, 0),
      vfs.open(hi, lo, 0, new Opened()),
      vfs.opendir(hi, lo, 0, new Opened()),
      vfs.read(hi, lo, 0, 100, sink),
      vfs.readdir(hi, lo, 0, none),
      vfs.readdirplus(hi, lo, 0, none),
      vfs.getxattr(hi, lo, bytes, 0, 4, out, 0, 100),
      vfs.listxattr(hi, lo, out, 0, 100),
      vfs.statfs(hi, lo, new Statfs()),
      vfs.lseek(hi, lo, 0, 3),
    ]).toEqual(new Array(12).fill(ENOENT));
    vfs.forget(hi, lo, 1);
    expect(vfs.release(hi, lo, 0, 0)).toBe(0);
  });

  it('are never a directory that was there before: numbers are not used again', () => {
    vfs.mount('/a', image(1), 1);
    const before = vfs.tree.root.children.get('a')!.lo;
    vfs.unmount(1);
    vfs.mount('/b', image(2), 2);
    expect(vfs.tree.root.children.get('b')!.lo).toBeGreaterThan(before);
  });
});

describe('many mounts', () => {
  it('are served 4,096 at a time', () => {
    for (let i = 1; i <= 4096; i++) vfs.mount(`/m/${i % 64}/${i}`, image(i, `f${i}`), i);
    for (const i of [1, 64, 1000, 4096]) expect(walk(`/m/${i % 64}/${i}/f${i}`)).toBe(`${i}:40`);
    expect(vfs.tree.mountCount).toBe(4096);
    for (let i = 1; i <= 4096; i++) {
      vfs.unmount(i);
      vfs.forgetMount(i);
    }
    expect([vfs.tree.nodeCount, vfs.tree.mountCount, names(0, 1)]).toEqual([1, 0, ['.', '..']]);
  });

  it('come and go 1,000 times without a trace', () => {
    for (let i = 1; i <= 1000; i++) {
      vfs.mount('/here/and/gone', image(i), i);
      expect(walk('/here/and/gone/file')).toBe(`${i}:40`);
      vfs.unmount(i);
      vfs.forgetMount(i);
    }
    expect([vfs.tree.nodeCount, vfs.tree.mountCount, vfs.tree.root.children.size]).toEqual([1, 0, 0]);
  });
});
