/**
 * `nydus-image optimize` on images of the original: what it writes is mounted and compared with the image's manifest.
 */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { digest } from '../../src/lib/content-hash.ts';
import { openBootstrap } from '../../src/rafs/open-bootstrap.ts';
import { missingBlobs, sourceOf } from '../support/images.ts';
import { FIXTURES, imageNames } from '../support/rafs-fixtures.ts';
import { expectMounted, type Rewritten, rewrite, runImage } from '../support/rewritten.ts';

const all = process.env.NYDUS_FIXTURES;
let dir: string;

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'image-optimize-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function listOf(files: readonly object[]): string {
  const path = join(dir, `access-${files.length}.json`);
  writeFileSync(path, JSON.stringify({ version: 'v1', files }));
  return path;
}

function optimize(root: string, name: string, out: string, files: readonly object[]): Rewritten {
  return rewrite(root, name, out, (source, blobDir) => [
    ...['optimize', '-B', source, '-D', blobDir, '--output-blob-dir', blobDir, '-p', listOf(files)],
  ]);
}

/**
 * Files of the trees that the fixtures are made of: parts of files, a hard link, equal chunks, a directory, one that is
 * nowhere, one twice.
 */
const ACCESS = [
  { path: '/text-0655359', ranges: [[70000, 10]] },
  { path: '/mix' },
  { path: '/same-chunk-many-times' },
  { path: '/zz-same' },
  {
    path: '/zeros',
    ranges: [
      [0, 1],
      [3145700, 5],
    ],
  },
  { path: '/bin/alias' },
  { path: '/bin/tool' },
  { path: '/dup/a' },
  { path: '/dup' },
  { path: '/nowhere' },
  { path: '/mix' },
];

describe.each([
  { name: 'the repository', root: FIXTURES, skip: false },
  { name: 'NYDUS_FIXTURES (skipped when unset)', root: all ?? '', skip: all === undefined },
])('the images of $name', ({ name: collection, root, skip }) => {
  test.skipIf(skip)(
    'optimized, mounted at once, each is equal to its manifest; tarfs says why it cannot be',
    async () => {
      const out = join(dir, collection);
      const names: string[] = [];
      for (const name of imageNames(root)) {
        if (missingBlobs(root, name).length > 0) continue;
        const { code, stderr } = optimize(root, name, out, ACCESS);
        if (name === 'v6-tarfs') {
          expect(code).toBe(1);
          expect(stderr).toContain('a tarfs image cannot be used');
        } else {
          expect({ name, code }).toEqual({ name, code: 0 });
          expect(stderr).toContain('/nowhere: not in the image');
          names.push(name);
        }
      }
      await expectMounted(out, names);
    },
    300_000,
  );
});

/**
 * Blobs of the original with these lists, by hand: nydus-image 2.4.4 optimize. It writes a chunk again for each place
 * in the listed files that has it, which these lists do not show; ours stores it once.
 */
const SMALL = [{ path: '/bin/tool' }, { path: '/dup/a' }];
const CHUNKS = [
  { path: '/text-0655359', ranges: [[70000, 10]] },
  {
    path: '/mix',
    ranges: [
      [0, 100],
      [131072, 0],
      [400000, 1],
    ],
  },
  { path: '/text-0000001' },
  { path: '/mega-exact' },
];
const ORIGINAL: readonly (readonly [string, string])[] = [
  ['v5-lz4_block-blake3', '740f5b617a44b17cbd08d54209c0539d4178e0ee00b791472384a18d19d5e5b1'],
  ['v5-none-blake3', '7ed3a279850a7ff6b8c2591b2cb6a4afbe9ec32d58cd5ea0f0550bfda658056a'],
  ['v5-zstd-sha256', 'bb26779979c194e6303975e56c7a7f762fe985b33cd27cf332c30555bd2a0a0f'],
  ['v5-inline-meta', 'bb26779979c194e6303975e56c7a7f762fe985b33cd27cf332c30555bd2a0a0f'],
  ['v6-lz4_block-sha256', 'a188b6532606f9c499889a2ff673eb2d748ef4f7ccf67850c17e36250e0f8ad4'],
  ['v6-zstd-blake3', 'ec2361cc642a98f5007d4390f39280f3e816ea3f7b4ce3c627c6f07100e5cb48'],
];
const ORIGINAL_CHUNKS: readonly (readonly [string, string])[] = [
  ['v5-chunks64k-lz4_block', '0857e3799f37fcf88f618b7749350f3245d17918b8fa2703e60913b610dce756'],
  ['v5-chunks1m-lz4_block', 'd212f9e889972dfef1efb52cfe0a7b3a71e7e85c2ffbe1e6e6322c70747740ab'],
  ['v6-chunks64k-zstd', '6e4f6f7f6349cf688bc8ec96cf8fbb0f25aaa38cda2cac3ba53b35d4c093a9ea'],
];
const SAME_BOOTSTRAP = [
  'v5-chunks1m-lz4_block',
  'd49a510c80ce2743530f96b7f6fac239e73163401bd4662d549b6338fe8bb6fe',
] as const;

