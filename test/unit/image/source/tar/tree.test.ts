import { describe, expect, test } from 'vitest';
import { assignInodes, type ImageNode, isDirectory } from '../../../../../src/image/model/node.ts';
import { readTar } from '../../../../../src/image/source/tar/tar-source.ts';
import { TarType } from '../../../../../src/wire/tar.ts';
import { bytesSource, END, member, paxMember } from '../../../../support/tars.ts';

/** The tree of an archive; each file's data stands in its `chunks`' place, by node. */
async function treeOf(...parts: Buffer[]): Promise<{ root: ImageNode; data: Map<ImageNode, string> }> {
  const data = new Map<ImageNode, string>();
  const addStream = async (node: ImageNode, stream: { read(into: Buffer): Promise<void> }): Promise<void> => {
    const bytes = Buffer.alloc(node.size);
    await stream.read(bytes);
    data.set(node, bytes.toString());
  };
  const context = { explicitUidGid: true, store: () => ({ addStream }) };
  const root = await readTar(bytesSource(Buffer.concat([...parts, END])), context);
  return { root, data };
}

/** Paths, depth first. */
function paths(node: ImageNode, prefix = ''): string[] {
  const path = prefix + node.name.toString('latin1');
  return [path, ...node.children.flatMap((child) => paths(child, path === '/' ? '/' : `${path}/`))];
}

function find(root: ImageNode, path: string): ImageNode {
  let node = root;
  for (const part of path.split('/')) node = node.children.find((child) => child.name.toString() === part)!;
  return node;
}

const directory = (name: string, more = {}) =>
  member({ name, type: TarType.directory, mode: 0o700, ...more });
const link = (name: string, linkName: string, more = {}) =>
  member({ name, type: TarType.link, linkName, ...more });

describe('paths', () => {
  test('begin at the root, however they are written, and are sorted by bytes', async () => {
    const names = ['./b', '/a', 'c//d/./e', 'B', Buffer.from('\xff', 'latin1'), 'é'];
    const { root } = await treeOf(...names.map((name) => member({ name })));
    expect(paths(root)).toEqual(['/', '/B', '/a', '/b', '/c', '/c/d', '/c/d/e', '/\xc3\xa9', '/\xff']);
  });

  test.each([
    ['../etc/passwd', "path with '..' in it"],
    ['a/../../b', "path with '..' in it"],
    ['a/..', "path with '..' in it"],
    ['n'.repeat(256), 'a name of more than 255 bytes'],
    ['d/'.repeat(2048), 'path of more than 4095 bytes'],
  ])('are refused: %s', async (name, rule) => {
    await expect(treeOf(member({ name, type: TarType.directory }))).rejects.toThrow(rule);
  });

  test('2047 directories deep are built and numbered', async () => {
    const { root } = await treeOf(member({ name: `${'d/'.repeat(2047)}f` }));
    expect(assignInodes(root).byIndex).toHaveLength(2049);
  });

  test('with dots in names are no traversal', async () => {
    const { root } = await treeOf(member({ name: '..a' }), member({ name: '...' }));
    expect(paths(root)).toEqual(['/', '/...', '/..a']);
  });
});

describe('directories', () => {
  test('that the archive leaves out are 0755, of 0:0 and of 1970', async () => {
    const { root } = await treeOf(member({ name: 'a/b', uid: 5 }));
    for (const node of [root, find(root, 'a')])
      expect(node).toMatchObject({ mode: 0o40755, uid: 0, gid: 0, mtimeSec: 0n, rdev: 0xffffffff });
  });

  test('may come after what is in them, and again: the last one counts, its files stay', async () => {
    const { root } = await treeOf(
      member({ name: 'd/f' }),
      directory('d', { uid: 1 }),
      member({ name: 'd/g' }),
      directory('./d/', { uid: 2 }),
      directory('./', { uid: 3, mtimeSec: 9 }),
    );
    expect(paths(root)).toEqual(['/', '/d', '/d/f', '/d/g']);
    expect(find(root, 'd')).toMatchObject({ uid: 2, mode: 0o40700 });
    expect(root).toMatchObject({ uid: 3, mtimeSec: 9n, mode: 0o40700 });
  });

  test('that a file replaces are gone with what was in them', async () => {
    const { root } = await treeOf(member({ name: 'd/f' }), member({ name: 'd' }, 'x'));
    expect(paths(root)).toEqual(['/', '/d']);
    expect(isDirectory(find(root, 'd'))).toBe(false);
  });

  test('a path through anything else is refused: no link is followed', async () => {
    const symlink = member({ name: 'lib', type: TarType.symlink, linkName: '/etc' });
    await expect(treeOf(symlink, member({ name: 'lib/f' }))).rejects.toThrow(
      'test.tar: /lib/f: /lib, which the archive has before it, is no directory',
    );
  });

  test('the root is one', async () => {
    await expect(treeOf(member({ name: '.' }, 'x'))).rejects.toThrow('test.tar: /: the root is no directory');
  });
});

