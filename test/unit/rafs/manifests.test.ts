import { describe, expect, it } from 'vitest';
import {
  bootstrapBytes,
  FIXTURES,
  imageNames,
  manifestRows,
  openFileSystem,
  walk,
} from '../../support/rafs-fixtures.ts';

/** The manifest's columns but the content digest. */
function expected(root: string, name: string): string[][] {
  const rows = manifestRows(root, name).map((row) => row.slice(0, 11));
  return rows.sort((a, b) => (a[0]! < b[0]! ? -1 : 1));
}

describe('every inode of an image looks as the original shows it', () => {
  for (const name of imageNames(FIXTURES)) {
    it(name, () => {
      expect(walk(openFileSystem(bootstrapBytes(FIXTURES, name)))).toEqual(expected(FIXTURES, name));
    });
  }
});

const all = process.env.NYDUS_FIXTURES;
describe.skipIf(all === undefined)('all images of NYDUS_FIXTURES (skipped when it is unset)', () => {
  for (const name of all === undefined ? [] : imageNames(all)) {
    it(name, () => {
      const rows = walk(openFileSystem(bootstrapBytes(all!, name)));
      const wanted = expected(all!, name);
      expect(rows.length).toBe(wanted.length);
      for (const [i, row] of rows.entries())
        if (row.join('\t') !== wanted[i]!.join('\t')) expect(row).toEqual(wanted[i]);
    });
  }
});
