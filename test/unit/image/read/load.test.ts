import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ImageNode } from '../../../../src/image/model/node.ts';
import { loadImage } from '../../../../src/image/read/load.ts';
import { blobSpec } from '../../../../src/rafs/blob-spec.ts';
import { ExtendedInode } from '../../../../src/wire/rafs/inode-v6.ts';
import { ExtBlobV5 } from '../../../../src/wire/rafs/superblock-v5.ts';
import { DamagedImage } from '../../../support/damaged-image.ts';
import { sourceOf } from '../../../support/images.ts';
import { FIXTURES, imageNames } from '../../../support/rafs-fixtures.ts';

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'load-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function nodes(root: ImageNode): ImageNode[] {
  return [root, ...root.children.flatMap(nodes)];
}

/** Loads the image as it is now. */
function load(image: DamagedImage): ReturnType<typeof loadImage> {
  const path = join(dir, 'image.boot');
  writeFileSync(path, new Uint8Array(image.view.buffer));
  return loadImage(path);
}

test.each(imageNames(FIXTURES))('%s is read back with every entry, children in order', async (name) => {
  const { root, bootstrap } = await loadImage(sourceOf(FIXTURES, name));
  const all = nodes(root);
  const entries =
    bootstrap.version === 5 ? bootstrap.superblock.inodeTableEntries : bootstrap.superblock.inos;
  expect(all.length).toBe(entries);
  for (const { children } of all) {
    const names = children.map((child) => child.name);
    expect(names).toEqual(names.toSorted(Buffer.compare));
  }
});

test('names of one inode share its chunks and xattrs', async () => {
  const { root } = await loadImage(sourceOf(FIXTURES, 'v6-zstd-blake3'));
  const alias = nodes(root).filter(({ sourcePath }) => /alias|\/bin\/tool/.test(sourcePath.toString()));
  expect(alias.length).toBe(3);
  for (const { linkKey, chunks, xattrs } of alias) {
    expect(linkKey).toBe(alias[0]!.linkKey);
    expect(chunks).toBe(alias[0]!.chunks);
    expect(xattrs).toBe(alias[0]!.xattrs);
  }
});

test('the blob of an inlined bootstrap has the name of the file, also where an old builder wrote another id', async () => {
  const name = 'v5-inline-meta';
  const blob = readFileSync(sourceOf(FIXTURES, name));
  const { bootstrap } = new DamagedImage(name);
  const start = blob.indexOf(bootstrap.bytes.subarray(0, 8192));
  if (bootstrap.version === 6) throw new Error('v5 expected');
  const { blobTableOffset, extBlobTableOffset } = bootstrap.superblock;
  blob.fill('d', start + blobTableOffset + 8, start + blobTableOffset + 8 + 64);
  blob.writeUInt32LE(0, start + extBlobTableOffset + ExtBlobV5.features);
  const path = join(dir, 'c0ffee.blob');
  writeFileSync(path, blob);
  const loaded = await loadImage(path);
  expect(loaded.inlined).toBe(true);
  expect(loaded.bootstrap.blobs.map((row) => blobSpec(row, loaded.bootstrap, path).id)).toEqual(['c0ffee']);
});

describe('a hostile bootstrap', () => {
  test('whose directory is its own child is refused', async () => {
    const image = new DamagedImage('v6-merge3');
    const root = image.entry('/');
    // The root's entries trail its inode; the first two are the dots.
    const second = root.at + ExtendedInode.size + 2 * 12;
    image.view.setUint32(second, root.lo, true);
    await expect(load(image)).rejects.toMatchObject({
      code: 'IMAGE_DAMAGED',
      message: expect.stringMatching(/image\.boot: "\/a": a directory with two parents/),
    });
  });

  test('whose inodes claim the same bytes is refused', async () => {
    const image = new DamagedImage('v6-zstd-blake3');
    const { view, bootstrap } = image;
    for (let i = 0; i < 300; i++) {
      const { at } = image.entry(`/many/f${String(i).padStart(4, '0')}`);
      const room = Math.floor((bootstrap.bytes.length - at - 128) / 8);
      view.setUint32(at + ExtendedInode.fileSize, (room * bootstrap.chunkSize) % 2 ** 32, true);
      view.setUint32(
        at + ExtendedInode.fileSize + 4,
        Math.floor((room * bootstrap.chunkSize) / 2 ** 32),
        true,
      );
    }
    await expect(load(image)).rejects.toMatchObject({ code: 'IMAGE_DAMAGED' });
  });

  test('with a name twice among its xattrs is refused', async () => {
    const image = new DamagedImage('v6-batch');
    const { at } = image.entry('/x/many');
    const first = at + ExtendedInode.size + 12;
    // The names key0 and key1 … are of one length: the second becomes the first.
    const text = Buffer.from(image.view.buffer as ArrayBuffer).indexOf('key', first);
    const next = Buffer.from(image.view.buffer as ArrayBuffer).indexOf('key', text + 3);
    new Uint8Array(image.view.buffer).copyWithin(next, text, text + 5);
    await expect(load(image)).rejects.toMatchObject({
      message: expect.stringMatching(/"\/x\/many": xattr "user\.key\d+": twice/),
    });
  });
});
