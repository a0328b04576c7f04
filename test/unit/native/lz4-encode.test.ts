import { createHash } from 'node:crypto';
import { constants } from 'node:os';
import { describe, expect, test } from 'vitest';
import { addon } from '../../../src/native/index.ts';

const LZ4 = 1;

/** The block, or a negative errno; 16 bytes behind the target must stay as they are. */
function encodeLz4(src: Uint8Array, room: number): Promise<Buffer | number> {
  const memory = Buffer.alloc(room + 16, 0xa5);
  return new Promise((resolve) => {
    const piece = Int32Array.of(0, src.length, 0, room);
    const started = addon.encodeAsync(LZ4, src, memory, piece, () => {
      expect(memory.subarray(room).every((byte) => byte === 0xa5)).toBe(true);
      const size = piece[3]!;
      resolve(size < 0 ? size : memory.subarray(0, size));
    });
    if (started < 0) resolve(started);
  });
}

describe('the lz4 encoder', () => {
  const text = Buffer.from('all work and no play makes jack a dull boy, '.repeat(4000));
  const noise = Buffer.concat(
    Array.from({ length: 4400 }, (_, i) => createHash('sha256').update(String(i)).digest()),
  );
  const mixed = Buffer.concat([
    text.subarray(0, 70_000),
    noise.subarray(0, 60_000),
    text.subarray(0, 70_000),
  ]);
  const lengths = [0, 1, 4, 5, 12, 13, 14, 15, 16, 17, 270, 271, 4096, 65_546, 65_547, 65_548, 131_072];

  test.each(lengths)('of %i bytes restores text, noise, zeros and a mixture', async (length) => {
    for (const data of [text, noise, Buffer.alloc(length), mixed]) {
      const src = data.subarray(0, length);
      const block = (await encodeLz4(src, length + Math.ceil(length / 255) + 32)) as Buffer;
      const out = Buffer.alloc(length);
      expect(addon.lz4Decode(block, out)).toBe(length);
      expect(out.equals(src)).toBe(true);
    }
  });

  test('finds matches at once, far and overlapping', async () => {
    const block = async (data: Buffer): Promise<string> =>
      ((await encodeLz4(data, data.length + 64)) as Buffer).toString('hex');
    // One literal, then a match of distance 1 up to the last five bytes.
    expect(await block(Buffer.alloc(100, 0x61))).toBe('1f6101004b506161616161');
    expect(await block(Buffer.from('abcdefgh01234567abcdefgh01234567'))).toBe(
      `f701${Buffer.from('abcdefgh01234567').toString('hex')}100050${Buffer.from('34567').toString('hex')}`,
    );
    const far = Buffer.concat([text.subarray(0, 40), noise.subarray(0, 65_495), text.subarray(0, 40)]);
    expect(((await encodeLz4(far, far.length + 512)) as Buffer).length).toBeLessThan(65_535 + 300);
  });

  test('says when the target is too small, and writes nothing behind it', async () => {
    for (const room of [0, 1, 100, 131_072]) {
      expect(await encodeLz4(noise.subarray(0, 131_072), room)).toBe(-constants.errno.ENOSPC);
    }
  });

  test('packs many pieces with one call', async () => {
    const target = Buffer.alloc(300);
    const pieces = Int32Array.of(0, 100, 0, 116, 100, 50, 116, 66);
    const source = Buffer.concat([Buffer.alloc(100, 0x61), noise.subarray(0, 50)]);
    await new Promise((resolve) => addon.encodeAsync(LZ4, source, target, pieces, resolve));
    expect([pieces[3], pieces[7]]).toEqual([11, 52]);
    const out = Buffer.alloc(50);
    expect(addon.lz4Decode(target.subarray(116, 168), out)).toBe(50);
    expect(out.equals(noise.subarray(0, 50))).toBe(true);
  });

  test.each([
    ['another codec', [2, text, Buffer.alloc(9), Int32Array.of(0, 1, 0, 1), () => {}]],
    ['a source that is no bytes', [LZ4, 'x', Buffer.alloc(9), Int32Array.of(0, 1, 0, 1), () => {}]],
    ['no function', [LZ4, text, Buffer.alloc(9), Int32Array.of(0, 1, 0, 1), 1]],
    ['no piece', [LZ4, text, Buffer.alloc(9), new Int32Array(0), () => {}]],
    ['half a row', [LZ4, text, Buffer.alloc(9), Int32Array.of(0, 1), () => {}]],
    ['a source offset below 0', [LZ4, text, Buffer.alloc(9), Int32Array.of(-1, 1, 0, 1), () => {}]],
    [
      'a piece beyond the source',
      [LZ4, Buffer.alloc(4), Buffer.alloc(9), Int32Array.of(2, 3, 0, 1), () => {}],
    ],
    ['a length below 0', [LZ4, text, Buffer.alloc(9), Int32Array.of(0, -1, 0, 1), () => {}]],
    ['room beyond the target', [LZ4, text, Buffer.alloc(9), Int32Array.of(0, 1, 8, 2), () => {}]],
    [
      'a sum that overflows',
      [LZ4, text, Buffer.alloc(9), Int32Array.of(0x7fffffff, 0x7fffffff, 0, 1), () => {}],
    ],
  ])('refuses %s', (_, args) => {
    expect(addon.encodeAsync(...(args as Parameters<typeof addon.encodeAsync>))).toBe(
      -constants.errno.EINVAL,
    );
  });
});
