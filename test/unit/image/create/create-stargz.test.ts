import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createStargz } from '../../../../src/image/create/create-stargz.ts';
import { ImageError } from '../../../../src/image/model/error.ts';
import { type LoadedImage, loadImage } from '../../../../src/image/read/load.ts';
import { parseStargzIndex } from '../../../../src/image/source/archive/stargz-index.ts';

const DIGEST = `sha256:${'ab'.repeat(32)}`;
const OTHER = `sha256:${'cd'.repeat(32)}`;
const LAYER_SIZE = 100_000;
let dir: string;

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'stargz-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

type Entry = Readonly<Record<string, unknown>>;

function file(name: string, size: number, more: Entry = {}): Entry {
  return { name, type: 'reg', size, offset: 100, chunkDigest: DIGEST, digest: DIGEST, ...more };
}

async function build(entries: readonly Entry[], more: Entry = {}): Promise<LoadedImage> {
  const index = join(dir, 'index.json');
  writeFileSync(index, JSON.stringify({ version: 1, entries, ...more }));
  const out = mkdtempSync(join(dir, 'out-'));
  const result = await createStargz({
    index: Buffer.from(index),
    blobId: 'layer',
    blobSize: LAYER_SIZE,
    bootstrap: { kind: 'file', path: join(out, 'boot') },
    metaBlob: { kind: 'directory', path: out },
    blobToc: false,
    chunkSize: 0x1000,
    explicitUidGid: true,
    whiteoutSpec: 'oci',
    prefetchPatterns: [],
  }).catch((error: Error) => {
    expect(readdirSync(out)).toEqual([]);
    throw error;
  });
  expect(result.blobIds.every((id) => id === 'layer')).toBe(true);
  return loadImage(join(out, 'boot'));
}

async function refusal(entries: readonly Entry[], more?: Entry): Promise<string> {
  const error: unknown = await build(entries, more).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(ImageError);
  return (error as ImageError).message;
}

