/** `nydus-image optimize` on images of the original: what it writes is mounted and compared with the image's manifest. */
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { addon } from '../support/addon.ts';
import { ConnectedGuest } from '../support/connected-guest.ts';
import { checkImage, missingBlobs, mountImage, sourceOf } from '../support/images.ts';
import { Nydusd } from '../support/nydusd.ts';
import { FIXTURES, imageNames } from '../support/rafs-fixtures.ts';

const program = join(import.meta.dirname, '../../bin/nydus-image');
const all = process.env.NYDUS_FIXTURES;
let dir: string;

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'image-optimize-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function run(args: readonly string[]): { code: number | null; stdout: string; stderr: string } {
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' });
  return { code: status, stdout, stderr };
}

/** Files of the trees that the fixtures are made of: parts of files, a hard link, files with equal chunks, a directory, one that is nowhere. */
const ACCESS = {
  version: 'v1',
  files: [
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
  ],
};

interface Optimized {
  readonly code: number | null;
  readonly stderr: string;
  readonly boot: string;
  readonly blobs: readonly string[];
}

/** Optimizes an image of `root` into `out`, a collection of its own whose blobs are the image's and the new one. */
function optimizeInto(out: string, root: string, name: string, access: object = ACCESS): Optimized {
  const image = join(out, 'images', name);
  mkdirSync(image, { recursive: true });
  mkdirSync(join(out, 'blobs'), { recursive: true });
  cpSync(join(root, 'images', name, 'manifest'), join(image, 'manifest'));
  if (!existsSync(join(out, 'manifests'))) symlinkSync(join(root, 'manifests'), join(out, 'manifests'));
  for (const id of readdirSync(join(root, 'blobs'))) {
    if (!existsSync(join(out, 'blobs', id))) symlinkSync(join(root, 'blobs', id), join(out, 'blobs', id));
  }
  const list = join(image, 'access.json');
  writeFileSync(list, JSON.stringify(access));
  const boot = join(image, 'image.boot');
  const json = join(image, 'out.json');
  const target = join(image, 'new');
  const args = ['-B', sourceOf(root, name), '-D', join(root, 'blobs'), '-p', list, '-O', boot, '-J', json];
  const { code, stderr } = run(['optimize', ...args, '--output-blob-dir', target]);
  if (existsSync(target)) cpSync(target, join(out, 'blobs'), { recursive: true });
  const blobs = code === 0 ? (JSON.parse(readFileSync(json, 'utf8')) as { blobs: string[] }).blobs : [];
  return { code, stderr, boot, blobs };
}

describe.each([
  { name: 'the repository', root: FIXTURES, skip: false },
  { name: 'NYDUS_FIXTURES (skipped when unset)', root: all ?? '', skip: all === undefined },
])('the images of $name', ({ name: collection, root, skip }) => {
  test.skipIf(skip)(
    'optimized, mounted at once, each is equal to its manifest; those whose chunks cannot move say why',
    async () => {
      const out = join(dir, collection);
      const names: string[] = [];
      for (const name of imageNames(root)) {
        if (missingBlobs(root, name).length > 0) continue;
        const { code, stderr } = optimizeInto(out, root, name);
        if (name === 'v6-tarfs') {
          expect(code).toBe(1);
          expect(stderr).toContain('a tarfs image cannot be used');
        } else {
          expect({ name, code }).toEqual({ name, code: 0 });
          expect(stderr).toContain('/nowhere: not in the image');
          names.push(name);
        }
      }
      await using daemon = new Nydusd();
      await daemon.ready();
      for (const name of names) {
        const { status, text } = await mountImage(daemon, out, name, { validate: true });
        expect({ name, status, text }).toEqual({ name, status: 204, text: '' });
      }
      using guest = await ConnectedGuest.connect(addon, daemon.sock);
      for (const name of names) expect(await checkImage(guest.client, out, name), name).toEqual([]);
      expect(daemon.stderr).not.toContain('"level":"error"');
    },
    300_000,
  );
});