describe('against the original', () => {
  function expectBlob(root: string, name: string, files: readonly object[], id: string): void {
    const { code, blobs, boot } = optimize(root, name, join(dir, 'original'), files);
    expect(code).toBe(0);
    expect(blobs).toHaveLength(2);
    expect(blobs[1]).toBe(id);
    const { blobs: rows } = openBootstrap(new Uint8Array(readFileSync(boot)).buffer, name);
    expect(rows.map((row) => row.id)).toEqual(blobs);
  }

  test.each(ORIGINAL)('%s: the blob is the same', (name, id) => expectBlob(FIXTURES, name, SMALL, id));

  test.skipIf(all === undefined).each(ORIGINAL_CHUNKS)(
    '%s: the blob of listed ranges is the same (skipped without NYDUS_FIXTURES)',
    (name, id) => expectBlob(all!, name, CHUNKS, id),
  );

  // Its bootstraps of v6, and of v5 with chunks that are not of 1 MiB, cannot be mounted: chunk info and chunk size are
  // wrong there.
  test.skipIf(all === undefined)(
    `${SAME_BOOTSTRAP[0]}: the bootstrap is the same (skipped without NYDUS_FIXTURES)`,
    () => {
      const { boot } = optimize(all!, SAME_BOOTSTRAP[0], join(dir, 'same'), CHUNKS);
      expect(digest('sha256', readFileSync(boot)).toString('hex')).toBe(SAME_BOOTSTRAP[1]);
    },
  );
});

describe('nydus-image optimize', () => {
  const name = 'v6-zstd-blake3';
  const source = sourceOf(FIXTURES, name);
  const blobs = join(FIXTURES, 'blobs');

  test('nothing that is listed has data: the bootstrap keeps its blobs, and there is no new one', () => {
    const { code, stdout, blobs: ids } = optimize(FIXTURES, name, join(dir, 'nothing'), [{ path: '/bin' }]);
    expect({ code, ids: ids.length }).toEqual({ code: 0, ids: 1 });
    expect(stdout).toContain('no data of the image is listed');
  });

  test('an optimized image can be optimized again', async () => {
    const out = join(dir, 'twice');
    optimize(FIXTURES, name, join(out, 'first'), SMALL);
    const { code, blobs: ids } = optimize(join(out, 'first'), name, join(out, 'second'), [
      { path: '/dup/a' },
      { path: '/dup/b' },
    ]);
    expect({ code, ids: ids.length }).toEqual({ code: 0, ids: 3 });
    await expectMounted(join(out, 'second'), [name]);
  });

  test('a damaged blob is named, and nothing is written', () => {
    const damaged = join(dir, 'damaged');
    mkdirSync(damaged);
    const [id] = readdirSync(blobs).filter((found) => readFileSync(source).includes(found));
    const bytes = readFileSync(join(blobs, id!));
    bytes.fill(0xff, 0, 40_000);
    writeFileSync(join(damaged, id!), bytes);
    const target = join(damaged, 'new');
    const boot = join(damaged, 'boot');
    const args = ['-B', source, '-D', damaged, '-p', listOf(SMALL), '-O', boot, '--output-blob-dir', target];
    const { code, stderr } = runImage(['optimize', ...args]);
    expect(code).toBe(1);
    expect(stderr).toContain(`blob ${id}`);
    expect(existsSync(target)).toBe(false);
    expect(existsSync(boot)).toBe(false);
  });

  const usual = ['-B', source, '-D', blobs];
  test.each([
    { what: 'no bootstrap', args: ['-D', blobs], code: 2, stderr: /--bootstrap/ },
    { what: 'no place for the blob', args: [...usual, '-p', 'x'], code: 1, stderr: /--output-blob-dir/ },
    {
      what: 'no access list',
      args: [...usual, '--output-blob-dir', 'x'],
      code: 1,
      stderr: /--prefetch-files/,
    },
    { what: 'two places of blobs', args: [...usual, '-C', 'x'], code: 2, stderr: /cannot be used with/ },
    {
      what: 'a back end that is not there yet',
      args: ['-B', source, '--backend-type', 'oss', '-p', '/dev/null', '--output-blob-dir', 'x'],
      code: 1,
      stderr: /oss is not supported yet.*--blob-dir/,
    },
    {
      what: 'no blobs',
      args: ['-B', source, '-p', '/dev/null', '--output-blob-dir', 'x'],
      code: 1,
      stderr: /--blob-dir/,
    },
  ])('$what: exit $code, and the message says what to give', ({ args, code, stderr }) => {
    const found = runImage(['optimize', ...args]);
    expect(found.code).toBe(code);
    expect(found.stderr).toMatch(stderr);
  });
});