describe('an index of an eStargz layer', () => {
  test('becomes a tree with owners, times, attributes, devices and hard links', async () => {
    const { root } = await build([
      { name: 'd/', type: 'dir', mode: 0o700, uid: 7, gid: 8, modtime: '2023-11-15T22:13:20+01:00' },
      file('d/f', 10, { mode: 0o4755, xattrs: { 'user.a': Buffer.from('value').toString('base64') } }),
      { name: 'd/link', type: 'hardlink', linkName: 'd/f' },
      { name: 'sym', type: 'symlink', linkName: '../target' },
      { name: 'null', type: 'char', devMajor: 1, devMinor: 3, mode: 0o666 },
      { name: 'pipe', type: 'fifo' },
      // The layer's own files are no part of the tree.
      file('.no.prefetch.landmark', 1, { offset: 50 }),
      file('stargz.index.json', 5, { offset: 99_000 }),
    ]);
    expect(root.children.map(({ name }) => name.toString())).toEqual(['d', 'null', 'pipe', 'sym']);
    const [d, device, , sym] = root.children;
    expect(d).toMatchObject({ mode: 0o40700, uid: 7, gid: 8, mtimeSec: 1_700_082_800n });
    const [f, link] = d!.children;
    expect(f).toMatchObject({ mode: 0o104755, size: 10, nlink: 2 });
    expect(f!.xattrs).toEqual([{ name: Buffer.from('user.a'), value: Buffer.from('value') }]);
    expect(link!.linkKey).toBe(f!.linkKey);
    expect(f!.chunks).toMatchObject([{ compressedOffset: 100, uncompressedSize: 10, index: 0 }]);
    expect(sym!.target.toString()).toBe('../target');
    expect(device).toMatchObject({ rdev: 0x103 });
  });

  test('gives each chunk the bytes it can need, at most up to the next one', async () => {
    const { chunks, bootstrap } = await build([
      file('a', 0x1800, { offset: 100, chunkSize: 0x1000 }),
      { name: 'a', type: 'chunk', offset: 300, chunkOffset: 0x1000, chunkDigest: OTHER },
      file('b', 0x800, { offset: 99_999, chunkDigest: `sha256:${'ef'.repeat(32)}` }),
      // The same as the first chunk of a.
      file('c', 0x1000, { offset: 50_000 }),
      file('empty', 0, { chunkDigest: '', offset: 0 }),
    ]);
    const byIndex = [...chunks].sort((a, b) => a.index - b.index);
    expect(byIndex.map((chunk) => [chunk.compressedOffset, chunk.compressedSize])).toEqual([
      [100, 200],
      [300, 2 * 0x800 + 4096],
      [99_999, 1],
    ]);
    expect(bootstrap.blobs).toMatchObject([{ id: 'layer', compressedSize: LAYER_SIZE, compressor: 'gzip' }]);
  });

  test.each<[string, readonly Entry[], RegExp]>([
    [
      'a chunk without its file',
      [{ name: 'a', type: 'chunk', chunkOffset: 5, chunkDigest: DIGEST }],
      /does not follow its file/,
    ],
    [
      'a chunk of another file',
      [
        file('a', 0x1800, { chunkSize: 0x1000 }),
        { name: 'b', type: 'chunk', chunkOffset: 0x1000, chunkDigest: OTHER },
      ],
      /does not follow its file/,
    ],
    [
      'a file with too few chunks',
      [file('a', 0x1800, { chunkSize: 0x1000 })],
      /a: chunks have 4096 bytes, the file 6144/,
    ],
    [
      'a hole between chunks',
      [
        file('a', 0x3000, { chunkSize: 0x1000 }),
        { name: 'a', type: 'chunk', chunkOffset: 0x2000, offset: 200, chunkDigest: OTHER },
      ],
      /chunkOffset 8192, where 4096 is next/,
    ],
    [
      'a chunk beyond the file',
      [
        file('a', 0x1800, { chunkSize: 0x1000 }),
        { name: 'a', type: 'chunk', chunkOffset: 0x1000, chunkSize: 0x1000, offset: 200, chunkDigest: OTHER },
      ],
      /chunkSize 4096, where 2048 bytes are left/,
    ],
    ['chunks of another size', [file('a', 0x4000)], /give --chunk-size as the layer was made with/],
    [
      'chunks smaller than those of the image',
      [file('a', 0x1800, { chunkSize: 0x400 })],
      /give --chunk-size/,
    ],
    ['data without a digest', [file('a', 1, { chunkDigest: '' })], /a: no chunkDigest/],
    [
      'data behind the end of the layer',
      [file('a', 1, { offset: LAYER_SIZE })],
      /behind the layer's 100000 bytes/,
    ],
    [
      'two chunks at one place',
      [file('a', 1), file('b', 1, { chunkDigest: OTHER })],
      /two chunks at byte 100/,
    ],
    ['several files in a member', [file('a', 1, { innerOffset: 5 })], /innerOffset/],
    ['a path that comes twice', [file('a', 1), file('./a', 1)], /\/a: more than one entry/],
    ['a path out of the root', [{ name: '../x', type: 'dir' }], /'\.\.' in it/],
    ['a hard link to nothing', [{ name: 'x', type: 'hardlink', linkName: 'y' }], /does not have before it/],
    ['a symbolic link without a target', [{ name: 'x', type: 'symlink' }], /without a target/],
    [
      'an attribute which no image can hold',
      [{ name: 'x', type: 'dir', xattrs: { 'system.odd': '' } }],
      /system\.odd/,
    ],
  ])('is refused with %s', async (_, entries, message) => {
    expect(await refusal(entries)).toMatch(message);
  });

  test.each<[string, string, RegExp]>([
    ['no JSON', '{"version":1', /JSON/],
    ['bytes that are not UTF-8', 'bytes', /not an index/],
    ['another version', '{"version":2,"entries":[{"name":"a","type":"dir"}]}', /version: only version 1/],
    ['no entries', '{"version":1,"entries":[]}', /entries: must not be empty/],
    ['an array', '[]', /document: /],
    ['an unknown type', '{"version":1,"entries":[{"name":"a","type":"door"}]}', /entries\.0\.type/],
    [
      'a size that is no number',
      '{"version":1,"entries":[{"name":"a","type":"reg","size":"1"}]}',
      /entries\.0\.size/,
    ],
    [
      'a negative offset',
      '{"version":1,"entries":[{"name":"a","type":"reg","offset":-1}]}',
      /entries\.0\.offset/,
    ],
    [
      'a size beyond 2^53',
      '{"version":1,"entries":[{"name":"a","type":"reg","size":1e300}]}',
      /entries\.0\.size/,
    ],
    [
      'an owner of 33 bits',
      '{"version":1,"entries":[{"name":"a","type":"dir","uid":4294967296}]}',
      /must fit 32 bits/,
    ],
    [
      'a short digest',
      '{"version":1,"entries":[{"name":"a","type":"reg","chunkDigest":"sha256:ab"}]}',
      /chunkDigest/,
    ],
    [
      'an attribute that is no base64',
      '{"version":1,"entries":[{"name":"a","type":"dir","xattrs":{"user.a":"*"}}]}',
      /base64/,
    ],
    [
      'a time that is none',
      '{"version":1,"entries":[{"name":"a","type":"dir","modtime":"yesterday"}]}',
      /modtime/,
    ],
    ['an empty name', '{"version":1,"entries":[{"name":"","type":"dir"}]}', /must not be empty/],
  ])('is refused if it is %s', (_, text, message) => {
    const bytes = text === 'bytes' ? Buffer.from([0xff, 0xfe]) : Buffer.from(text);
    expect(() => parseStargzIndex(bytes, 'index.json')).toThrow(message);
    expect(() => parseStargzIndex(bytes, 'index.json')).toThrow(/^index\.json: /);
  });

  test('names only the first of many faults', () => {
    const entries = Array.from({ length: 50 }, () => ({ name: 'a', type: 'door' }));
    const bytes = Buffer.from(JSON.stringify({ version: 1, entries }));
    expect(() => parseStargzIndex(bytes, 'i')).toThrow(/; and 47 more/);
  });
});
