import { describe, expect, test } from 'vitest';
import type { ChunkRow } from '../../../../src/image/dictionary/chunk-row.ts';
import { selectChunks, smoothed, splitVersions } from '../../../../src/image/dictionary/select.ts';

function row(image: string, version: string, digest: string, more: Partial<ChunkRow> = {}): ChunkRow {
  return {
    image,
    version,
    blobId: `${image}-${version}`,
    digest,
    crc32c: 0,
    compressedSize: 100,
    uncompressedSize: 100,
    compressedOffset: 0,
    uncompressedOffset: 0,
    ...more,
  };
}

/** An image of `versions` versions, each with these contents. */
function image(name: string, versions: number, contents: (version: number) => readonly string[]): ChunkRow[] {
  return Array.from({ length: versions }, (_, v) =>
    contents(v).map((digest) => row(name, `1.${v}`, digest)),
  ).flat();
}

const digests = (rows: Iterable<ChunkRow>): string[] =>
  [...new Set([...rows].map(({ digest }) => digest))].sort();

describe('chunks that an image keeps', () => {
  test('are those that the version before had, and the more the longer the run of them', () => {
    const rows = image('a', 2, () => ['x', 'y']);
    // Scores of the second version: 1/2, 3/4.
    expect(smoothed(rows, 0.5).map(({ digest, version }) => [digest, version])).toEqual([['y', '1.1']]);
    expect(digests(smoothed(rows, 0.4))).toEqual(['x', 'y']);
    expect(smoothed(rows, 0.75)).toEqual([]);
  });

  test('are none in a single version', () => {
    expect(
      smoothed(
        image('a', 1, () => ['x', 'x']),
        0,
      ),
    ).toEqual([]);
  });

  test('do not count if only an older version than the last had them', () => {
    const rows = [row('a', '1', 'x'), row('a', '2', 'y'), row('a', '3', 'x')];
    expect(smoothed(rows, 0)).toEqual([]);
  });

  test('are named once, as the version has them that had them first', () => {
    const rows = image('a', 3, () => ['x', 'x']);
    expect(smoothed(rows, 0.6).map(({ version }) => version)).toEqual(['1.1']);
  });
});

describe('older and newer versions', () => {
  test('are told apart by the numbers in their names, 70 % of them being older', () => {
    const rows = ['v10', 'v9', 'v2', 'v1'].map((version) => row('a', version, 'x'));
    const { train, test: newer } = splitVersions(rows);
    expect(train.map(({ version }) => version)).toEqual(['v1', 'v2']);
    expect(newer.map(({ version }) => version)).toEqual(['v9', 'v10']);
  });

  test('1.2 is before 1.2.0, and names with the same numbers are one version', () => {
    const rows = ['1.2.0', '1.2', 'v1.2', '1.3', '1.4'].map((version) => row('a', version, 'x'));
    const { train, test: newer } = splitVersions(rows);
    expect(train.map(({ version }) => version)).toEqual(['1.2', 'v1.2', '1.2.0']);
    expect(newer.map(({ version }) => version)).toEqual(['1.3', '1.4']);
  });

  test('a single version is a newer one; images are in the order of their names', () => {
    const rows = [row('b', '1', 'x'), row('a', '1', 'x')];
    expect(splitVersions(rows)).toEqual({ train: [], test: [rows[1], rows[0]] });
  });
});

describe('what is selected', () => {
  const names = Array.from({ length: 12 }, (_, i) => `app${i}`);

  test('is nothing of nothing, and of images that were never seen twice', () => {
    expect(selectChunks([])).toEqual({ chunks: new Set(), loneImages: [] });
    const { chunks, loneImages } = selectChunks(image('a', 1, () => ['x']));
    expect([chunks.size, loneImages]).toEqual([0, ['a']]);
  });

  test('is what an image keeps from version to version', () => {
    const { chunks, loneImages } = selectChunks(image('a', 4, (v) => ['base', 'base2', 'base3', `own${v}`]));
    expect(digests(chunks)).toEqual(['base2', 'base3']);
    expect(loneImages).toEqual(['a']);
  });

  test('is what ten or more similar images have in common, at least nine of ten of them', () => {
    const most = (i: number): string[] => (i === 0 ? [] : ['most']);
    const some = (i: number): string[] => (i < 6 ? ['some'] : []);
    const rows = names.flatMap((name, i) =>
      image(name, 2, () => ['base', 'base2', ...most(i), ...some(i), `own-${name}`]),
    );
    const { chunks, loneImages } = selectChunks(rows);
    expect(digests(chunks)).toEqual(['base', 'base2', 'most']);
    expect(loneImages).toEqual([]);
    expect([...chunks].every(({ image: name }) => name === 'app0' || name === 'app1')).toBe(true);
  });

  test('nine similar images are not a group', () => {
    const rows = names.slice(0, 9).flatMap((name) => image(name, 2, () => ['base', `own-${name}`]));
    const { chunks, loneImages } = selectChunks(rows);
    expect(chunks.size).toBe(0);
    expect(loneImages).toEqual(names.slice(0, 9));
  });

  test('does not depend on anything but the rows', () => {
    const rows = names.flatMap((name) => image(name, 3, (v) => ['base', `own-${name}`, `${v}`]));
    expect([...selectChunks(rows).chunks]).toEqual([...selectChunks([...rows]).chunks]);
  });
});
