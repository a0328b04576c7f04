import { createCipheriv, createHash, randomBytes } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { deflateRawSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { blake3 } from '@napi-rs/blake-hash';
import { compressSync } from 'lz4-napi';
import { afterAll, describe, expect, test } from 'vitest';
import { addon } from '../../../src/native/index.ts';
import { UnitDigest, UnitKind, UnitPiece, UnitVerdict } from '../../../src/native/unit.ts';
import { generator } from '../../fuzz/random.ts';
import { onPool } from '../../support/pool.ts';

const { EBADF, EBADMSG, ECANCELED, EINVAL, ENOSPC, ERANGE } = constants.errno;
const directory = mkdtempSync(join(tmpdir(), 'unit-'));
afterAll(() => rmSync(directory, { recursive: true }));

interface Row {
  readonly at: number;
  readonly length: number;
  readonly cacheOffset?: number;
  readonly crc32c?: number;
  readonly digest?: number;
  readonly digestAt?: number;
}

interface Unit {
  readonly fd: number;
  readonly kind: number;
  readonly bits: number;
  readonly byte: number;
  readonly src: Uint8Array;
  readonly dst: Uint8Array;
  readonly cipher: Uint8Array | null;
  readonly dictionary: Uint8Array | null;
  readonly pieces: Float64Array;
  readonly digests: Uint8Array;
  readonly verdicts: Int32Array;
}

function table(rows: readonly Row[]): Float64Array {
  const pieces = new Float64Array(rows.length * UnitPiece.columns);
  for (const [i, row] of rows.entries()) {
    const { at, length, cacheOffset = -1, crc32c = -1, digest = UnitDigest.none, digestAt = 0 } = row;
    pieces.set([at, length, cacheOffset, crc32c, digest, digestAt], i * UnitPiece.columns);
  }
  return pieces;
}

function unit(src: Uint8Array, size: number, rows: readonly Row[], more: Partial<Unit> = {}): Unit {
  const pieces = table(rows);
  const verdicts = new Int32Array(rows.length).fill(99);
  const nothing = { cipher: null, dictionary: null, digests: new Uint8Array(0) };
  const plain = { fd: -1, kind: UnitKind.none, bits: 0, byte: 0, src, dst: Buffer.alloc(size) };
  return { ...plain, ...nothing, pieces, verdicts, ...more };
}

function land(u: Unit): Promise<number> {
  const { fd, kind, bits, byte, src, dst, cipher, dictionary, pieces, digests, verdicts } = u;
  return onPool((done) =>
    addon.landUnit(fd, kind, bits, byte, src, dst, cipher, dictionary, pieces, digests, verdicts, done),
  );
}

/** A new file, and what it holds at the end. */
async function withFile(use: (fd: number) => Promise<void>): Promise<Buffer> {
  const path = join(directory, randomBytes(6).toString('hex'));
  const fd = openSync(path, 'w+');
  await use(fd);
  closeSync(fd);
  return readFileSync(path);
}

const text = Buffer.from('the quick brown fox jumps over the lazy dog. '.repeat(3000));
const lz4Block = (bytes: Uint8Array) => Buffer.from(compressSync(Buffer.from(bytes)).subarray(4));
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest();
const dictionary = text.subarray(0, 1000);

const stored: readonly (readonly [string, Partial<Unit>, Uint8Array])[] = [
  ['none', { kind: UnitKind.none }, text],
  ['lz4_block', { kind: UnitKind.lz4_block }, lz4Block(text)],
  ['gzip', { kind: UnitKind.gzip }, gzipSync(text)],
  ['zstd', { kind: UnitKind.zstd }, zstdCompressSync(text)],
  ['zran', { kind: UnitKind.zran }, deflateRawSync(text)],
  ['zran with a dictionary', { kind: UnitKind.zran, dictionary }, deflateRawSync(text, { dictionary })],
];

describe.each(stored)('a unit of %s', (name, how, src) => {
  test('lands where its pieces belong, and nowhere else', async () => {
    const rows = [
      { at: 0, length: 4096, cacheOffset: 10_000, crc32c: addon.crc32c(text.subarray(0, 4096)) },
      { at: 4096, length: 1, cacheOffset: 0, digest: UnitDigest.sha256 },
      { at: 5000, length: 100_000, cacheOffset: 20_000, digest: UnitDigest.blake3, digestAt: 32 },
      { at: text.length, length: 0, cacheOffset: 1 },
      { at: 0, length: text.length },
    ];
    const digests = Buffer.concat([sha256(text.subarray(4096, 4097)), blake3(text.subarray(5000, 105_000))]);
    const u = unit(src, text.length, rows, { ...how, digests });
    const file = await withFile(async (fd) => expect(await land({ ...u, fd })).toBe(0));
    expect([...u.verdicts]).toEqual([0, 0, 0, 0, 0]);
    expect(Buffer.compare(u.dst, text)).toBe(0);
    const expected = Buffer.alloc(120_000);
    expected.set(text.subarray(4096, 4097), 0);
    expected.set(text.subarray(0, 4096), 10_000);
    expected.set(text.subarray(5000, 105_000), 20_000);
    expect(file.equals(expected)).toBe(true);
  });

  test('must be exactly as large as its target', async () => {
    for (const size of [text.length - 1, text.length + 1, 0]) {
      const u = unit(src, size, [{ at: 0, length: 0 }], how);
      const isCut = size < text.length && (name === 'gzip' || name.startsWith('zran'));
      // Of a gzip member or context the beginning is taken: files of one layer share it.
      expect(await land(u)).toBe(isCut ? 0 : -EBADMSG);
      expect([...u.verdicts]).toEqual([isCut ? 0 : -ECANCELED]);
    }
  });

  test('that is cut is refused, and nothing is written', async () => {
    const file = await withFile(async (fd) => {
      for (const length of [0, 1, src.length >> 1, src.length - 1]) {
        const u = unit(src.subarray(0, length), text.length, [{ at: 0, length: 9, cacheOffset: 0 }], how);
        const isWhole = name.startsWith('zran') && length === src.length - 1;
        // The last byte of a context may hold no more than the end of its block.
        if (!isWhole) expect(await land({ ...u, fd })).toBe(-EBADMSG);
      }
    });
    expect(file.length).toBe(0);
  });

  test('that is damaged never passes as what it was', async () => {
    const random = generator(5);
    const rows = [{ at: 0, length: text.length, digest: UnitDigest.blake3 }];
    let refused = 0;
    for (let round = 0; round < 200; round++) {
      const damaged = Buffer.from(src);
      damaged[random(damaged.length)]! ^= 1 + random(255);
      const u = unit(damaged, text.length, rows, { ...how, digests: blake3(text) });
      const result = await land(u);
      if (result === -EBADMSG || u.verdicts[0] === UnitVerdict.wrongDigest) refused++;
      else expect([result, u.verdicts[0], Buffer.compare(u.dst, text)]).toEqual([0, 0, 0]);
    }
    expect(refused).toBeGreaterThan(150);
  });
});

describe('pieces', () => {
  const good = addon.crc32c(text.subarray(0, 100));

  test('fail one by one, and what fails is not written', async () => {
    const digests = Buffer.concat([sha256(text.subarray(0, 100)), blake3(text.subarray(0, 100))]);
    digests[63]! ^= 1;
    const rows = [
      { at: 0, length: 100, cacheOffset: 0, crc32c: good },
      { at: 0, length: 100, cacheOffset: 100, crc32c: good ^ 1 },
      { at: 0, length: 100, cacheOffset: 200, digest: UnitDigest.blake3, digestAt: 32 },
      { at: 1, length: 100, cacheOffset: 300, digest: UnitDigest.sha256 },
      { at: 0, length: 100, cacheOffset: 400, crc32c: good, digest: UnitDigest.sha256 },
      { at: 0, length: 100, cacheOffset: 500, crc32c: 0, digest: UnitDigest.sha256 },
    ].map((row) => ({ ...row, crc32c: row.crc32c === undefined ? -1 : row.crc32c >>> 0 }));
    const u = unit(text, text.length, rows, { digests });
    const file = await withFile(async (fd) => expect(await land({ ...u, fd })).toBe(0));
    const { good: ok, wrongCrc, wrongDigest } = UnitVerdict;
    expect([...u.verdicts]).toEqual([ok, wrongCrc, wrongDigest, wrongDigest, ok, wrongCrc]);
    const expected = Buffer.alloc(500);
    for (const at of [0, 400]) expected.set(text.subarray(0, 100), at);
    expect(file.equals(expected)).toBe(true);
  });

  test('may overlap, in the target and in the file', async () => {
    const rows = [
      { at: 0, length: 100, cacheOffset: 0 },
      { at: 50, length: 100, cacheOffset: 50 },
    ];
    const u = unit(text, text.length, rows);
    const file = await withFile(async (fd) => expect(await land({ ...u, fd })).toBe(0));
    expect(file.equals(text.subarray(0, 150))).toBe(true);
  });

  test('of a full disk say so, each', async () => {
    const fd = openSync('/dev/full', 'w');
    const rows = [
      { at: 0, length: 100, cacheOffset: 0 },
      { at: 0, length: 100 },
      { at: 0, length: 0, cacheOffset: 0 },
    ];
    const u = unit(text, text.length, rows, { fd });
    expect(await land(u)).toBe(0);
    closeSync(fd);
    expect([...u.verdicts]).toEqual([-ENOSPC, 0, 0]);
  });

  test('of a file that is closed say so, and wrong ones are wrong', async () => {
    const fd = openSync('/dev/null', 'w');
    closeSync(fd);
    const rows = [
      { at: 0, length: 100, cacheOffset: 0 },
      { at: 0, length: 100, cacheOffset: 0, crc32c: (good ^ 1) >>> 0 },
      { at: 0, length: 100 },
    ];
    const u = unit(text, text.length, rows, { fd });
    expect(await land(u)).toBe(0);
    expect([...u.verdicts]).toEqual([-EBADF, UnitVerdict.wrongCrc, 0]);
  });

  test('are written although the descriptor is closed before', async () => {
    const path = join(directory, 'closed-early');
    const fd = openSync(path, 'w');
    const landing = land(unit(text, text.length, [{ at: 0, length: 5, cacheOffset: 0 }], { fd }));
    closeSync(fd);
    expect(await landing).toBe(0);
    expect(readFileSync(path, 'latin1')).toBe('the q');
  });

  test('are taken as they were when the call was made', async () => {
    const digests = Buffer.from(sha256(text));
    const cipher = randomBytes(48);
    const rows = [{ at: 0, length: text.length, digest: UnitDigest.sha256 }];
    const u = unit(encrypted(cipher, text), text.length, rows, { digests, cipher });
    const landing = land(u);
    for (const copied of [digests, cipher, u.pieces]) copied.fill(1);
    expect(await landing).toBe(0);
    expect([...u.verdicts]).toEqual([0]);
  });

  test('of one buffer may land in place', async () => {
    const bytes = Buffer.from(text);
    const u = unit(bytes, 0, [{ at: 0, length: 100, crc32c: good }], { dst: bytes });
    expect(await land(u)).toBe(0);
    expect([...u.verdicts]).toEqual([0]);
    expect(bytes.equals(text)).toBe(true);
  });
});

function encrypted(cipher: Uint8Array, plain: Uint8Array): Buffer {
  const stream = createCipheriv('aes-128-xts', cipher.subarray(0, 32), cipher.subarray(32));
  return Buffer.concat([stream.update(plain), stream.final()]);
}

/** As the builder encrypts what is shorter than a block. */
function padded(plain: Uint8Array): Buffer {
  const fill = 16 - plain.length;
  return Buffer.concat([plain, Buffer.alloc(fill, fill), Buffer.from([0x78, 0x90])]);
}

describe('encrypted units', () => {
  const cipher = randomBytes(48);

  test.each(stored)('of %s are decrypted first', async (_, how, src) => {
    const u = unit(encrypted(cipher, src), text.length, [{ at: 0, length: 1 }], { ...how, cipher });
    expect(await land(u)).toBe(0);
    expect(Buffer.compare(u.dst, text)).toBe(0);
    const other = Buffer.from(cipher);
    other[3]! ^= 1;
    const rows = [{ at: 0, length: text.length, digest: UnitDigest.sha256 }];
    const wrong = unit(u.src, text.length, rows, { ...how, cipher: other, digests: sha256(text) });
    const result = await land(wrong);
    expect(result === -EBADMSG || wrong.verdicts[0] === UnitVerdict.wrongDigest).toBe(true);
  });

  test('of any length come out whole', async () => {
    for (let length = 16; length < 100; length++) {
      const plain = text.subarray(0, length);
      const u = unit(encrypted(cipher, plain), length, [], { cipher });
      expect(await land(u)).toBe(0);
      expect(Buffer.compare(u.dst, plain)).toBe(0);
    }
  });

  test('shorter than a block lose their padding', async () => {
    for (let length = 0; length < 16; length++) {
      const plain = text.subarray(0, length);
      const u = unit(encrypted(cipher, padded(plain)), length, [], { cipher });
      expect(await land(u)).toBe(0);
      expect(Buffer.compare(u.dst, plain)).toBe(0);
    }
  });

  test('of 18 bytes that only look padded keep them', async () => {
    const ends = [
      [3, 4, 4, 0x78, 0x90],
      [0, 0, 0, 0x78, 0x90],
      [17, 17, 17, 0x78, 0x90],
      [3, 3, 3, 0x78, 0x91],
      [3, 3, 3, 0x79, 0x90],
    ];
    for (const end of ends) {
      const plain = Buffer.concat([text.subarray(0, 13), Buffer.from(end)]);
      const u = unit(encrypted(cipher, plain), 18, [], { cipher });
      expect(await land(u)).toBe(0);
      expect(Buffer.compare(u.dst, plain)).toBe(0);
    }
  });

  test('of less than a block are refused', async () => {
    for (const length of [0, 1, 15]) {
      expect(await land(unit(Buffer.alloc(length), length, [], { cipher }))).toBe(-EBADMSG);
    }
  });
});

describe('a batch', () => {
  const kind = UnitKind.zstd | UnitKind.maybeRaw;

  test('is raw if it has the size of its target, and compressed otherwise', async () => {
    for (const src of [text, zstdCompressSync(text)]) {
      const u = unit(src, text.length, [{ at: 0, length: 1 }], { kind });
      expect(await land(u)).toBe(0);
      expect(Buffer.compare(u.dst, text)).toBe(0);
    }
    expect(await land(unit(text, text.length + 1, [], { kind }))).toBe(-EBADMSG);
  });

  test('of a few encrypted bytes is measured without its padding', async () => {
    const cipher = randomBytes(48);
    const plain = text.subarray(0, 7);
    const u = unit(encrypted(cipher, padded(plain)), 7, [], { kind, cipher });
    expect(await land(u)).toBe(0);
    expect(Buffer.compare(u.dst, plain)).toBe(0);
  });
});

describe('BLAKE3', () => {
  const random = generator(11);
  const noise = Buffer.from(Array.from({ length: (4 << 20) + 1 }, () => random(256)));

  async function agree(sizes: readonly number[], from = 0): Promise<void> {
    const rows = sizes.map((length, i) => ({
      at: from,
      length,
      digest: UnitDigest.blake3,
      digestAt: 32 * i,
    }));
    const digests = Buffer.concat(sizes.map((length) => blake3(noise.subarray(from, from + length))));
    const u = unit(noise, 0, rows, { dst: noise, digests });
    expect(await land(u)).toBe(0);
    expect(sizes.filter((_, i) => u.verdicts[i] !== 0)).toEqual([]);
  }

  test('is that of another implementation for every size up to 5000', async () => {
    await agree(Array.from({ length: 5001 }, (_, size) => size));
  });

  test('is so around whole chunks and groups of them', async () => {
    const counts = [...Array.from({ length: 40 }, (_, i) => i + 1), 63, 64, 65, 127, 128, 129, 255, 256, 257];
    for (const count of [...counts, 383, 384, 385, 511, 512, 513, 1023, 1024, 1025, 2048, 4096])
      await agree([count * 1024 - 1, count * 1024, count * 1024 + 1], 0);
  });

  test('is so at any address and size', async () => {
    for (let i = 0; i < 50; i++) await agree([random(3 << 20), random(70_000)], random(1 << 20));
  });

  test('is that of the paper', async () => {
    const digests = Buffer.from('af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262', 'hex');
    const u = unit(new Uint8Array(0), 0, [{ at: 0, length: 0, digest: UnitDigest.blake3 }], { digests });
    expect(await land(u)).toBe(0);
    expect([...u.verdicts]).toEqual([0]);
  });
});

describe('refuses, before anything is done,', () => {
  const bytes = Buffer.alloc(100);
  const row = { at: 0, length: 100 };
  const cases: Record<string, [Partial<Unit>, readonly Row[], number]> = {
    'a kind that is not known': [{ kind: 5 }, [row], ERANGE],
    'a kind below 0': [{ kind: -1 }, [row], ERANGE],
    'a kind beyond all': [{ kind: 16 }, [row], ERANGE],
    'more bits than a byte has to spare': [{ bits: 8 }, [row], ERANGE],
    'a byte above 255': [{ byte: 256 }, [row], ERANGE],
    'a dictionary larger than a window': [{ dictionary: Buffer.alloc(32_769) }, [row], ERANGE],
    'a key of another size': [{ cipher: Buffer.alloc(47) }, [row], ERANGE],
    'half a row': [{ pieces: new Float64Array(7) }, [row, row], ERANGE],
    'too few verdicts': [{ verdicts: new Int32Array(1) }, [row, row], ERANGE],
    'a piece behind the target': [{}, [row, { at: 101, length: 0 }], ERANGE],
    'a piece that goes beyond the target': [{}, [{ at: 1, length: 100 }], ERANGE],
    'a piece below 0': [{}, [{ at: -1, length: 1 }], ERANGE],
    'a length below 0': [{}, [{ at: 1, length: -1 }], ERANGE],
    'a place of half a byte': [{}, [{ at: 0.5, length: 1 }], ERANGE],
    'a length that is no number': [{}, [{ at: 0, length: Number.NaN }], ERANGE],
    'a sum that overflows': [{}, [{ at: 2 ** 53, length: 2 ** 63 }], ERANGE],
    'a length without end': [{}, [{ at: 0, length: Number.POSITIVE_INFINITY }], ERANGE],
    'a cache offset below -1': [{}, [{ ...row, cacheOffset: -2 }], ERANGE],
    'a cache offset that overflows': [{}, [{ ...row, cacheOffset: 2 ** 53 - 50 }], ERANGE],
    'a CRC below -1': [{}, [{ ...row, crc32c: -2 }], ERANGE],
    'a CRC of more than 32 bits': [{}, [{ ...row, crc32c: 2 ** 32 }], ERANGE],
    'a digest that is not known': [{}, [{ ...row, digest: 3 }], ERANGE],
    'a digest that is not there': [{}, [{ ...row, digest: 1 }], ERANGE],
    'a digest that goes beyond the digests': [
      { digests: Buffer.alloc(63) },
      [{ ...row, digest: 2, digestAt: 32 }],
      ERANGE,
    ],
    'a source that is no bytes': [{ src: 'x' as never }, [row], EINVAL],
    'a target that is no bytes': [{ dst: new Int32Array(9) as never }, [row], EINVAL],
    'a key that is no bytes': [{ cipher: 'x' as never }, [row], EINVAL],
    'a table of other numbers': [{ pieces: new Int32Array(6) as never }, [row], EINVAL],
    'verdicts of other numbers': [{ verdicts: new Float64Array(6) as never }, [row], EINVAL],
    'digests that are no bytes': [{ digests: null as never }, [row], EINVAL],
  };
  test.each(Object.entries(cases))('%s', async (_, [more, rows, errno]) => {
    const u = unit(bytes, bytes.length, rows, more);
    expect(await land(u)).toBe(-errno);
    expect([...u.verdicts].every((verdict) => verdict === 99 || verdict === 0)).toBe(true);
  });

  test('what is no function', () => {
    const [pieces, digests, verdicts] = [new Float64Array(6), new Uint8Array(0), new Int32Array(1)];
    const none = null as never;
    const call = addon.landUnit(-1, 0, 0, 0, bytes, bytes, null, null, pieces, digests, verdicts, none);
    expect(call).toBe(-EINVAL);
  });
});
