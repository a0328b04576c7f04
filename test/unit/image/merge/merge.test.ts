import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { BootstrapOptions } from '../../../../src/image/bootstrap/options.ts';
import {
  type LayerBlob,
  type MergeOptions,
  type MergeResult,
  merge,
} from '../../../../src/image/merge/merge.ts';
import { FEATURES_V6 } from '../../../../src/image/model/blob.ts';
import type { ImageNode } from '../../../../src/image/model/node.ts';
import { type LoadedImage, loadImage } from '../../../../src/image/read/load.ts';
import { ChunkRecordLayout } from '../../../../src/wire/rafs/chunk.ts';
import { BlobFeature, SuperFlag, UNKNOWN_BLOB_ID } from '../../../../src/wire/rafs/flags.ts';
import { blobRow, directory, file, paths, writeLayer } from '../../../support/image-layers.ts';

let dir: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'merge-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

/** Writes a layer to a file named by its blob; returns its path. */
function layer(
  blobId: string,
  nodes: readonly ImageNode[],
  version: 5 | 6 = 6,
  changes: Partial<BootstrapOptions> = {},
): string {
  writeLayer(join(dir, blobId), directory('/', nodes), blobId, version, changes);
  return join(dir, blobId);
}

const output = (): string => join(dir, 'merged');

function run(
  layers: readonly string[],
  options: Partial<MergeOptions> = {},
  blobs: readonly LayerBlob[] = [],
): Promise<MergeResult> {
  return merge({
    layers: layers.map((path, i) => ({ path, blob: blobs[i] ?? {} })),
    bootstrap: { kind: 'file', path: output() },
    prefetchPatterns: [],
    ...options,
  });
}

async function merged(): Promise<LoadedImage> {
  return loadImage(output());
}

describe('blobs', () => {
  test('are numbered in the order in which the tree needs them; those that nothing needs are left out', async () => {
    const result = await run([
      layer('low', [file('z', 'low')]),
      layer('hidden', [file('y', 'hidden')]),
      layer('top', [file('.wh.y'), file('a', 'top')]),
    ]);
    expect(result.blobIds).toEqual(['top', 'low']);
    const image = await merged();
    expect(image.bootstrap.blobs.map(({ id }) => id)).toEqual(['top', 'low']);
    expect(image.root.children.map((node) => node.chunks[0]?.blobIndex)).toEqual([0, 1]);
  });

  test('the same chunk in two layers stays in both', async () => {
    await run([layer('low', [file('a', 'same')]), layer('top', [file('b', 'same')])]);
    expect((await merged()).root.children.map((node) => node.chunks[0]?.blobIndex)).toEqual([0, 1]);
  });

  test("take their ids from the files' names, less extensions, or from what is said of them", async () => {
    writeLayer(join(dir, 'named.image.boot'), directory('/', [file('a', 'x')]), 'stored');
    const path = join(dir, 'named.image.boot');
    expect((await run([path])).blobIds).toEqual(['named']);
    expect((await run([path], {}, [{ originalId: 'said' }])).blobIds).toEqual(['said']);
    const digest = 'AB'.repeat(32);
    const both = await run([path], {}, [{ originalId: 'said', digest }]);
    expect(both.blobIds).toEqual([digest.toLowerCase()]);
  });

  test('get the sizes and the digests of tables of contents that are said of them', async () => {
    await run([layer('low', [file('a', 'x')])], {}, [
      { size: 1234, tocSize: 1152, tocDigest: '07'.repeat(32) },
    ]);
    expect((await merged()).bootstrap.blobs[0]).toMatchObject({
      compressedSize: 1234,
      tocSize: 1152,
      tocDigest: new Uint8Array(32).fill(7),
    });
  });

  test('of a layer whose data is another object: digest and size are those of the object with chunk info', async () => {
    const features = FEATURES_V6 | BlobFeature.separate;
    const blobs = [blobRow('low', 1, { features, metaDigest: new Uint8Array(32), metaSize: 1 })];
    const path = layer('low', [file('a', 'x')], 6, { blobs });
    const result = await run([path], {}, [{ digest: '07'.repeat(32), size: 99 }]);
    expect(result.blobIds).toEqual(['low']);
    expect((await merged()).bootstrap.blobs[0]).toMatchObject({
      metaDigest: new Uint8Array(32).fill(7),
      metaSize: 99,
      compressedSize: 4096,
    });
  });

  test('that two layers share by their ids become one', async () => {
    const layers = [layer('low', [file('a', 'x')]), layer('top', [file('b', 'y')])];
    const digest = '07'.repeat(32);
    expect((await run(layers, {}, [{ digest }, { digest }])).blobIds).toEqual([digest]);
  });

  test('with an inlined bootstrap get a name, and lose the mark of it', async () => {
    const features = FEATURES_V6 | BlobFeature.inlinedFsMeta;
    const blobs = [blobRow(UNKNOWN_BLOB_ID, 1, { features })];
    const result = await run([layer('low', [file('a', 'x')], 6, { blobs })]);
    expect(result.blobIds).toEqual(['low']);
    expect((await merged()).bootstrap.blobs[0]).toMatchObject({ features: FEATURES_V6 });
  });

  test('a digest is not looked at where a layer has no blob, and refused where it is none', async () => {
    const said = [{ digest: '' }];
    await expect(run([layer('empty', [directory('d')])], {}, said)).resolves.toMatchObject({ blobIds: [] });
    await expect(run([layer('low', [file('a', 'x')])], {}, said)).rejects.toThrow('64 hexadecimal digits');
  });

  test('an id that v6 has no room for is refused', async () => {
    const path = layer('low', [file('a', 'x')]);
    for (const originalId of ['', 'x'.repeat(65)])
      await expect(run([path], {}, [{ originalId }])).rejects.toThrow(
        'must be a plain file name of 1 to 64 bytes',
      );
  });
});

