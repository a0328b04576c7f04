import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { DiskOutput } from '../../../../src/image/export/disk.ts';

let dir: string;
let path: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'export-disk-'));
  path = join(dir, 'disk');
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const BLOCK = 4096;

describe('a disk image', () => {
  test('has what was written at its place, in any order, and zeros elsewhere', async () => {
    const expected = Buffer.alloc(64 * BLOCK);
    const disk = await DiskOutput.open(path, expected.length);
    for (const [at, size] of [
      [40 * BLOCK, 3 * BLOCK],
      [0, 1],
      [10 * BLOCK + 7, 2 * BLOCK],
      [63 * BLOCK + 4095, 1],
    ] as const) {
      const bytes = Buffer.alloc(size, at % 251 || 1);
      bytes.copy(expected, at);
      await disk.write(bytes, at);
    }
    expect(readdirSync(dir)).not.toContain('disk');
    await disk.finish();
    expect(readFileSync(path).equals(expected)).toBe(true);
    expect(readdirSync(dir)).toEqual(['disk']);
  });

  test('blocks of zeros take no room, also between others', async () => {
    const bytes = Buffer.alloc(1024 * BLOCK);
    bytes[0] = bytes[512 * BLOCK] = bytes[1024 * BLOCK - 1] = 1;
    const disk = await DiskOutput.open(path, bytes.length);
    await disk.write(bytes, 0);
    await disk.finish();
    expect(readFileSync(path).equals(bytes)).toBe(true);
    expect(statSync(path).blocks * 512).toBeLessThanOrEqual(64 * BLOCK);
  });

  test('discarded, it leaves what was there', async () => {
    writeFileSync(path, 'old');
    const disk = await DiskOutput.open(path, BLOCK);
    await disk.write(Buffer.alloc(BLOCK, 1), 0);
    await disk.discard();
    await disk.discard();
    expect(readFileSync(path, 'utf8')).toBe('old');
    expect(readdirSync(dir)).toEqual(['disk']);
  });

  test.each([
    ['/dev/null', 'a file or a block device'],
    ['.', 'is a directory'],
    ['none/disk', 'ENOENT'],
  ])('cannot be %s', async (name, message) => {
    await expect(DiskOutput.open(name === '/dev/null' ? name : join(dir, name), BLOCK)).rejects.toThrow(
      message,
    );
  });

  test('one larger than files can be is refused, and nothing is left', async () => {
    await expect(DiskOutput.open(path, 2 ** 62)).rejects.toMatchObject({ code: 'IMAGE_WRITE' });
    expect(readdirSync(dir)).toEqual([]);
  });
});
