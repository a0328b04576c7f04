/**
 * Layers become images: merged, built on a parent, built with a dictionary; mounted and compared with what the original
 * showed.
 */
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { build, missingInputs, recipeOf } from '../support/fixture-builds.ts';
import { directory, file, writeLayer } from '../support/image-layers.ts';
import { FIXTURES } from '../support/rafs-fixtures.ts';
import { expectMounted, type Run, runImage } from '../support/rewritten.ts';

const fixtures = process.env.NYDUS_FIXTURES;
const isRoot = process.getuid?.() === 0;
/** Lowest first. */
const LAYERS = ['lower', 'upper', 'top'];
let work: string;
let tars: readonly string[];

beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), 'image-merge-'));
  tars = LAYERS.map((layer) => {
    const path = join(work, `${layer}.tar`);
    writeFileSync(path, gunzipSync(readFileSync(join(FIXTURES, 'sources', `${layer}.tar.gz`))));
    return path;
  });
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

function succeed(args: readonly string[]): Run {
  const run = runImage(args);
  expect(run, args.join(' ')).toMatchObject({ code: 0, stderr: '' });
  return run;
}

/** A collection of images whose blobs are in one directory. */
class Collection {
  readonly path: string;
  readonly blobs: string;

  constructor(name: string) {
    this.path = join(work, name);
    this.blobs = join(this.path, 'blobs');
    mkdirSync(this.blobs, { recursive: true });
    symlinkSync(join(FIXTURES, 'manifests'), join(this.path, 'manifests'));
  }

  /** Where the bootstrap of image `name` goes, which is to show what `manifest` says. */
  image(name: string, manifest: string): string {
    mkdirSync(join(this.path, 'images', name), { recursive: true });
    writeFileSync(join(this.path, 'images', name, 'manifest'), manifest);
    return join(this.path, 'images', name, 'image.boot');
  }

  /** Builds a layer; returns its bootstrap, named by its blob, or the blob that ends with it. */
  layer(tar: string, args: readonly string[], type = 'tar-rafs'): string {
    const before = readdirSync(this.blobs);
    const boot = join(this.path, 'layer.boot');
    const inline = args.includes('--blob-inline-meta');
    succeed(['create', '-t', type, ...args, ...(inline ? [] : ['-B', boot]), '-D', this.blobs, tar]);
    const isBlob = type !== 'tar-rafs';
    const id = isBlob ? sha256(tar) : readdirSync(this.blobs).find((name) => !before.includes(name))!;
    if (isBlob) copyFileSync(tar, join(this.blobs, id));
    if (inline) return join(this.blobs, id);
    const named = join(this.path, `${id}.boot`);
    renameSync(boot, named);
    return named;
  }
}

function sha256(path: string): string {
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}

describe('images of three layers are what the original merged', () => {
  test.each([
    { name: 'v5', args: ['-v', '5', '--compressor', 'lz4_block'], manifest: 'v5-merge3' },
    { name: 'v6', args: ['--chunk-size', '0x10000'], manifest: 'v6-merge3' },
    { name: 'v6-batch', args: ['--batch-size', '0x10000'], manifest: 'v6-merge3' },
    { name: 'v6-encrypt', args: ['--encrypt'], manifest: 'v6-merge3' },
    { name: 'v5-inline', args: ['-v', '5', '--blob-inline-meta'], manifest: 'v5-merge3' },
    {
      name: 'v6-toc-inline',
      args: ['--blob-inline-meta', '--features', 'blob-toc'],
      manifest: 'v6-merge3',
    },
  ])('merged: $name', async ({ name, args, manifest }) => {
    const collection = new Collection(`merged-${name}`);
    const layers = tars.map((tar) => collection.layer(tar, args));
    succeed(['merge', '-B', collection.image(name, manifest), ...layers]);
    await expectMounted(collection.path, [name]);
  });

  test.each(['targz-ref', 'tar-tarfs'])('merged, the tars being their blobs: %s', async (type) => {
    const collection = new Collection(`merged-${type}`);
    const layers = tars.map((tar) => collection.layer(tar, [], type));
    succeed(['merge', '-B', collection.image(type, 'v6-merge3'), ...layers]);
    await expectMounted(collection.path, [type], type !== 'tar-tarfs');
  });

  test.each([5, 6])('each built on the one below, as tars (v%i)', async (version) => {
    const collection = new Collection(`parent-v${version}`);
    const args = ['-v', `${version}`, '-D', collection.blobs, '-t', 'tar-rafs'];
    let parent: string[] = [];
    for (const tar of tars) {
      const boot = tar.endsWith('top.tar')
        ? collection.image('top', `v${version}-merge3`)
        : join(collection.path, `${tar.replace(/.*\//, '')}.boot`);
      succeed(['create', ...args, ...parent, '-B', boot, tar]);
      parent = ['--parent-bootstrap', boot];
    }
    await expectMounted(collection.path, ['top']);
  });

  test.each([5, 6])('built with the lowest as dictionary, and merged with it (v%i)', async (version) => {
    const collection = new Collection(`dict-v${version}`);
    const args = ['-v', `${version}`];
    const dict = collection.layer(tars[0]!, args);
    const before = readdirSync(collection.blobs).length;
    const uppers = tars.slice(1).map((tar) => collection.layer(tar, [...args, '--chunk-dict', dict]));
    expect(readdirSync(collection.blobs).length).toBe(before + 2);
    const boot = collection.image('merged', `v${version}-merge3`);
    const refused = runImage(['merge', '-B', boot, dict, ...uppers]);
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('several data blobs') });
    succeed(['merge', '-B', boot, '--chunk-dict', `bootstrap=${dict}`, dict, ...uppers]);
    await expectMounted(collection.path, ['merged']);
  });

  test('a merged image as the parent of a further layer', async () => {
    const collection = new Collection('upon-merged');
    const layers = tars.slice(0, 2).map((tar) => collection.layer(tar, []));
    const parent = join(collection.path, 'parent.boot');
    succeed(['merge', '-B', parent, ...layers]);
    const top = collection.layer(tars[2]!, []);
    succeed(['merge', '-B', collection.image('merged', 'v6-merge3'), '--parent-bootstrap', parent, top]);
    const places = ['-B', collection.image('created', 'v6-merge3'), '-D', collection.blobs];
    succeed(['create', '-t', 'tar-rafs', '--parent-bootstrap', parent, ...places, tars[2]!]);
    await expectMounted(collection.path, ['merged', 'created']);
  });
});

