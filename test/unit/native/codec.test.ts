import { randomBytes } from 'node:crypto';
import zlib from 'node:zlib';
import { crc32c } from '@node-rs/crc32';
import { compressSync } from 'lz4-napi';
import { expect, test } from 'vitest';
import { addon } from '../../../src/native/index.ts';
import { onPool } from '../../support/pool.ts';

const EBADMSG = -74;

/** Data of different grain: noise, text, runs, short periods. */
const samples: Record<string, Uint8Array> = {
  empty: new Uint8Array(0),
  'one byte': new Uint8Array([7]),
  noise: randomBytes(100_000),
  zeros: new Uint8Array(1 << 20),
  text: Buffer.from('the quick brown fox jumps over the lazy dog. '.repeat(3000)),
  mixed: Buffer.concat(
    Array.from({ length: 400 }, (_, i) => (i % 3 ? Buffer.alloc(i, 'ab') : randomBytes(i))),
  ),
};
for (let period = 2; period < 20; period++) {
  samples[`period ${period}`] = Buffer.alloc(5000 + period, randomBytes(period));
}

/** A raw block: lz4-napi puts the length in front. */
const lz4Block = (data: Uint8Array) => Buffer.from(compressSync(Buffer.from(data)).subarray(4));

type Decode = (src: Uint8Array, dst: Uint8Array) => number | Promise<number>;

const decodeAsync = (kind: number, src: Uint8Array, dst: Uint8Array) =>
  onPool((done) => addon.decodeAsync(kind, src, dst, done));
const zstdDecode: Decode = (src, dst) => decodeAsync(3, src, dst);

for (const [name, data] of Object.entries(samples)) {
  test(`lz4 and zstd restore ${name}`, async () => {
    const decoders: [Decode, Uint8Array][] = [
      [addon.lz4Decode, lz4Block(data)],
      [zstdDecode, zlib.zstdCompressSync(data)],
    ];
    for (const [decode, packed] of decoders) {
      const out = new Uint8Array(data.length);
      expect(await decode(packed, out)).toBe(data.length);
      expect(Buffer.compare(out, data)).toBe(0);
      if (data.length > 0) expect(await decode(packed, out.subarray(1))).toBe(EBADMSG);
      expect(await decode(packed.subarray(0, -1), out)).toBe(EBADMSG);
    }
  });
}

test('damaged lz4 and zstd input neither crashes nor writes beside its target', async () => {
  const data = samples.mixed!;
  const packs = [lz4Block(data), zlib.zstdCompressSync(data)];
  let refused = 0;
  for (let round = 0; round < 3000; round++) {
    for (const [i, decode] of [addon.lz4Decode, zstdDecode].entries()) {
      const damaged = Buffer.from(packs[i]!);
      for (let k = 0; k <= round % 4; k++) damaged[Math.floor(Math.random() * damaged.length)] = round & 0xff;
      const length = round % 2 ? data.length : Math.floor(Math.random() * data.length);
      const area = new Uint8Array(length + 64).fill(0xaa);
      const result = await decode(damaged, area.subarray(32, 32 + length));
      if (result < 0) refused++;
      else expect(result).toBeLessThanOrEqual(length);
      const borders = [...area.subarray(0, 32), ...area.subarray(32 + length)];
      expect(borders.every((byte) => byte === 0xaa)).toBe(true);
    }
  }
  expect(refused).toBeGreaterThan(1000);
});

test('lz4 blocks without an end, and offsets before the beginning, are refused', () => {
  const out = new Uint8Array(64);
  for (const block of [
    [],
    [0x10],
    [0xf0],
    [0xf0, 255],
    [0x10, 1, 0, 0],
    [0x10, 1, 2, 0],
    [0x10, 1, 1],
    [0x10, 1, 1, 0],
  ]) {
    expect(addon.lz4Decode(new Uint8Array(block), out)).toBe(EBADMSG);
  }
  expect(addon.lz4Decode(new Uint8Array([0]), out)).toBe(0);
});

test('decoders on pool threads give the same', async () => {
  const data = samples.mixed!;
  const packs = [lz4Block(data), zlib.gzipSync(data), zlib.zstdCompressSync(data)];
  for (const [i, packed] of packs.entries()) {
    const out = new Uint8Array(data.length);
    expect(await decodeAsync(i + 1, packed, out)).toBe(data.length);
    expect(Buffer.compare(out, data)).toBe(0);
    // An LZ4 block has no length of its own: cut between two sequences it is a valid block of less.
    expect(await decodeAsync(i + 1, packed.subarray(0, 100), out)).toBeLessThan(data.length);
  }
  expect(addon.decodeAsync(4, data, data, () => {})).toBe(-22);
});

