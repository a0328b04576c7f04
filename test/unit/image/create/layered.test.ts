import { existsSync, linkSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type CreateOptions, type CreateResult, create } from '../../../../src/image/create/create.ts';
import { loadImage } from '../../../../src/image/read/load.ts';
import { directorySource } from '../../../../src/image/source/directory.ts';
import { paths } from '../../../support/image-layers.ts';

let dir: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'layered-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

/** Builds an image `name` of files with the given contents. */
function image(
  name: string,
  files: Readonly<Record<string, string>>,
  changes: Partial<CreateOptions> = {},
): Promise<CreateResult> {
  const source = join(dir, `${name}-source`);
  mkdirSync(source);
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(join(source, path, '..'), { recursive: true });
    writeFileSync(join(source, path), content);
  }
  return build(name, source, changes);
}

function build(name: string, source: string, changes: Partial<CreateOptions> = {}): Promise<CreateResult> {
  return create({
    source: directorySource(Buffer.from(source)),
    fsVersion: 6,
    compressor: 'none',
    digester: 'blake3',
    chunkSize: 0x1000,
    bootstrap: { kind: 'file', path: boot(name) },
    blob: { kind: 'directory', path: join(dir, 'blobs') },
    explicitUidGid: true,
    whiteoutSpec: 'oci',
    prefetchPatterns: [],
    ...changes,
  });
}

const boot = (name: string): string => join(dir, name);

async function treeOf(name: string): Promise<string[]> {
  return paths((await loadImage(boot(name))).root);
}

/** Contents by path are told by where their chunks are. */
async function blobsOf(name: string): Promise<Record<string, string | undefined>> {
  const { root, bootstrap } = await loadImage(boot(name));
  return Object.fromEntries(
    root.children.map((node) => {
      const chunk = node.chunks[0];
      return [node.name.toString(), chunk && bootstrap.blobs[chunk.blobIndex]!.id];
    }),
  );
}

describe.each([5, 6] as const)('on a parent (v%i)', (fsVersion) => {
  const upon = { fsVersion, parent: '' };

  beforeEach(() => {
    upon.parent = boot('low');
  });

  test('the tree is laid over it, whiteouts applied', async () => {
    await image('low', { a: '1', 'd/x': '2', 'd/y': '3', 'e/z': '4' }, { fsVersion });
    await image('top', { '.wh.a': '', 'd/.wh.x': '', 'd/n': '5', 'e/.wh..wh..opq': '' }, upon);
    expect(await treeOf('top')).toEqual(['d/', 'd/n', 'd/y', 'e/']);
  });

  test('without a specification whiteouts are files', async () => {
    await image('low', { a: '1' }, { fsVersion });
    await image('top', { '.wh.a': '' }, { ...upon, whiteoutSpec: 'none' });
    expect(await treeOf('top')).toEqual(['.wh.a', 'a']);
  });

  test('chunks it has are not stored again, also those of files that are gone; its blobs are kept', async () => {
    const low = await image('low', { a: 'same', b: 'low' }, { fsVersion });
    const top = await image('top', { '.wh.a': '', c: 'same', d: 'new' }, upon);
    expect(top).toMatchObject({ blobIds: [low.blobId, top.blobId], chunks: 1, duplicateChunks: 1 });
    expect(await blobsOf('top')).toEqual({ b: low.blobId, c: low.blobId, d: top.blobId });

    const same = await image('same', { a: 'low' }, upon);
    expect(same).toMatchObject({ blobIds: [low.blobId], blobId: null, blobSize: 0 });
    expect(readdirSync(join(dir, 'blobs')).sort()).toEqual([low.blobId, top.blobId].sort());

    const empty = await image('empty', { '.wh.a': '', '.wh.b': '' }, upon);
    expect(empty.blobIds).toEqual([low.blobId]);
  });

  test('names of one file in both layers are two files', async () => {
    const shared = join(dir, 'shared');
    mkdirSync(shared);
    writeFileSync(join(shared, 'a'), 'x');
    await build('low', shared, { fsVersion });
    linkSync(join(shared, 'a'), join(shared, 'b'));
    rmSync(join(shared, 'a'));
    writeFileSync(join(shared, 'c'), 'x');
    await build('top', shared, upon);
    const { root } = await loadImage(boot('top'));
    expect(root.children.map((node) => [node.name.toString(), node.nlink])).toEqual([
      ['a', 1],
      ['b', 1],
      ['c', 1],
    ]);
  });

  test('paths are read ahead in both layers; only what is new is moved', async () => {
    await image('low', { a: 'low' }, { fsVersion });
    const top = await image('top', { b: 'new 1', c: 'new 2' }, { ...upon, prefetchPatterns: ['/a', '/c'] });
    const { bootstrap, root } = await loadImage(boot('top'));
    const numbers = root.children.map((node) => Number(node.linkKey));
    expect(bootstrap.prefetch).toEqual([numbers[0], numbers[2]]);
    expect(root.children.map((node) => node.chunks[0]!.index)).toEqual([0, 1, 0]);
    expect(top.dataSize).toBe(10);
  });

  test.each<[string, Partial<CreateOptions>]>([
    ['--chunk-size', { chunkSize: 0x2000 }],
    ['--repeatable', { explicitUidGid: false }],
    ['--fs-version', { fsVersion: fsVersion === 5 ? 6 : 5 }],
  ])('a build with another %s is refused and leaves nothing', async (flag, changes) => {
    await image('low', { a: '1' }, { fsVersion });
    const blobs = readdirSync(join(dir, 'blobs'));
    const error: unknown = await image('top', { b: '2' }, { ...upon, ...changes }).catch((cause) => cause);
    expect(error).toMatchObject({ code: 'IMAGE_INCOMPATIBLE' });
    expect((error as Error).message).toContain(flag);
    expect((error as Error).message).toContain(boot('low'));
    expect(existsSync(boot('top'))).toBe(false);
    expect(readdirSync(join(dir, 'blobs'))).toEqual(blobs);
  });
});

