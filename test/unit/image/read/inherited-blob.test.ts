import { copyFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readTocDigest } from '../../../../src/blob/toc.ts';
import { merge } from '../../../../src/image/merge/merge.ts';
import {
  blobIdOfPath,
  effectiveBlobId,
  inheritBlob,
  inheritBlobOfFile,
} from '../../../../src/image/read/inherited-blob.ts';
import { type LoadedImage, loadImage } from '../../../../src/image/read/load.ts';
import { LocalfsSource } from '../../../../src/source/localfs.ts';
import { BlobFeature, UNKNOWN_BLOB_ID } from '../../../../src/wire/rafs/flags.ts';
import { blobRow, directory, file, writeLayer } from '../../../support/image-layers.ts';
import { sourceOf } from '../../../support/images.ts';
import { FIXTURES } from '../../../support/rafs-fixtures.ts';

let dir: string;
let blobs: LocalfsSource;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'merge-blobs-'));
  blobs = new LocalfsSource({ dir });
});
afterEach(async () => {
  await blobs.close();
  rmSync(dir, { recursive: true, force: true });
});

test.each([
  ['/x/abc', 'abc'],
  ['abc.boot', 'abc'],
  ['abc.image.boot', 'abc'],
  ['./abc/', 'abc'],
  ['.hidden', '.hidden'],
  ['.hidden.boot', '.hidden'],
  ['abc.', 'abc'],
])('the name of %s is %s', (path, id) => {
  expect(blobIdOfPath(path)).toBe(id);
});

test.each(['', '/', '.', '..', 'x/..'])('%j names no blob', (path) => {
  expect(() => blobIdOfPath(path)).toThrow('must be the id of its blob');
});

describe('the id of a blob', () => {
  async function image(features: number): Promise<LoadedImage> {
    const row = blobRow('stored', 1, { features });
    writeLayer(join(dir, 'name.boot'), directory('/', [file('a', 'x')]), 'stored', 6, { blobs: [row] });
    return loadImage(join(dir, 'name.boot'));
  }
  const { aligned, capTarToc, inlinedFsMeta, separate } = BlobFeature;

  test.each([
    { what: 'is the stored one', features: aligned | capTarToc, id: 'stored' },
    {
      what: "is the file's name if the bootstrap was inlined",
      features: aligned | capTarToc | inlinedFsMeta,
      id: 'name',
    },
    {
      what: 'is the stored one if the bootstrap was inlined in another object',
      features: aligned | capTarToc | inlinedFsMeta | separate,
      id: 'stored',
    },
    { what: 'is the stored one in an old image of two files', features: aligned, id: 'stored' },
    {
      what: "is the file's name in an old inlined one",
      features: aligned | inlinedFsMeta | separate,
      id: 'name',
    },
  ])('$what', async ({ features, id }) => {
    const loaded = await image(features);
    expect(effectiveBlobId(loaded, loaded.bootstrap.blobs[0]!)).toBe(id);
  });
});

describe('a blob with its bootstrap at its end', () => {
  const name = readFileSync(join(FIXTURES, 'images/v6-toc-inline/inline'), 'utf8').trim();

  async function load(): Promise<LoadedImage> {
    copyFileSync(sourceOf(FIXTURES, 'v6-toc-inline'), join(dir, name));
    const image = await loadImage(join(dir, name));
    expect(image.bootstrap.blobs[0]).toMatchObject({ id: UNKNOWN_BLOB_ID, tocSize: 0 });
    return image;
  }

  test('lends its name, and its size and table of contents if it can be looked at', async () => {
    const image = await load();
    const row = image.bootstrap.blobs[0]!;
    const features = row.features & ~BlobFeature.inlinedFsMeta;
    expect(await inheritBlob(image, row, null)).toMatchObject({ id: name, features, tocSize: 0 });
    const toc = (await readTocDigest(blobs, name))!;
    const whole = {
      id: name,
      features,
      compressedSize: readFileSync(image.path).length,
      tocSize: toc.size,
      tocDigest: toc.digest,
    };
    expect(toc.size).toBeGreaterThan(512);
    expect(await inheritBlob(image, row, blobs)).toMatchObject(whole);
    expect(await inheritBlobOfFile(image, row, null)).toMatchObject(whole);
  });

  test('is found under its name by a merge that knows where blobs are', async () => {
    const image = await load();
    const bootstrap = { kind: 'file', path: join(dir, 'merged') } as const;
    const layers = [{ path: image.path, blob: { originalId: 'not-believed' } }];
    expect(await merge({ layers, bootstrap, prefetchPatterns: [], blobs })).toMatchObject({
      blobIds: [name],
    });
    const { compressedSize, tocSize } = (await loadImage(bootstrap.path)).bootstrap.blobs[0]!;
    expect(compressedSize).toBe(readFileSync(image.path).length);
    expect(tocSize).toBeGreaterThan(512);
  });

  test('that is not there is named', async () => {
    const image = await load();
    rmSync(image.path);
    await expect(inheritBlob(image, image.bootstrap.blobs[0]!, blobs)).rejects.toThrow(name);
  });
});

test('a blob without a table of contents has no digest of one', async () => {
  copyFileSync(sourceOf(FIXTURES, 'v6-merge3'), join(dir, 'plain'));
  expect(await readTocDigest(blobs, 'plain')).toBeNull();
});