describe('trees', () => {
  test('hard links do not cross layers, and count the names that are left', async () => {
    const linked = (link: string): ImageNode[] => [file('a', 'x', link), file('b', 'x', link)];
    await run([
      layer('low', linked('1')),
      layer('middle', [directory('d', linked('1'))]),
      layer('top', [file('b', 'new')]),
    ]);
    const [a, b, d] = (await merged()).root.children;
    expect([a, b, ...d!.children].map((node) => node!.nlink)).toEqual([1, 1, 2, 2]);
    expect(new Set([a, b, ...d!.children].map((node) => node!.linkKey)).size).toBe(3);
  });

  test("the lowest layer's whiteouts are not files of the image", async () => {
    // The original shows them; no container expects a file of such a name.
    await run([layer('low', [file('.wh.a'), directory('d', [file('.wh..wh..opq'), file('b')])])]);
    expect(paths((await merged()).root)).toEqual(['d/', 'd/b']);
  });

  test.each([5, 6] as const)('a parent is below the lowest layer (v%i)', async (version) => {
    const parent = layer('parent', [file('a', 'p'), file('b', 'p')], version);
    const top = layer('top', [file('.wh.b'), file('c', 't')], version);
    expect((await run([top], { parent })).blobIds).toEqual(['parent', 'top']);
    expect(paths((await merged()).root)).toEqual(['a', 'c']);
  });

  test('paths are read ahead as the merged tree has them', async () => {
    await run([layer('low', [file('a', 'x')]), layer('top', [file('.wh.a'), file('b', 'y')])], {
      prefetchPatterns: ['/a', '/b'],
    });
    const { bootstrap, root } = await merged();
    expect(bootstrap.prefetch.map(String)).toEqual([root.children[0]!.linkKey]);
  });
});