describe('hard links', () => {
  test('share data, size and attributes with their target, and keep their own mode and owner', async () => {
    const xattrs = [{ name: Buffer.from('user.k'), value: Buffer.from('v') }];
    const { root } = await treeOf(
      member({ name: 'd/a', xattrs }, 'data'),
      link('b', '/d/a', { mode: 0o600, uid: 9 }),
      link('c', './b'),
    );
    const [a, b, c] = ['d/a', 'b', 'c'].map((path) => find(root, path));
    expect(b).toMatchObject({ size: 4, mode: 0o100600, uid: 9, xattrs, linkKey: a!.linkKey });
    expect(c!.linkKey).toBe(a!.linkKey);
    expect(assignInodes(root).inodesCount).toBe(3);
  });

  test('keep what they were linked to when that is replaced', async () => {
    const { root, data } = await treeOf(
      member({ name: 'a' }, 'old'),
      link('b', 'a'),
      member({ name: 'a' }, 'newer'),
    );
    expect([find(root, 'a').size, find(root, 'b').size]).toEqual([5, 3]);
    expect(data.get(find(root, 'a'))).toBe('newer');
    expect(find(root, 'a').linkKey).not.toBe(find(root, 'b').linkKey);
  });

  test('of symbolic links and devices, which images cannot join, are more of the same', async () => {
    const { root } = await treeOf(
      member({ name: 'a', type: TarType.symlink, linkName: 'there', uid: 5 }),
      member({ name: 'tty', type: TarType.character, devMajor: 5, devMinor: 1 }),
      link('b', 'a'),
      link('tty2', 'tty'),
    );
    const [a, b, tty2] = ['a', 'b', 'tty2'].map((path) => find(root, path));
    expect(b).toMatchObject({ mode: a!.mode, uid: 5, size: 5, target: Buffer.from('there') });
    expect(tty2).toMatchObject({ mode: find(root, 'tty').mode, rdev: 0x501 });
    assignInodes(root);
    expect([a!.nlink, b!.nlink]).toEqual([1, 1]);
  });

  test.each([
    ['of nothing', [link('b', 'a')], 'hard link to a, which the archive does not have before it'],
    ['of a directory', [directory('a'), link('b', 'a')], 'hard link to a, which is a directory'],
    ['out of the tree', [link('b', '../a')], "hard link target with '..' in it"],
  ])('%s are refused', async (_, parts, rule) => {
    await expect(treeOf(...parts)).rejects.toThrow(rule);
  });
});

describe('other entries', () => {
  test('devices have their number, a fifo none, everything else that of upstream', async () => {
    const device = { type: TarType.block, devMajor: 259, devMinor: 0x12345 };
    const { root } = await treeOf(
      member({ name: 'b', ...device }),
      member({ name: 'p', type: TarType.fifo, devMajor: 1 }),
      member({ name: 's', type: TarType.symlink, linkName: 'target' }),
      member({ name: 'f' }),
    );
    const byName = root.children.map(({ name, mode, rdev, size }) => [
      `${name}`,
      mode & 0o170000,
      rdev,
      size,
    ]);
    expect(byName).toEqual([
      ['b', 0o060000, 0x12310345, 0],
      ['f', 0o100000, 0xffffffff, 0],
      ['p', 0o010000, 0, 0],
      ['s', 0o120000, 0xffffffff, 6],
    ]);
  });

  test('of an eStargz layer for its own readers are left out, at the root only', async () => {
    const names = [
      'stargz.index.json',
      './.prefetch.landmark',
      '.no.prefetch.landmark',
      'd/.prefetch.landmark',
    ];
    const { root } = await treeOf(...names.map((name) => member({ name }, 'x')));
    expect(paths(root)).toEqual(['/', '/d', '/d/.prefetch.landmark']);
  });

  test('that are whiteouts stay: merging layers needs them', async () => {
    const { root } = await treeOf(member({ name: 'd/.wh.f' }), member({ name: 'd/.wh..wh..opq' }));
    expect(paths(root)).toEqual(['/', '/d', '/d/.wh..wh..opq', '/d/.wh.f']);
  });

  test('have times of whole seconds, rounded down, of pax rather than of the header', async () => {
    const { root } = await treeOf(
      paxMember([['mtime', '1700000000.75']]),
      member({ name: 'f', mtimeSec: 1_700_000_001 }),
    );
    expect(find(root, 'f')).toMatchObject({ mtimeSec: 1_700_000_000n, mtimeNs: 0 });
  });

  test.each([
    [
      'an attribute that images do not hold',
      member({ name: 'f', xattrs: [{ name: Buffer.from('system.nfs4_acl'), value: Buffer.alloc(1) }] }),
      'test.tar: /f: extended attribute system.nfs4_acl',
    ],
    ['an owner above 32 bits', member({ name: 'f', uid: 2 ** 32 }), 'owner 4294967296:0 does not fit'],
    ['a link to nowhere', member({ name: 'f', type: TarType.symlink }), 'without a target'],
    [
      'a link target no kernel takes',
      member({ name: 'f', type: TarType.symlink, linkName: 'x'.repeat(4096) }),
      'of more than 4095 bytes',
    ],
    [
      'a device number that does not fit',
      member({ name: 'f', type: TarType.character, devMajor: 4096 }),
      'device 4096:0',
    ],
  ])('with %s are refused', async (_, part, rule) => {
    await expect(treeOf(part)).rejects.toThrow(rule);
  });
});
