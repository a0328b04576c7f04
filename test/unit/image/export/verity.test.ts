import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { verityBytes, writeVerity } from '../../../../src/image/export/verity.ts';

let dir: string;
let file: FileHandle;

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'verity-'));
  file = await open(join(dir, 'disk'), 'w+');
});
afterEach(async () => {
  await file.close();
  rmSync(dir, { recursive: true, force: true });
});

const sha256 = (bytes: Uint8Array): Buffer => createHash('sha256').update(bytes).digest();

/** Every seventh block is zeros, the others differ. */
function dataOf(blocks: number, blockSize: number): Buffer {
  const data = Buffer.alloc(blocks * blockSize);
  for (let i = 0; i < blocks; i++) if (i % 7 !== 3) data.writeUInt32LE(i + 1, i * blockSize + 100);
  return data;
}

/** The tree as dm-verity has it, all levels in memory, the top first. */
function treeOf(data: Buffer, blockSize: number): { tree: Buffer; root: Buffer } {
  const padding = sha256(Buffer.alloc(4096));
  const levels: Buffer[] = [];
  let below = data;
  let size = blockSize;
  while (below.length > size) {
    const digests: Buffer[] = [];
    for (let at = 0; at < below.length; at += size) digests.push(sha256(below.subarray(at, at + size)));
    while (digests.length % 128 !== 0) digests.push(padding);
    below = Buffer.concat(digests);
    size = 4096;
    levels.unshift(below);
  }
  return { tree: Buffer.concat(levels), root: sha256(below) };
}

describe('hash trees', () => {
  test.each([
    [1, 4096],
    [2, 4096],
    [128, 4096],
    [129, 4096],
    [401, 4096],
    [1, 512],
    [9, 512],
    [4584, 512],
    [16_384, 512],
    [16_385, 512],
  ])('over %i blocks of %i bytes', async (blocks, blockSize) => {
    const data = dataOf(blocks, blockSize);
    const { tree, root } = treeOf(data, blockSize);
    const hashOffset = Math.ceil(data.length / 4096) * 4096;
    await file.write(data, 0, data.length, 0);
    const place = { blockSize, dataBlocks: blocks, hashOffset };
    const hashed: number[] = [];
    const digest = await writeVerity(file.fd, place, (bytes) => {
      hashed.push(bytes);
    });
    expect(digest.toString('hex')).toBe(root.toString('hex'));
    expect(verityBytes(blocks)).toBe(tree.length);
    const written = Buffer.alloc(tree.length + 1);
    expect((await file.read(written, 0, written.length, hashOffset)).bytesRead).toBe(tree.length);
    expect(written.subarray(0, tree.length).equals(tree)).toBe(true);
    expect(hashed.at(-1) ?? data.length).toBe(data.length);
    expect(hashed).toEqual(hashed.toSorted((a, b) => a - b));
  });

  test('what is called between batches can end the work', async () => {
    const data = dataOf(1000, 4096);
    await file.write(data, 0, data.length, 0);
    const place = { blockSize: 4096, dataBlocks: 1000, hashOffset: data.length };
    const stop = () => Promise.reject(new Error('enough'));
    await expect(writeVerity(file.fd, place, stop)).rejects.toThrow('enough');
  });

  test('data that ends early is an error', async () => {
    const place = { blockSize: 4096, dataBlocks: 10, hashOffset: 40_960 };
    await expect(writeVerity(file.fd, place)).rejects.toThrow('ends at 0');
  });
});
