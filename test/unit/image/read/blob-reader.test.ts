import { createHash } from 'node:crypto';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { StoredChunk } from '../../../../src/image/model/chunk.ts';
import { type ImageNode, inOrder, isRegular } from '../../../../src/image/model/node.ts';
import { BlobReader } from '../../../../src/image/read/blob-reader.ts';
import { type LoadedImage, loadImage } from '../../../../src/image/read/load.ts';
import { LocalfsSource } from '../../../../src/source/localfs.ts';
import { missingBlobs, sourceOf } from '../../../support/images.ts';
import { escapeName, FIXTURES, imageNames, manifestRows } from '../../../support/rafs-fixtures.ts';

const SHA256 = 11;
const names = imageNames(FIXTURES).filter((name) => missingBlobs(FIXTURES, name).length === 0);

let dir: string;
let opened: LocalfsSource[];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'blob-reader-'));
  opened = [];
});
afterEach(async () => {
  for (const source of opened) await source.close();
  rmSync(dir, { recursive: true, force: true });
});

async function open(
  name: string,
  blobDir = join(FIXTURES, 'blobs'),
): Promise<{ image: LoadedImage; reader: BlobReader }> {
  const image = await loadImage(sourceOf(FIXTURES, name));
  const source = new LocalfsSource({ dir: blobDir });
  opened.push(source);
  return { image, reader: new BlobReader(image, source) };
}

const filesOf = (image: LoadedImage): ImageNode[] => [...inOrder(image.root)].filter(isRegular);

async function sha256(bytes: AsyncIterable<Uint8Array>): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of bytes) hash.update(piece);
  return hash.digest('hex');
}

describe('reading the chunks of images', () => {
  test.each(names)('every file of %s has the content that its manifest says', async (name) => {
    const { image, reader } = await open(name);
    const rows = new Map(manifestRows(FIXTURES, name).map((row) => [row[0]!, row]));
    for (const node of filesOf(image)) {
      const path = escapeName(node.sourcePath);
      expect(await sha256(reader.inOrder(node.chunks)), path).toBe(rows.get(path)![SHA256]);
    }
  });

  test.each(names)('chunks of %s in any order are those read in order', async (name) => {
    const { image, reader } = await open(name);
    const chunks = image.chunks.toSorted((a, b) => Buffer.compare(a.digest, b.digest));
    const straight = await sha256(reader.inOrder(chunks));
    const { reader: other } = await open(name);
    const pieces = new Map<StoredChunk, Uint8Array>();
    for (const chunk of image.chunks.toReversed()) pieces.set(chunk, (await other.read(chunk)).slice());
    const hash = createHash('sha256');
    for (const chunk of chunks) hash.update(pieces.get(chunk)!);
    expect(hash.digest('hex')).toBe(straight);
  });

  test('chunks are found by number, those no file refers to included', async () => {
    const { image, reader } = await open('v6-dict');
    const row = image.bootstrap.blobs[0]!;
    const used = new Set(image.chunks.filter(({ blobIndex }) => blobIndex === 0).map(({ index }) => index));
    expect(used.size).toBeLessThan(row.chunkCount);
    let next = 0;
    for await (const { offset, bytes } of reader.pieces(0)) {
      const place = await reader.chunkInfo(0, next);
      expect({ offset, size: bytes.length }).toEqual({
        offset: place?.uncompressedOffset,
        size: place?.uncompressedSize,
      });
      next++;
    }
    expect(next).toBe(row.chunkCount);
    expect(await reader.chunkInfo(0, row.chunkCount)).toBeNull();
    await expect(reader.readChunk(0, row.chunkCount)).rejects.toThrow(`no chunk ${row.chunkCount}`);
  });

  test('the pieces of a tarfs blob are the tar', async () => {
    const { image, reader } = await open('v6-tarfs');
    const { id } = image.bootstrap.blobs[0]!;
    const pieces: Uint8Array[] = [];
    let end = 0;
    for await (const { offset, bytes } of reader.pieces(0, 2)) {
      expect(offset).toBe(end);
      end += bytes.length;
      pieces.push(bytes);
    }
    expect(Buffer.concat(pieces).equals(readFileSync(join(FIXTURES, 'blobs', id)))).toBe(true);
  });

  test('chunks of v5 are found by number, too', async () => {
    const { image, reader } = await open('v5-zstd-sha256');
    const chunk = image.chunks[3]!;
    expect(await reader.readChunk(chunk.blobIndex, chunk.index)).toEqual(await reader.read(chunk));
    expect(await reader.chunkInfo(0, image.bootstrap.blobs[0]!.chunkCount)).toBeNull();
  });
});

describe('blobs that are not what the image says', () => {
  async function copyBlob(name: string): Promise<{ path: string; chunk: StoredChunk }> {
    const { image } = await open(name);
    const { id } = image.bootstrap.blobs[0]!;
    const path = join(dir, id);
    copyFileSync(join(FIXTURES, 'blobs', id), path);
    return { path, chunk: image.chunks[1]! };
  }

  test.each([
    'v5-none-blake3',
    'v5-zstd-sha256',
    'v6-zstd-blake3',
    'v6-lz4_block-sha256',
    'v6-encrypt',
  ])('a changed byte in a blob of %s is an error that names blob and chunk; other chunks are read', async (name) => {
    const { path, chunk } = await copyBlob(name);
    const { image, reader: good } = await open(name);
    const place = await good.locate(chunk);
    const bytes = readFileSync(path);
    bytes[place.unit.start + (place.unit.size >> 1)]! ^= 0x40;
    writeFileSync(path, bytes);
    const { reader } = await open(name, dir);
    await expect(reader.read(chunk)).rejects.toThrow(/blob [0-9a-f]{64} chunk \d+: .*/);
    const other = image.chunks.find(({ index }) => index === chunk.index + 1)!;
    expect((await reader.read(other)).length).toBe(other.uncompressedSize);
  });

  test('a blob that was cut off is named, with what it should have', async () => {
    const { path, chunk } = await copyBlob('v6-zstd-blake3');
    truncateSync(path, 1000);
    const { reader } = await open('v6-zstd-blake3', dir);
    await expect(reader.read(chunk)).rejects.toThrow(/blob [0-9a-f]{64} size = 1000: at least \d+/);
  });

  test('a blob that is not there is named', async () => {
    const { image, reader } = await open('v6-merge3', dir);
    await expect(reader.read(image.chunks[0]!)).rejects.toMatchObject({ code: 'SOURCE_NOT_FOUND' });
  });

  test('reading in order stops at the damaged chunk, after those before it', async () => {
    const { path } = await copyBlob('v5-none-blake3');
    const { image } = await open('v5-none-blake3');
    const chunks = image.chunks.toSorted((a, b) => a.index - b.index).slice(0, 5);
    const bytes = readFileSync(path);
    bytes[chunks[3]!.compressedOffset]! ^= 1;
    writeFileSync(path, bytes);
    const { reader } = await open('v5-none-blake3', dir);
    let read = 0;
    const all = (async () => {
      for await (const _ of reader.inOrder(chunks)) read++;
    })();
    await expect(all).rejects.toMatchObject({ code: 'BLOB_CORRUPT' });
    expect(read).toBe(3);
  });
});