const NAMES = ['v5-dict', 'v6-dict', 'v5-parent', 'v6-parent', 'v5-merge3', 'v6-merge3', 'v6-merge-dict'];

describe.skipIf(fixtures === undefined || !isRoot)(
  'the fixtures of several layers (skipped unless NYDUS_FIXTURES is set and root unpacks trees)',
  () => {
    test('built anew, each is equal to its manifest when mounted', async () => {
      const root = fixtures!;
      const out = join(work, 'fixtures');
      mkdirSync(join(out, 'blobs'), { recursive: true });
      symlinkSync(join(root, 'manifests'), join(out, 'manifests'));
      for (const name of NAMES) {
        expect(missingInputs(root, recipeOf(root, name))).toEqual([]);
        const { place, code } = build(root, name, join(work, 'builds'));
        expect(code, name).toBe(0);
        mkdirSync(join(out, 'images', name), { recursive: true });
        symlinkSync(place.bootstrap, join(out, 'images', name, 'image.boot'));
        symlinkSync(join(root, 'images', name, 'manifest'), join(out, 'images', name, 'manifest'));
        for (const dir of place.blobDirs) {
          for (const id of existsSync(dir) ? readdirSync(dir) : []) {
            if (!existsSync(join(out, 'blobs', id))) symlinkSync(join(dir, id), join(out, 'blobs', id));
          }
        }
      }
      await expectMounted(out, NAMES);
    }, 120_000);
  },
);

describe('the command', () => {
  let low: string;
  let top: string;

  beforeAll(() => {
    low = join(work, 'low');
    top = join(work, 'top');
    writeLayer(low, directory('/', [file('a', 'x')]), 'low');
    writeLayer(top, directory('/', [file('b', 'y')]), 'top');
  });

  const boot = (): string => join(work, 'command.boot');

  test('writes a summary for scripts', () => {
    const json = join(work, 'command.json');
    const { stdout } = succeed(['merge', '-B', boot(), '-J', json, low, top]);
    expect(stdout).toContain('low');
    expect(JSON.parse(readFileSync(json, 'utf8'))).toMatchObject({
      bootstrap: boot(),
      blobs: ['low', 'top'],
      external_bootstrap: '',
      external_blobs: [],
      fs_version: '6',
      compressor: 'none',
    });
  });

  test('names the bootstrap by its SHA-256 in --blob-dir, which must be there', () => {
    const dir = join(work, 'out');
    expect(runImage(['merge', '-D', dir, low])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('make it first'),
    });
    mkdirSync(dir);
    succeed(['merge', '-D', dir, low]);
    expect(readdirSync(dir)).toEqual([expect.stringMatching(/^[0-9a-f]{64}$/)]);
  });

  test('ends with 2 when layers do not go together', () => {
    const other = join(work, 'other');
    writeLayer(other, directory('/', [file('b', 'y')]), 'other', 5);
    const target = join(work, 'incompatible.boot');
    const run = runImage(['merge', '-B', target, low, other]);
    expect(run).toMatchObject({ code: 2, stdout: '', stderr: expect.stringContaining(other) });
    expect(existsSync(target)).toBe(false);
  });

  test.each([
    [['merge', '-B', 'x'], 2, "missing required argument 'sources'"],
    [['merge', 'nowhere'], 1, '--bootstrap or --blob-dir'],
    [['merge', '-B', 'x', 'nowhere'], 1, 'nowhere'],
    [['merge', '-B', 'x', '--blob-sizes', '1,2', 'nowhere'], 1, '--blob-sizes has 2 items for 1 sources'],
    [['merge', '-B', 'x', '--blob-sizes', '1k', 'nowhere'], 1, '--blob-sizes: "1k" must be a decimal number'],
    [['merge', '-B', 'x', '--blob-toc-sizes', '4294967296', 'nowhere'], 1, 'at most 4294967295'],
    [['merge', '-B', 'x', '--chunk-dict', 'boltdb=d', 'nowhere'], 1, 'must be bootstrap=FILE'],
    [['merge', '-B', 'x', '--prefetch-policy', 'all', 'nowhere'], 2, 'prefetch-policy'],
  ])('refuses %j', (args, code, message) => {
    expect(runImage(args as string[])).toMatchObject({
      code,
      stderr: expect.stringContaining(message as string),
    });
  });

  test('explains itself', () => {
    const { stdout } = succeed(['merge', '--help']);
    for (const word of ['--parent-bootstrap', '--blob-toc-sizes', 'Examples:', 'Exit status: 0'])
      expect(stdout).toContain(word);
  });
});
