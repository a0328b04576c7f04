import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { BlobTable } from '../../../../src/image/create/blob-table.ts';
import { BLOBS_MAX_V6 } from '../../../../src/image/model/blob.ts';
import { type LoadedImage, loadImage } from '../../../../src/image/read/load.ts';
import { blobRow, directory, file, writeLayer } from '../../../support/image-layers.ts';

let dir: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'dict-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

async function image(name: string, contents: readonly string[], blobId = name): Promise<LoadedImage> {
  const files = contents.map((text, i) => file(`f${i}`, text));
  writeLayer(join(dir, name), directory('/', files), blobId);
  return loadImage(join(dir, name));
}

function table(images: {
  parent?: LoadedImage;
  dictionary?: LoadedImage;
  digester?: 'blake3';
  fsVersion?: 5;
}): Promise<BlobTable> {
  return BlobTable.of({ parent: null, dictionary: null, digester: 'sha256', fsVersion: 6, ...images }, null);
}

const digestOf = (content: string): Buffer => file('f', content).chunks[0]!.digest;
const SIZE = 100;
const own = blobRow('own');

test('the parent comes first, dictionary and new blob in the order of their first use', async () => {
  const parent = await image('parent', ['p']);
  const dictionary = await image('dictionary', ['d']);
  const first = await table({ parent, dictionary });
  expect(first.find(digestOf('d'), SIZE)).toMatchObject({ blobIndex: 1 });
  expect(first.ownIndex()).toBe(2);
  expect(first.rows(own).map(({ id }) => id)).toEqual(['parent', 'dictionary', 'own']);

  const second = await table({ parent, dictionary });
  expect(second.ownIndex()).toBe(1);
  expect(second.find(digestOf('d'), SIZE)).toMatchObject({ blobIndex: 2 });
  expect(second.rows(own).map(({ id }) => id)).toEqual(['parent', 'own', 'dictionary']);
});

test("a parent's blobs are kept without being used, a dictionary's are not", async () => {
  const unused = await table({ parent: await image('parent', ['p']), dictionary: await image('d', ['d']) });
  expect(unused.rows(null).map(({ id }) => id)).toEqual(['parent']);
});

test('the dictionary is asked before the parent', async () => {
  const both = await table({ parent: await image('parent', ['x']), dictionary: await image('d', ['x']) });
  expect(both.find(digestOf('x'), SIZE)).toMatchObject({ blobIndex: 1 });
});

test('a blob that the parent and the dictionary share is one row', async () => {
  const parent = await image('parent', ['x'], 'shared');
  const both = await table({ parent, dictionary: await image('d', ['x', 'y'], 'shared') });
  expect(both.find(digestOf('y'), SIZE)).toMatchObject({ blobIndex: 0 });
  expect(both.rows(null).map(({ id }) => id)).toEqual(['shared']);
});

test('a digest is found with its size and of its algorithm only', async () => {
  const parent = await image('parent', ['x']);
  expect((await table({ parent })).find(digestOf('x'), SIZE)).toBeDefined();
  expect((await table({ parent })).find(digestOf('x'), SIZE - 1)).toBeUndefined();
  expect((await table({ parent })).find(digestOf('y'), SIZE)).toBeUndefined();
  expect((await table({ parent, digester: 'blake3' })).find(digestOf('x'), SIZE)).toBeUndefined();
});

test('v6 has room for 254 blobs; v5 for more', async () => {
  const blobs = Array.from({ length: BLOBS_MAX_V6 }, (_, i) => blobRow(`b${i}`));
  writeLayer(join(dir, 'many'), directory('/', [file('a', 'x')]), 'b0', 6, { blobs });
  const parent = await loadImage(join(dir, 'many'));
  const full = await table({ parent });
  expect(full.find(digestOf('x'), SIZE)).toMatchObject({ blobIndex: 0 });
  expect(() => full.ownIndex()).toThrow('254 data blobs');
  expect((await table({ parent, fsVersion: 5 })).ownIndex()).toBe(BLOBS_MAX_V6);
});
