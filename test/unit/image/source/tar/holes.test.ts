import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type CreateResult, create } from '../../../../../src/image/create/create.ts';
import { loadImage } from '../../../../../src/image/read/load.ts';
import { readTar } from '../../../../../src/image/source/tar/tar-source.ts';
import { digest } from '../../../../../src/lib/content-hash.ts';
import { bytesSource, END, member, paxMember } from '../../../../support/tars.ts';

const CHUNK_SIZE = 0x100000;
let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'tar-holes-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

function build(...parts: Buffer[]): Promise<CreateResult> {
  const bytes = Buffer.concat([...parts, END]);
  return create({
    source: { read: (context) => readTar(bytesSource(bytes), context) },
    fsVersion: 6,
    compressor: 'none',
    digester: 'sha256',
    chunkSize: CHUNK_SIZE,
    bootstrap: { kind: 'file', path: join(dir, 'image.boot') },
    blob: { kind: 'file', path: join(dir, 'blob') },
    explicitUidGid: true,
    whiteoutSpec: 'oci',
    prefetchPatterns: [],
  });
}

function sparse(size: number, map: string, data: string): Buffer {
  const records = [
    ['GNU.sparse.size', String(size)],
    ['GNU.sparse.map', map],
  ] as const;
  return Buffer.concat([paxMember(records), member({ name: 'f' }, data)]);
}

test('the holes of a file of 64 GiB are one chunk, neither read nor digested again', async () => {
  const size = 64 * 2 ** 30 + 5;
  const middle = 5000 * CHUNK_SIZE + 7;
  const result = await build(sparse(size, `0,5,${middle},6,${size - 3},3`, 'startmiddleend'));
  // Three with data, the last one short, and one of zeros.
  expect(result).toMatchObject({ dataSize: size, chunks: 4, duplicateChunks: 65536 - 3 });

  const { root } = await loadImage(join(dir, 'image.boot'));
  const { chunks } = root.children[0]!;
  expect(chunks).toHaveLength(65537);
  const blob = readFileSync(join(dir, 'blob'));
  const dataOf = (index: number): Buffer => {
    const { compressedOffset, compressedSize } = chunks[index]!;
    return blob.subarray(compressedOffset, compressedOffset + compressedSize);
  };
  const zeros = Buffer.alloc(CHUNK_SIZE);
  const expected = (at: number, text: string): Buffer => {
    const bytes = Buffer.from(zeros);
    bytes.write(text, at);
    return bytes;
  };
  expect(dataOf(0).equals(expected(0, 'start'))).toBe(true);
  expect(dataOf(5000).equals(expected(7, 'middle'))).toBe(true);
  expect(dataOf(65536).toString()).toBe('\0\0end');
  for (const index of [1, 4999, 5001, 65535])
    expect(chunks[index]!.digest.equals(digest('sha256', zeros))).toBe(true);
});

test('a file with more chunks than a blob may have is refused before any of it is stored', async () => {
  await expect(build(sparse(2 ** 50, '', ''))).rejects.toThrow(
    '/f: 1125899906842624 bytes: use a larger --chunk-size',
  );
});
