import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readBootstrap } from '../../../src/image/read/load.ts';
import { compareImages } from '../../support/compare-image.ts';
import { originalPlace } from '../../support/fixture-builds.ts';
import type { ImagePlace } from '../../support/image-place.ts';
import { FIXTURES } from '../../support/rafs-fixtures.ts';

const FLIPS = 12;
let dir: string;

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'compare-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** `bytes` with one bit changed, in one of those that are not zero. */
function* damaged(bytes: Buffer): Generator<{ at: number; copy: Buffer }> {
  const places = [...bytes.keys()].filter((at) => bytes[at] !== 0);
  for (let i = 0; i < FLIPS; i++) {
    const at = places[Math.floor(((i + 0.5) * places.length) / FLIPS)]!;
    const copy = Buffer.from(bytes);
    copy[at]! ^= 1;
    yield { at, copy };
  }
}

/** Differences of an image from the fixture; an image that cannot be read at all differs. */
function differences(fixture: ImagePlace, image: ImagePlace): Promise<string[]> {
  return compareImages(fixture, image).catch((error: Error) => [error.message]);
}

test.each([
  'v5-none-blake3',
  'v6-zstd-blake3',
  'v6-batch',
  'v6-toc-inline',
])('%s equals itself; a bit that is different anywhere in the bootstrap is found', async (name) => {
  const fixture = originalPlace(FIXTURES, name);
  expect(await compareImages(fixture, fixture)).toEqual([]);
  const path = join(dir, basename(fixture.bootstrap));
  for (const { at, copy } of damaged(readFileSync(fixture.bootstrap))) {
    writeFileSync(path, copy);
    const image: ImagePlace = { bootstrap: path, blobDirs: [dir, ...fixture.blobDirs] };
    expect(await differences(fixture, image), `bit at ${at}`).not.toEqual([]);
  }
}, 120_000);

test.each([
  'v5-lz4_block-blake3',
  'v6-zstd-blake3',
  'v6-encrypt',
])('%s: a bit that is different anywhere in the blob is found', async (name) => {
  const fixture = originalPlace(FIXTURES, name);
  const { blobs } = await readBootstrap(fixture.bootstrap);
  const own = join(dir, `${name}.boot`);
  copyFileSync(fixture.bootstrap, own);
  for (const { at, copy } of damaged(readFileSync(join(FIXTURES, 'blobs', blobs[0]!.id)))) {
    writeFileSync(join(dir, blobs[0]!.id), copy);
    const lines = await differences(fixture, { bootstrap: own, blobDirs: [dir] });
    expect(lines, `bit at ${at}`).not.toEqual([]);
  }
}, 120_000);