describe('the superblock', () => {
  test('takes algorithms and owners from the top layer, the summary its compressor from the lowest', async () => {
    const low = layer('low', [file('a', 'x')], 6, { compressor: 'zstd' });
    const top = layer('top', [file('b', 'y')], 6, { compressor: 'lz4_block', digester: 'blake3' });
    expect(await run([low, top])).toMatchObject({ compressor: 'zstd', fsVersion: 6 });
    const wanted = SuperFlag.compressorLz4Block | SuperFlag.digesterBlake3 | SuperFlag.explicitUidGid;
    expect((await merged()).bootstrap.flags & 0xdf).toBe(wanted);
  });

  test('of v6 always says that there are attributes, of v5 only if there are', async () => {
    await run([layer('low', [file('a', 'x')], 6)]);
    expect((await merged()).bootstrap.flags & SuperFlag.hasXattr).not.toBe(0);
    await run([layer('low', [file('a', 'x')], 5)]);
    expect((await merged()).bootstrap.flags & SuperFlag.hasXattr).toBe(0);
  });

  test("has the layers' chunk size even if no file has data", async () => {
    // The original then writes 1 MiB, with which it refuses the result as a parent of such layers.
    await run([layer('low', [directory('d')])]);
    expect((await merged()).bootstrap.chunkSize).toBe(0x1000);
  });
});

describe('what does not go together', () => {
  const incompatible: readonly [
    string,
    5 | 6,
    Partial<BootstrapOptions>,
    5 | 6,
    Partial<BootstrapOptions>,
  ][] = [
    ['--fs-version', 6, {}, 5, {}],
    ['--chunk-size', 6, {}, 6, { chunkSize: 0x2000 }],
    ['--repeatable', 6, {}, 6, { explicitUidGid: false }],
    ['--digester', 5, {}, 5, { digester: 'blake3' }],
  ];
  test.each(incompatible)('%s of two layers', async (flag, version, changes, other, others) => {
    const layers = [
      layer('low', [file('a', 'x')], version, changes),
      layer('top', [file('b', 'x')], other, others),
    ];
    const error: unknown = await run(layers).catch((cause: unknown) => cause);
    expect(error).toMatchObject({ code: 'IMAGE_INCOMPATIBLE' });
    expect((error as Error).message).toContain(flag);
    expect((error as Error).message).toContain(layers[1]);
    expect(readdirSync(dir)).not.toContain('merged');
  });

  test('layers and the dictionary', async () => {
    const low = layer('low', [file('a', 'x')]);
    const chunkDict = layer('dict', [file('a', 'x')], 6, { chunkSize: 0x2000 });
    await expect(run([low], { chunkDict })).rejects.toMatchObject({ code: 'IMAGE_INCOMPATIBLE' });
  });

  test('layers and the parent, owners apart', async () => {
    const low = layer('low', [file('a', 'x')]);
    const larger = layer('larger', [file('a', 'x')], 6, { chunkSize: 0x2000 });
    await expect(run([low], { parent: larger })).rejects.toMatchObject({ code: 'IMAGE_INCOMPATIBLE' });
    const ownerless = layer('ownerless', [file('a', 'x')], 6, { explicitUidGid: false });
    await expect(run([low], { parent: ownerless })).resolves.toBeDefined();
  });

  test('a layer with several blobs, unless the dictionary has the others', async () => {
    const chunkDict = layer('dict', [file('d', 'x')]);
    const blobs = [blobRow('dict'), blobRow('low')];
    const nodes = [file('a', 'x'), file('b', 'y', undefined, 1)];
    const low = layer('low', nodes, 6, { blobs });
    await expect(run([low])).rejects.toThrow('several data blobs (dict, low)');
    expect((await run([low], { chunkDict })).blobIds).toContain('dict');
  });

  test('no layer at all', async () => {
    await expect(run([])).rejects.toThrow('at least one bootstrap');
  });

  test('a layer whose files see different chunks under one number', async () => {
    const path = layer('low', [file('a', 'x'), file('b', 'y')], 5);
    const bytes = readFileSync(path);
    const record = bytes.indexOf(file('b', 'y').chunks[0]!.digest);
    bytes.writeUInt32LE(0, record + ChunkRecordLayout.index);
    writeFileSync(path, bytes);
    await expect(run([path])).rejects.toThrow('chunk 0: blob 0 chunk 0 is another one elsewhere');
  });

  test('a damaged layer is named', async () => {
    const path = layer('low', [file('a', 'x')]);
    const bytes = readFileSync(path);
    const bad = join(dir, 'bad');
    bytes.fill(0xff, 0x480, 0x484);
    writeFileSync(bad, bytes);
    await expect(run([path, bad])).rejects.toThrow(bad);
  });
});
