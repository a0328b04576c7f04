import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { RefStore } from '../../../../../src/image/blob/archive/ref-store.ts';
import { type Inflating, ZranSlices } from '../../../../../src/image/blob/archive/zran.ts';
import { ImageError, interrupted } from '../../../../../src/image/model/error.ts';
import type { GzipPosition, InflateStart } from '../../../../../src/image/source/archive/gzip-source.ts';
import { GzipSource } from '../../../../../src/image/source/archive/gzip-source.ts';
import { readTar } from '../../../../../src/image/source/tar/tar-source.ts';
import { Turns } from '../../../../../src/lib/turns.ts';
import { addon } from '../../../../../src/native/index.ts';
import { tarPadding } from '../../../../../src/wire/tar.ts';
import { gzipMember, gzipMembers } from '../../../../support/gzip.ts';
import { onPool } from '../../../../support/pool.ts';
import { encodeTarHeaders } from '../../../../support/tars.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

/** Inflating as if blocks began where the test says. */
class Stream implements Inflating {
  state: GzipPosition = { totalIn: 10, totalOut: 0, boundaryIn: 10 };
  #start: InflateStart = { inOffset: 10, outOffset: 0, bits: 0, byte: 0, dictionary: Buffer.alloc(0) };

  start(): InflateStart {
    return this.#start;
  }

  /** Passes bytes; a block begins at the end of them if `block`. */
  pass(compressed: number, plain: number, block: boolean): void {
    const totalIn = this.state.totalIn + compressed;
    const totalOut = this.state.totalOut + plain;
    this.state = { totalIn, totalOut, boundaryIn: block ? totalIn : this.state.boundaryIn };
    if (block) this.#start = { ...this.#start, inOffset: totalIn, outOffset: totalOut };
  }
}

describe('a gzip file is cut into slices', () => {
  const cut = (steps: readonly (readonly [compressed: number, plain: number])[], gap: number): number[] => {
    const stream = new Stream();
    const slices = new ZranSlices(stream);
    return steps.map(([compressed, plain]) => {
      slices.begin(MIB);
      stream.pass(compressed, plain, true);
      const { context } = slices.end();
      stream.pass(gap, 512, true);
      return context;
    });
  };

  test('of half a MiB of compressed bytes', () => {
    expect(cut(Array(6).fill([200 * KIB, 200 * KIB]), 0)).toEqual([0, 0, 0, 1, 1, 1]);
  });

  test('in which a chunk more would make 2 MiB of plain bytes', () => {
    expect(cut(Array(6).fill([KIB, 400 * KIB]), 0)).toEqual([0, 0, 0, 1, 1, 1]);
  });

  test('but never within a block', () => {
    const stream = new Stream();
    const slices = new ZranSlices(stream);
    for (let i = 0; i < 10; i++) {
      slices.begin(MIB);
      stream.pass(MIB, MIB, false);
      expect(slices.end()).toMatchObject({ context: 0, contextPosition: i * MIB });
    }
    expect(slices.current).toEqual(expect.objectContaining({ inLength: 10 * MIB, outLength: 10 * MIB }));
  });
});

interface File {
  readonly name: string;
  readonly data: Buffer;
}

function tarOf(files: readonly File[]): Buffer {
  const parts = files.flatMap(({ name, data }) => {
    const fields = { type: '0', name: Buffer.from(name), mode: 0o644, uid: 0, gid: 0, mtimeSec: 0 };
    return [encodeTarHeaders({ ...fields, size: data.length }), data, Buffer.alloc(tarPadding(data.length))];
  });
  return Buffer.concat([...parts, Buffer.alloc(1024)]);
}

/** A source of `bytes` in pieces of `size`. */
function sourceOf(bytes: Buffer, size: number, turns: Turns = new Turns(undefined, interrupted)): GzipSource {
  let at = 0;
  const next = (): Buffer | null => {
    if (at >= bytes.length) return null;
    at += size;
    return bytes.subarray(at - size, at);
  };
  return new GzipSource({ name: 'layer', next, close: () => {} }, turns);
}

const NOTHING_EARLIER = { find: () => undefined, ownIndex: () => 0 };

async function store(bytes: Buffer, chunkSize: number, pieceSize = bytes.length): Promise<RefStore> {
  const source = sourceOf(bytes, pieceSize);
  const options = {
    chunkSize,
    turns: new Turns(undefined, interrupted),
    earlier: NOTHING_EARLIER,
  };
  const chunks = new RefStore(source, options);
  await readTar(source, { explicitUidGid: true, store: () => chunks });
  expect(source.finish().size).toBe(bytes.length);
  return chunks;
}

function encode({ slices }: RefStore): Buffer {
  const bytes = Buffer.alloc(slices!.size);
  slices!.encode(bytes, 0);
  return bytes;
}

/** Every chunk, inflated from its slice alone. */
function chunksOf(file: Buffer, data: RefStore): Promise<Buffer[]> {
  const encoded = encode(data);
  const view = new DataView(encoded.buffer, encoded.byteOffset, encoded.length);
  const dictionaries = data.slices!.count * 40;
  const inflated = data.infos.map(async (info) => {
    const at = info.dataHigh * 40;
    const [from, length] = [Number(view.getBigUint64(at, true)), view.getUint32(at + 24, true)];
    const out = Buffer.alloc(view.getUint32(at + 28, true));
    const dictAt = dictionaries + Number(view.getBigUint64(at + 16, true));
    const dictionary = encoded.subarray(dictAt, dictAt + view.getUint32(at + 32, true));
    const stored = file.subarray(from, from + length);
    const [bits, byte] = [view.getUint8(at + 37), view.getUint8(at + 36)];
    const result = onPool((done) => addon.zranDecodeAsync(stored, out, bits, byte, dictionary, done));
    expect(await result).toBe(out.length);
    return out.subarray(info.dataLow, info.dataLow + info.uncompressedSize);
  });
  return Promise.all(inflated);
}

