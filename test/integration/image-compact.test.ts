/**
 * `nydus-image compact` on images of the original: what it writes is mounted and compared with the image's manifest.
 */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
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
  dir = mkdtempSync(join(tmpdir(), 'image-compact-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function compact(root: string, name: string, out: string, more: readonly string[] = []): Rewritten {
  return rewrite(root, name, out, (source, blobDir) => ['compact', '-B', source, '-D', blobDir, ...more]);
}

describe.each([
  { name: 'the repository', root: FIXTURES, skip: false },
  { name: 'NYDUS_FIXTURES (skipped when unset)', root: all ?? '', skip: all === undefined },
])('the images of $name', ({ name: collection, root, skip }) => {
  test.skipIf(skip)(
    'all chunks in one new blob, mounted at once, each is equal to its manifest; tarfs says why it cannot be',
    async () => {
      const out = join(dir, collection);
      const names: string[] = [];
      for (const name of imageNames(root)) {
        if (missingBlobs(root, name).length > 0) continue;
        const run = compact(root, name, out, ['--min-used-ratio', '99']);
        if (name === 'v6-tarfs') {
          expect(run.code).toBe(1);
          expect(run.stderr).toContain('a tarfs image cannot be used');
          continue;
        }
        expect({ name, code: run.code, stderr: run.stderr }).toEqual({ name, code: 0, stderr: '' });
        expect(run.blobs).toHaveLength(1);
        names.push(name);
      }
      await expectMounted(out, names);
    },
    300_000,
  );
});

const layered = ['v5-merge3', 'v6-merge3'];

describe('nydus-image compact', () => {
  test.each(layered)('%s: small layers become one blob, named by its digest; theirs stay', (name) => {
    const { code, blobs, boot } = compact(FIXTURES, name, join(dir, 'layers'));
    expect({ code, blobs: blobs.length }).toEqual({ code: 0, blobs: 1 });
    const bytes = readFileSync(join(dir, 'layers/blobs', blobs[0]!));
    expect(digest('sha256', bytes).toString('hex')).toBe(blobs[0]);
    const [row] = openBootstrap(new Uint8Array(readFileSync(boot)).buffer, name).blobs;
    expect(row).toMatchObject({ id: blobs[0], compressedSize: bytes.length });
    for (const id of readdirSync(join(FIXTURES, 'blobs')))
      expect(existsSync(join(dir, 'layers/blobs', id))).toBe(true);
  });

  test.each(layered)('%s: layers that are not small stay as they are', (name) => {
    const before = openBootstrap(new Uint8Array(readFileSync(sourceOf(FIXTURES, name))).buffer, name).blobs;
    const { code, blobs } = compact(FIXTURES, name, join(dir, 'large'), ['--compact-blob-size', '1']);
    expect({ code, blobs }).toEqual({ code: 0, blobs: before.map(({ id }) => id) });
  });

  test.each(layered)('%s: as many layers as fit are joined', async (name) => {
    const sizes = ['--max-compact-size', '30000'];
    const { code, blobs } = compact(FIXTURES, name, join(dir, 'some'), sizes);
    expect({ code, blobs: blobs.length }).toEqual({ code: 0, blobs: 2 });
    await expectMounted(join(dir, 'some'), [name]);
  });

  test.each(layered)('%s: chunks that a dictionary has are taken from its blobs', async (name) => {
    const dictionary = sourceOf(FIXTURES, name);
    const more = ['--chunk-dict', `bootstrap=${dictionary}`, '--min-used-ratio', '99'];
    const { code, blobs } = compact(FIXTURES, name, join(dir, 'dictionary'), more);
    const before = openBootstrap(new Uint8Array(readFileSync(dictionary)).buffer, name).blobs;
    expect({ code, blobs }).toEqual({ code: 0, blobs: before.map(({ id }) => id) });
    await expectMounted(join(dir, 'dictionary'), [name]);
  });

  test('an image with fewer blobs than asked for is left alone: exit 0 and no file', () => {
    const { code, boot, blobs, stdout } = compact(FIXTURES, 'v5-merge3', join(dir, 'few'), [
      '--layers-to-compact',
      '4',
    ]);
    expect({ code, blobs }).toEqual({ code: 0, blobs: [] });
    expect(stdout).toContain('nothing to compact');
    expect(existsSync(boot)).toBe(false);
  });

  const source = sourceOf(FIXTURES, 'v5-merge3');
  const usual = ['-B', source, '-D', join(FIXTURES, 'blobs')];
  test.each([
    { what: 'no bootstrap', args: ['-D', 'x'], code: 2, stderr: /--bootstrap/ },
    { what: 'no place of the blobs', args: ['-B', source], code: 2, stderr: /--blob-dir/ },
    { what: 'a ratio of 100', args: [...usual, '--min-used-ratio', '100'], code: 1, stderr: /from 0 to 99/ },
    {
      what: 'a size of -1',
      args: [...usual, '--max-compact-size', '-1'],
      code: 1,
      stderr: /--max-compact-size -1/,
    },
    {
      what: 'no such blob',
      args: ['-B', source, '-D', '/absent'],
      code: 1,
      stderr: /blob [0-9a-f]{64}: .*absent/,
    },
    { what: 'no such image', args: ['-B', '/absent', '-D', 'x'], code: 1, stderr: /\/absent/ },
  ])('$what: exit $code, and the message says what is wrong', ({ args, code, stderr }) => {
    const found = runImage(['compact', ...args, '-O', join(dir, 'never')]);
    expect(found.stderr).toMatch(stderr);
    expect(found.code).toBe(code);
    expect(existsSync(join(dir, 'never'))).toBe(false);
    expect(existsSync('/absent')).toBe(false);
  });
});