test('v5 digests files, so that a parent must have the same digester; v6 then only finds no chunks', async () => {
  await image('low5', { a: '1' }, { fsVersion: 5 });
  await expect(
    image('top5', { b: '1' }, { fsVersion: 5, parent: boot('low5'), digester: 'sha256' }),
  ).rejects.toMatchObject({ code: 'IMAGE_INCOMPATIBLE' });
  await image('low6', { a: '1' });
  const top = await image('top6', { b: '1' }, { parent: boot('low6'), digester: 'sha256' });
  expect(top).toMatchObject({ chunks: 1, duplicateChunks: 0 });
});

test('the head of a v5 blob that is read ahead holds no chunk of another blob', async () => {
  await image('low', { a: 'x'.repeat(4096).concat('low') }, { fsVersion: 5 });
  const options = {
    fsVersion: 5,
    parent: boot('low'),
    prefetchPolicy: 'blob',
    prefetchPatterns: ['/'],
  } as const;
  await image('top', { b: 'x'.repeat(4096).concat('low'), c: 'new' }, options);
  expect((await loadImage(boot('top'))).bootstrap.blobs.map((row) => row.readaheadSize)).toEqual([0, 3]);
});

test('a dictionary lends chunks and shows nothing', async () => {
  const dictionary = await image('dict', { a: 'shared', b: 'unused' });
  const top = await image('top', { c: 'own', d: 'shared' }, { chunkDict: boot('dict') });
  expect(top.blobIds).toEqual([top.blobId, dictionary.blobId]);
  expect(await blobsOf('top')).toEqual({ c: top.blobId, d: dictionary.blobId });
  const unrelated = await image('unrelated', { c: 'other' }, { chunkDict: boot('dict') });
  expect(unrelated.blobIds).toEqual([unrelated.blobId]);
});

test('a bootstrap at the end of the blob names the blobs of other images, too', async () => {
  const low = await image('low', { a: '1' });
  const top = await image('top', { b: '2' }, { parent: boot('low'), bootstrap: null });
  expect(top.blobIds).toEqual([low.blobId, top.blobId]);
  const upon = await image('third', { c: '3' }, { parent: join(dir, 'blobs', top.blobId!) });
  expect(upon.blobIds).toEqual([low.blobId, top.blobId, upon.blobId]);
  const rows = (await loadImage(boot('third'))).bootstrap.blobs;
  expect(rows[1]).toMatchObject({ id: top.blobId, compressedSize: top.blobSize });
});