const text = (size: number, seed: number): Buffer =>
  Buffer.from(Array.from({ length: size }, (_, i) => 97 + ((i * i + seed * i + (i >> 5)) % 26)));

describe('chunks of a tar.gz', () => {
  const files = [
    { name: 'a', data: text(300_000, 1) },
    { name: 'b', data: text(5, 2) },
    { name: 'c', data: text(100_000, 3) },
    { name: 'again', data: text(5, 2) },
  ];
  const tar = tarOf(files);
  const dataOf = [512, 512 * 2 + 300_032, 512 * 3 + 300_032 + 512];

  test.each([
    ['one member', gzipSync(tar)],
    [
      'members that end within data',
      gzipMembers(
        tar,
        dataOf.map((offset) => offset + 3),
      ),
    ],
    ['members that end where data begins', gzipMembers(tar, dataOf)],
    [
      'a member for each byte of a header',
      gzipMembers(
        tar,
        Array.from({ length: 512 }, (_, i) => i + 1),
      ),
    ],
  ])('come out of their slices: %s', async (_, file) => {
    for (const chunkSize of [0x1000, 0x100000]) {
      const data = await store(file, chunkSize);
      const expected = files.slice(0, 3).flatMap(({ data: bytes }) => {
        const parts: Buffer[] = [];
        for (let at = 0; at < bytes.length; at += chunkSize) parts.push(bytes.subarray(at, at + chunkSize));
        return parts;
      });
      const distinct = [...new Map(expected.map((bytes) => [bytes.toString('latin1'), bytes])).values()];
      expect((await chunksOf(file, data)).map((bytes) => bytes.toString('latin1'))).toEqual(
        distinct.map((bytes) => bytes.toString('latin1')),
      );
    }
  });

  test('do not depend on the pieces in which the file arrives', async () => {
    const file = gzipMembers(tar, [70_000]);
    const whole = await store(file, 0x1000);
    for (const size of [1, 1000, 65_537]) {
      const parts = await store(file, 0x1000, size);
      expect(parts.infos).toEqual(whole.infos);
      expect(encode(parts).equals(encode(whole))).toBe(true);
    }
  });

  test('are refused if their slice is larger than readers take', async () => {
    const file = gzipOfOneBlock(tarOf([{ name: 'zeros', data: Buffer.alloc(40 * MIB) }]));
    const error: unknown = await store(file, MIB).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(ImageError);
    expect((error as ImageError).message).toMatch(/^layer: \/zeros: a deflate block of more than/);
  });

  test('have no checksum where that would be 0', async () => {
    const data = await store(gzipMember(tarOf([{ name: 'zero', data: CRC_IS_ZERO }])), 0x1000);
    expect(data.chunks).toMatchObject([{ crc32c: 0, flags: 1 }]);
  });
});

test('gigabytes of zeros behind the last entry can be interrupted', async () => {
  const zeros = gzipMember(Buffer.alloc(4 * MIB));
  const file = Buffer.concat([gzipMember(tarOf([])), ...Array.from({ length: 2000 }, () => zeros)]);
  const abort = new AbortController();
  const turns = new Turns(abort.signal, interrupted);
  const source = sourceOf(file, file.length, turns);
  const chunks = new RefStore(source, { chunkSize: MIB, turns, earlier: NOTHING_EARLIER });
  setTimeout(() => abort.abort(), 50);
  const started = performance.now();
  const reading = readTar(source, { explicitUidGid: true, store: () => chunks });
  await expect(reading).rejects.toMatchObject({ code: 'IMAGE_ABORTED' });
  expect(performance.now() - started).toBeLessThan(2000);
});

/** Four bytes whose CRC-32C is 0. */
const CRC_IS_ZERO = Buffer.from('ab9be09b', 'hex');

/** Bits of a deflate stream, the first one lowest. */
class Bits {
  readonly #bytes: number[] = [];
  #bit = 0;

  put(value: number, count: number): void {
    for (let i = 0; i < count; i++, this.#bit++) {
      if (this.#bit % 8 === 0) this.#bytes.push(0);
      if ((value >> i) & 1) this.#bytes[this.#bytes.length - 1]! |= 1 << (this.#bit % 8);
    }
  }

  /** Huffman codes come with their highest bit first. */
  code(value: number, count: number): void {
    for (let i = count - 1; i >= 0; i--) this.put((value >> i) & 1, 1);
  }

  get bytes(): Buffer {
    return Buffer.from(this.#bytes);
  }
}

/** A gzip file of one block with fixed codes, however large `data` is; runs become matches of 258 bytes. */
function gzipOfOneBlock(data: Buffer): Buffer {
  const bits = new Bits();
  bits.put(1, 1);
  bits.put(1, 2);
  for (let i = 0; i < data.length; ) {
    const byte = data[i]!;
    const run =
      i > 0 && data.length - i >= 258 && data.subarray(i - 1, i + 258).equals(Buffer.alloc(259, byte));
    if (run) {
      bits.code(0b11000101, 8);
      bits.code(0, 5);
      i += 258;
      continue;
    }
    if (byte < 144) bits.code(0x30 + byte, 8);
    else bits.code(0x190 + byte - 144, 9);
    i++;
  }
  bits.code(0, 7);
  const whole = gzipSync(data, { level: 1 });
  return Buffer.concat([whole.subarray(0, 10), bits.bytes, whole.subarray(-8)]);
}
