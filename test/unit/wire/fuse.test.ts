import { describe, expect, it } from 'vitest';
import {
  AttrLayout,
  EntryOut,
  InHeader,
  InitOut,
  OutHeader,
  readU64,
  StatfsOut,
  writeU64,
} from '../../../src/wire/fuse.ts';

function view(hex: string): DataView {
  const bytes = Uint8Array.from(Buffer.from(hex.replaceAll(' ', ''), 'hex'));
  return new DataView(bytes.buffer);
}

describe('readU64', () => {
  it.each([
    ['00000000 00000000', 0],
    ['ffffffff 00000000', 0xffffffff],
    ['00000000 01000000', 2 ** 32],
    ['ffffffff ffff1f00', Number.MAX_SAFE_INTEGER],
  ])('%s is %d', (hex, value) => {
    expect(readU64(view(hex), 0)).toBe(value);
  });

  it('gives what is beyond numbers a value above every size', () => {
    for (const hex of ['00000000 00002000', 'ffffffff ffffffff', '00000000 00000080'])
      expect(readU64(view(hex), 0)).toBeGreaterThan(Number.MAX_SAFE_INTEGER);
  });
});

describe('writeU64', () => {
  it.each([
    [0, '0000000000000000'],
    [0xffffffff, 'ffffffff00000000'],
    [2 ** 32, '0000000001000000'],
    [Number.MAX_SAFE_INTEGER, 'ffffffffffff1f00'],
    [-1, 'ffffffffffffffff'],
    [-(2 ** 32), '00000000ffffffff'],
  ])('writes %d as %s', (value, hex) => {
    const bytes = Buffer.alloc(10, 0xee);
    writeU64(new DataView(bytes.buffer, bytes.byteOffset, 10), 1, value);
    expect(bytes.toString('hex')).toBe(`ee${hex}ee`);
  });
});

it('layouts end where the kernel says', () => {
  expect(InHeader.pid + 4 + 4).toBe(InHeader.size);
  expect(OutHeader.unique + 8).toBe(OutHeader.size);
  expect(AttrLayout.flags + 4).toBe(AttrLayout.bytes);
  expect(EntryOut.attr + AttrLayout.bytes).toBe(EntryOut.bytes);
  expect(StatfsOut.frsize + 4 + 4 + 24).toBe(StatfsOut.bytes);
  expect(InitOut.flags2 + 4 + 28).toBe(InitOut.bytes);
});