const zranDecode = (
  src: Uint8Array,
  dst: Uint8Array,
  bits: number,
  byte: number,
  dictionary: Uint8Array | null,
) => onPool((done) => addon.zranDecodeAsync(src, dst, bits, byte, dictionary, done));

test('indexed gzip begins in the middle with a dictionary and crosses members', async () => {
  const data = samples.text!;
  const first = zlib.gzipSync(data);
  const second = zlib.gzipSync(Buffer.from('second member'));
  const both = Buffer.concat([first, second]);
  const whole = new Uint8Array(data.length + 13);
  expect(await zranDecode(both.subarray(10), whole, 0, 0, null)).toBe(whole.length);
  expect(Buffer.compare(whole, Buffer.concat([data, Buffer.from('second member')]))).toBe(0);
  expect(await zranDecode(both.subarray(10), new Uint8Array(whole.length + 1), 0, 0, null)).toBe(EBADMSG);

  const dictionary = data.subarray(0, 1000);
  const tail = zlib.deflateRawSync(data.subarray(1000), { dictionary });
  const out = new Uint8Array(data.length - 1000);
  expect(await zranDecode(tail, out, 0, 0, dictionary)).toBe(out.length);
  expect(Buffer.compare(out, data.subarray(1000))).toBe(0);
  expect(await zranDecode(tail, out, 0, 0, null)).toBe(EBADMSG);
});

test('indexed gzip begins within a byte', async () => {
  const data = Buffer.from('deflate with fixed codes');
  const raw = zlib.deflateRawSync(data, { strategy: zlib.constants.Z_FIXED });
  // Shifted by five bits: the first byte holds the stream's first three bits above foreign ones.
  const shifted = Buffer.alloc(raw.length + 1);
  for (let bit = 0; bit < raw.length * 8; bit++) {
    const to = bit + 5;
    if ((raw[bit >> 3]! >> (bit & 7)) & 1) shifted[to >> 3]! |= 1 << (to & 7);
  }
  const out = new Uint8Array(data.length);
  expect(await zranDecode(shifted.subarray(1), out, 3, shifted[0]! | 0x1f, null)).toBe(data.length);
  expect(Buffer.from(out).toString()).toBe(data.toString());
  expect(await zranDecode(shifted, out, 8, 0, null)).toBe(-22);
  expect(await zranDecode(shifted, out, 0, 256, null)).toBe(-22);
  expect(await zranDecode(shifted, out, 0, 0, new Uint8Array(32_769))).toBe(-22);
  expect(addon.zranDecodeAsync(shifted, out, 0, 0, 'x' as never, () => {})).toBe(-22);
  expect(addon.zranDecodeAsync(shifted, out, 0, 0, null, 1 as never)).toBe(-22);
});

test('damaged indexed gzip does not crash', async () => {
  const packed = zlib.deflateRawSync(samples.mixed!);
  const out = new Uint8Array(samples.mixed!.length);
  for (let i = 0; i < 500; i++) {
    const damaged = Buffer.from(packed);
    damaged[Math.floor(Math.random() * damaged.length)]! ^= 1 << (i & 7);
    const result = await zranDecode(damaged, out, i & 7, i & 0xff, null);
    expect(result === EBADMSG || result === out.length).toBe(true);
  }
});

test('crc32c agrees with the published check value and another implementation', () => {
  expect(addon.crc32c(Buffer.from('123456789'))).toBe(0xe3069283);
  for (let length = 0; length < 100; length++) {
    const bytes = randomBytes(length);
    expect(addon.crc32c(bytes)).toBe(crc32c(bytes));
  }
});

test('a gzip member that is longer than its target gives its beginning, as chunks of eStargz layers need', async () => {
  const data = samples.mixed!;
  const packed = zlib.gzipSync(data);
  const out = new Uint8Array(1000);
  expect(await decodeAsync(2, packed, out)).toBe(1000);
  expect(Buffer.compare(out, data.subarray(0, 1000))).toBe(0);
  // Where the data ends with the target, the checksum behind it counts.
  const whole = new Uint8Array(data.length);
  const wrong = Buffer.from(packed);
  wrong[packed.length - 8]! ^= 1;
  expect(await decodeAsync(2, wrong, whole)).toBe(EBADMSG);
  expect(await decodeAsync(2, packed.subarray(0, -1), whole)).toBe(EBADMSG);
  expect(await decodeAsync(2, packed.subarray(0, 20), out)).toBe(EBADMSG);
});
