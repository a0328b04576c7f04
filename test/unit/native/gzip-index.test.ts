import { constants, gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { GzipReport } from '../../../src/native/gzip-index.ts';
import { addon } from '../../../src/native/index.ts';
import { generator } from '../../fuzz/random.ts';
import { gzipMembers } from '../../support/gzip.ts';
import { onPool } from '../../support/pool.ts';

const EINVAL = -22;
const EBADMSG = -74;

/** Text, noise and runs, so that blocks of all types come. */
function sample(seed: number, size: number): Buffer {
  const random = generator(seed);
  const parts: Buffer[] = [];
  for (let length = 0; length < size; ) {
    const part = Buffer.alloc(1 + random(5000), random(3) === 0 ? 'the quick brown fox ' : random(256));
    if (random(3) === 0) for (let i = 0; i < part.length; i++) part[i] = random(256);
    parts.push(part);
    length += part.length;
  }
  return Buffer.concat(parts).subarray(0, size);
}

/** What the addon hands out for an index. */
type Handle = Exclude<ReturnType<typeof addon.gzipIndexCreate>, number>;

function open(): Handle {
  const index = addon.gzipIndexCreate();
  if (typeof index === 'number') throw new Error(`${index}`);
  return index;
}

interface Place {
  readonly in: number;
  readonly out: number;
  readonly bits: number;
  readonly byte: number;
  readonly dictionary: Buffer;
}

/** Inflates in steps of random sizes; the plain bytes and every place reported on the way. */
function inflate(file: Buffer, plainSize: number, seed: number): { plain: Buffer; places: Place[] } {
  const random = generator(seed);
  const index = open();
  const report = new Float64Array(GzipReport.size);
  const plain = Buffer.alloc(plainSize);
  const places: Place[] = [];
  for (let at = 0, filled = 0; at < file.length; ) {
    const end = Math.min(file.length, at + 1 + random(70_000));
    const want = Math.min(plainSize, filled + 1 + random(50_000));
    const scratch = filled === plainSize ? Buffer.alloc(1) : plain;
    const [from, to] = filled === plainSize ? [0, 1] : [filled, want];
    expect(addon.gzipIndexRead(index, file, at, end, scratch, from, to, report)).toBe(0);
    at += report[GzipReport.consumed]!;
    filled += report[GzipReport.produced]!;
    expect(report[GzipReport.totalIn]).toBe(at);
    expect(report[GzipReport.totalOut]).toBe(filled);
    const dictionary = Buffer.alloc(32_768);
    const size = addon.gzipIndexDictionary(index, dictionary);
    expect(size).toBe(report[GzipReport.dictionarySize]);
    places.push({
      in: report[GzipReport.blockIn]!,
      out: report[GzipReport.blockOut]!,
      bits: report[GzipReport.blockBits]!,
      byte: report[GzipReport.blockByte]!,
      dictionary: dictionary.subarray(0, size),
    });
  }
  expect(report[GzipReport.insideMember]).toBe(0);
  return { plain, places };
}

describe.each([
  { name: 'one member', cuts: [] },
  { name: 'members at any place', cuts: [1, 2, 40_000, 333_333, 600_000, 600_000, 700_000] },
])('a gzip file of $name', ({ cuts }) => {
  const plain = sample(1, 900_000);
  const file = gzipMembers(plain, cuts);

  test.each([1, 2, 3])('gives its plain bytes however it is read (seed %i)', (seed) => {
    expect(inflate(file, plain.length, seed).plain.equals(plain)).toBe(true);
  });

  test('can be inflated from each place reported, to its end', async () => {
    const { places } = inflate(file, plain.length, 4);
    const distinct = new Map(places.map((place) => [`${place.in}:${place.out}`, place]));
    expect(distinct.size).toBeGreaterThan(4);
    for (const { in: from, out, bits, byte, dictionary } of distinct.values()) {
      const rest = Buffer.alloc(plain.length - out);
      const tail = file.subarray(from);
      const result = onPool((done) => addon.zranDecodeAsync(tail, rest, bits, byte, dictionary, done));
      expect(await result, `from ${from}`).toBe(rest.length);
      expect(rest.equals(plain.subarray(out)), `from ${from}`).toBe(true);
    }
  });
});

test('thousands of empty blocks take no longer than their bytes', () => {
  const empty = Buffer.from([0, 0, 0, 0xff, 0xff]);
  const body = Buffer.concat(Array.from({ length: 200_000 }, () => empty));
  const header = gzipSync('').subarray(0, 10);
  const report = new Float64Array(GzipReport.size);
  const started = performance.now();
  const file = Buffer.concat([header, body]);
  const result = addon.gzipIndexRead(open(), file, 0, file.length, Buffer.alloc(1), 0, 1, report);
  expect(result).toBe(0);
  expect(report[GzipReport.consumed]).toBe(file.length);
  // A copy of the window for each block would be 6 GB.
  expect(performance.now() - started).toBeLessThan(1000);
});

test('damage is reported or changes the bytes, and never crashes', () => {
  const plain = sample(7, 100_000);
  const file = gzipMembers(plain, [30_000]);
  const random = generator(8);
  let refused = 0;
  for (let round = 0; round < 400; round++) {
    const damaged = Buffer.from(file);
    damaged[random(damaged.length)]! ^= 1 + random(255);
    const out = Buffer.alloc(plain.length + 10);
    const report = new Float64Array(GzipReport.size);
    const result = addon.gzipIndexRead(open(), damaged, 0, damaged.length, out, 0, out.length, report);
    expect([0, EBADMSG]).toContain(result);
    if (result === EBADMSG) refused++;
  }
  expect(refused).toBeGreaterThan(200);
});

test('a stream that is cut says that it is inside a member', () => {
  const file = gzipSync(sample(9, 10_000), { level: constants.Z_BEST_SPEED });
  const report = new Float64Array(GzipReport.size);
  const out = Buffer.alloc(20_000);
  expect(addon.gzipIndexRead(open(), file, 0, file.length - 1, out, 0, out.length, report)).toBe(0);
  expect(report[GzipReport.insideMember]).toBe(1);
});

test('bad arguments are refused', () => {
  const index = open();
  const bytes = Buffer.alloc(16);
  const report = new Float64Array(GzipReport.size);
  const read = addon.gzipIndexRead as (...args: unknown[]) => number;
  for (const args of [
    [{}, bytes, 0, 16, bytes, 0, 16, report],
    [null, bytes, 0, 16, bytes, 0, 16, report],
    [index, bytes, 0, 17, bytes, 0, 16, report],
    [index, bytes, 9, 8, bytes, 0, 16, report],
    [index, bytes, -1, 8, bytes, 0, 16, report],
    [index, bytes, 0, 16, bytes, 0, 17, report],
    [index, bytes, 0, 16, bytes, 0, 16, new Float64Array(10)],
    [index, 'text', 0, 4, bytes, 0, 16, report],
  ])
    expect(read(...args)).toBe(EINVAL);
  expect((addon.gzipIndexDictionary as (...args: unknown[]) => number)({}, bytes)).toBe(EINVAL);
});
