/** What `check`, `stat` and `inspect` say of images, against what the original said of them. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { checkImage } from '../../../../src/image/check/check.ts';
import { checkLines } from '../../../../src/image/check/text.ts';
import { Inspector } from '../../../../src/image/inspect/inspect.ts';
import { ImageStat } from '../../../../src/image/inspect/stat.ts';
import { readBootstrap } from '../../../../src/image/read/load.ts';
import { LocalfsSource } from '../../../../src/source/localfs.ts';
import { missingBlobs, sourceOf } from '../../../support/images.ts';
import { FIXTURES, imageNames } from '../../../support/rafs-fixtures.ts';

const wide = process.env.NYDUS_FIXTURES;
const roots = [FIXTURES, ...(wide === undefined ? [] : [wide])];

function recorded(root: string, name: string, file: string): unknown {
  return JSON.parse(readFileSync(join(root, 'images', name, file), 'utf8'));
}

/** Lines of `check -v` about inodes and chunks; null if they were not recorded. */
function recordedLines(root: string, name: string): string[] | null {
  const path = join(root, 'images', name, 'check.txt');
  if (!existsSync(path) && !existsSync(`${path}.gz`)) return null;
  const text = existsSync(path)
    ? readFileSync(path, 'utf8')
    : gunzipSync(readFileSync(`${path}.gz`)).toString();
  return text.split('\n').filter((line) => /^inode: |^\t chunk: /.test(line));
}

describe.each(roots)('%s', (root) => {
  const names = imageNames(root);
  const complete = names.filter((name) => missingBlobs(root, name).length === 0);

  test.each(names)('%s has no fault, and its counts are those recorded', async (name) => {
    const path = sourceOf(root, name);
    const bootstrap = await readBootstrap(path);
    const report = await checkImage({ bootstrap, path, source: null });
    expect(report).toEqual({ faults: [], faultCount: 0, notes: [] });
    const stat = new ImageStat('blake3', false);
    await stat.addBase(path);
    expect(stat.json()).toEqual(recorded(root, name, 'stat.json'));
    const inspector = new Inspector(bootstrap, path, true);
    const ask = (request: string) => inspector.execute(request).value;
    const answers = { stats: ask('stats'), blobs: ask('blobs'), prefetch: ask('prefetch') };
    expect(answers).toEqual(recorded(root, name, 'inspect.json'));
  });

  test.each(complete)('every chunk and section of the blobs of %s is verified', async (name) => {
    const path = sourceOf(root, name);
    const source = new LocalfsSource({ dir: join(root, 'blobs') });
    const seen = { bytes: 0 };
    const onProgress = ({ bytes }: { bytes: number }) => {
      seen.bytes = Math.max(seen.bytes, bytes);
    };
    const bootstrap = await readBootstrap(path);
    const report = await checkImage({ bootstrap, path, source, onProgress });
    await source.close();
    expect(report).toEqual({ faults: [], faultCount: 0, notes: [] });
    const isTar = bootstrap.blobs.every(({ chunkCount, features }) => chunkCount === 0 || features & 0x40);
    expect(seen.bytes > 0).toBe(!isTar);
  });

  const listed = names.filter((name) => recordedLines(root, name) !== null);
  test.each(listed)('inodes and chunks of %s are listed as recorded', async (name) => {
    const path = sourceOf(root, name);
    const shown = [...checkLines(await readBootstrap(path), path, true)];
    const lines = shown.slice(0, shown.indexOf('RAFS filesystem metadata is valid, referenced data blobs: '));
    expect(lines).toEqual(recordedLines(root, name));
  });
});

test.each([
  'v5',
  'v6',
])('the %s dictionary of the original is accepted and listed as by it', async (version) => {
  const path = join(FIXTURES, 'chunkdict', `${version}.boot`);
  const bootstrap = await readBootstrap(path);
  expect(await checkImage({ bootstrap, path, source: null })).toEqual({
    faults: [],
    faultCount: 0,
    notes: [],
  });
  const lines = [...checkLines(bootstrap, path, true)].map((line) => `${line}\n`);
  expect(lines.join('')).toBe(readFileSync(join(FIXTURES, 'chunkdict', `${version}.check.txt`), 'utf8'));
});
