import { expect, it, test } from 'vitest';
import {
  decodeToc,
  decodeTrailingTarHeader,
  encodeToc,
  encodeTrailingTarHeader,
} from '../../../src/wire/blob-toc.ts';

function entry(flags: number, name: string, offset: number, csize: number): Buffer {
  const bytes = Buffer.alloc(128);
  bytes.writeUInt32LE(flags);
  bytes.write(name, 8);
  bytes.writeBigUInt64LE(BigInt(offset), 56);
  bytes.writeBigUInt64LE(BigInt(csize), 64);
  bytes.writeBigUInt64LE(99n, 72);
  return bytes;
}

function tarHeader(name: string, size: string | Buffer): Buffer {
  const bytes = Buffer.alloc(512);
  bytes.write(name);
  if (typeof size === 'string') bytes.write(size, 124);
  else size.copy(bytes, 124);
  bytes.write('        ', 148);
  bytes.write('0', 156);
  bytes.write('ustar  \0', 257);
  let sum = 0;
  for (const byte of bytes) sum += byte;
  bytes.write(`${sum.toString(8).padStart(7, '0')}\0`, 148);
  return bytes;
}

it('a name may use all 16 bytes', () => {
  const toc = decodeToc(
    Buffer.concat([entry(1, 'blob.meta.header', 0, 10), entry(2, 'image.boot', 10, 5)]),
    15,
  );
  expect(toc.map(({ name, compressor }) => [name, compressor])).toEqual([
    ['blob.meta.header', 'none'],
    ['image.boot', 'zstd'],
  ]);
});

it('the offset of image.blob, which old writers get wrong, is not checked', () => {
  expect(decodeToc(entry(1, 'image.blob', 100, 100), 100)).toHaveLength(1);
});

it.each([
  ['outside the blob', entry(1, 'image.boot', 10, 6), /toc\[0\]\.compressed_offset/],
  ['with an unknown compressor', entry(8, 'image.boot', 0, 6), /toc\[0\]\.flags/],
  ['without a name', entry(1, '', 0, 6), /toc\[0\]\.name/],
  ['cut off', entry(1, 'image.boot', 0, 6).subarray(0, 127), /toc size/],
])('an entry %s is refused', (_, bytes, message) => {
  expect(() => decodeToc(bytes, 15)).toThrow(message);
});

it('a tar header gives name and size, octal or base-256', () => {
  expect(decodeTrailingTarHeader(tarHeader('image.boot', '00000000017\0'))).toEqual({
    name: 'image.boot',
    size: 15,
  });
  const large = Buffer.alloc(12);
  large[0] = 0x80;
  large.writeBigUInt64BE(9_000_000_000n, 4);
  expect(decodeTrailingTarHeader(tarHeader('image.blob', large))?.size).toBe(9_000_000_000);
});

it('data with a wrong checksum is no tar header', () => {
  const bytes = tarHeader('image.boot', '00000000017\0');
  bytes[0]! ^= 1;
  expect(decodeTrailingTarHeader(bytes)).toBe(null);
});

it.each([0, 1, 2 ** 33 - 1, 2 ** 33, 2 ** 40 + 77])('a trailing header of %i bytes reads back', (size) => {
  const header = encodeTrailingTarHeader('image.blob', size);
  expect(header.length).toBe(512);
  expect(decodeTrailingTarHeader(header)).toEqual({ name: 'image.blob', size });
});

test('a table of contents reads back, names as long as they can be', () => {
  const entries = (['none', 'zstd', 'lz4_block'] as const).map((compressor, i) => ({
    name: ['image.blob', 'blob.meta.header', 'image.boot'][i]!,
    compressor,
    digest: new Uint8Array(32).fill(i + 1),
    compressedOffset: 2 ** 40 + i,
    compressedSize: 100 * i,
    uncompressedSize: 2 ** 33 * i,
  }));
  expect(decodeToc(encodeToc(entries), 2 ** 41)).toEqual(entries);
});
