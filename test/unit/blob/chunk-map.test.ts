import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { ChunkMapFile } from '../../../src/blob/chunk-map.ts';

let dir: string;
let path: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'map-'));
  path = join(dir, 'x.chunk_map');
});
afterEach(() => rmSync(dir, { recursive: true }));

it('chunk 3 is bit 0x10 of the first byte behind the header', () => {
  const map = ChunkMapFile.open(path, 10);
  map.set(3);
  map.close();
  const bytes = readFileSync(path);
  expect(bytes.length).toBe(4098);
  expect(bytes.subarray(0, 16).toString('hex')).toBe('50414d420100000050414d4300000000');
  expect([...bytes.subarray(4096)]).toEqual([0x10, 0]);
});

it('a bit of another process is kept and seen', () => {
  const ours = ChunkMapFile.open(path, 8);
  const theirs = ChunkMapFile.open(path, 8);
  theirs.set(0);
  ours.set(7);
  expect([theirs.has(7), ours.has(0), ours.has(1)]).toEqual([true, true, false]);
  ours.close();
  theirs.close();
});

it('a complete map is marked so when it is opened, and its bits need not be set then', () => {
  const map = ChunkMapFile.open(path, 3);
  for (const index of [0, 1, 2]) map.set(index);
  map.close();
  ChunkMapFile.open(path, 3).close();
  const bytes = readFileSync(path);
  expect(bytes.readUInt32LE(12)).toBe(0x4d4d4150);
  bytes[4096] = 0;
  writeFileSync(path, bytes);
  const again = ChunkMapFile.open(path, 3);
  const bits = new Uint8Array(1);
  again.load(bits);
  expect(bits[0]).toBe(0xe0);
  again.close();
});

it('a file of zeros is a map that was just created', () => {
  writeFileSync(path, Buffer.alloc(4097));
  const map = ChunkMapFile.open(path, 8);
  expect(map.has(0)).toBe(false);
  map.close();
  expect(readFileSync(path).readUInt32LE(0)).toBe(0x424d4150);
});

it.each([
  ['of another count of chunks', Buffer.alloc(4098), /size = 4098/],
  ['that is something else', Buffer.alloc(4097, 1), /magic/],
])('a file %s is refused', (_, bytes, message) => {
  writeFileSync(path, bytes);
  expect(() => ChunkMapFile.open(path, 8)).toThrow(message);
});
