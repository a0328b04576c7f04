import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  decodePaxNumber,
  decodePaxRecords,
  decodePaxTime,
  decodeTarHeader,
  encodePaxRecords,
  sealTarHeader,
  TAR_BLOCK,
  TarField,
  TarType,
} from '../../../src/wire/tar.ts';
import { encodeTarHeaders, gnuMember, member, type TarFields } from '../../support/tars.ts';

const plain: TarFields = {
  type: TarType.regular,
  name: Buffer.from('a/b'),
  mode: 0o4755,
  uid: 1000,
  gid: 100,
  size: 5,
  mtimeSec: 1_700_000_000,
};

/** A header with one field's bytes replaced. */
function withField(name: keyof typeof TarField, text: string | Buffer): Buffer {
  const block = encodeTarHeaders(plain);
  const [at, size] = TarField[name];
  block.fill(0, at, at + size);
  Buffer.from(text as string, 'latin1').copy(block, at);
  sealTarHeader(block);
  return block;
}

const record = (key: string, value: string | Buffer) => ({ key, value: Buffer.from(value) });

describe('a header block', () => {
  test('is decoded as it was encoded', () => {
    const device = { ...plain, type: TarType.character, devMajor: 4, devMinor: 64, size: 0 };
    for (const fields of [plain, device])
      expect(decodeTarHeader(encodeTarHeaders(fields))).toEqual({
        devMajor: 0,
        devMinor: 0,
        linkName: Buffer.alloc(0),
        format: 'ustar',
        ...fields,
      });
  });

  test('of GNU tar says so, and its prefix field is none', () => {
    const block = gnuMember({ name: 'x' }, '', (bytes) => bytes.write('14000000000\0', TarField.prefix[0]));
    const header = decodeTarHeader(block.subarray(0, TAR_BLOCK));
    expect(header).toMatchObject({ format: 'gnu', name: Buffer.from('x') });
  });

  test('without a magic is of 1979: a NUL type is a regular file, there are no device numbers', () => {
    const block = withField('magic', '');
    block[TarField.type[0]] = 0;
    block.fill(0xee, TarField.devMajor[0], TarField.prefix[0]);
    sealTarHeader(block);
    expect(decodeTarHeader(block)).toMatchObject({ format: 'v7', type: '0', devMajor: 0 });
  });

  test('joins prefix and name of ustar', () => {
    expect(decodeTarHeader(withField('prefix', 'usr/lib')).name.toString()).toBe('usr/lib/a/b');
  });

  test('has numbers in octal between spaces and NULs, or blank', () => {
    expect(decodeTarHeader(withField('mode', '  644 \0')).mode).toBe(0o644);
    expect(decodeTarHeader(withField('uid', '')).uid).toBe(0);
    expect(decodeTarHeader(withField('size', '77777777777')).size).toBe(8 ** 11 - 1);
  });

  test('has larger and negative numbers in base 256', () => {
    const size = Buffer.from('80000000000000200000000a', 'hex');
    expect(decodeTarHeader(withField('size', size)).size).toBe(0x20_0000_000a);
    const before1970 = Buffer.from('fffffffffffffffffffffffb', 'hex');
    expect(decodeTarHeader(withField('mtime', before1970)).mtimeSec).toBe(-5);
  });

  test.each([
    ['size', '12x4567', 'size = "12x4567\\u0000\\u0000\\u0000\\u0000\\u0000": not an octal number'],
    ['size', Buffer.from('ffffffffffffffffffffffff', 'hex'), 'size = -1: negative'],
    ['uid', Buffer.from('ffffffffffffffff', 'hex'), 'uid = -1: negative'],
    ['size', Buffer.from('800000000020000000000000', 'hex'), 'size = 9007199254740992: out of range'],
  ] as const)('is refused for %s %o', (field, bytes, message) => {
    expect(() => decodeTarHeader(withField(field, bytes))).toThrow(message);
  });

  test('is refused when a bit of it changes', () => {
    for (const at of [0, 99, 130, 300, 511]) {
      const block = encodeTarHeaders(plain);
      block[at]! ^= 1;
      expect(() => decodeTarHeader(block)).toThrow(/checksum/);
    }
  });

  test('may have the checksum of signed bytes', () => {
    const block = withField('name', Buffer.from('\xe9t\xe9', 'latin1'));
    let sum = 8 * 0x20;
    for (const [at, byte] of new Int8Array(block).entries()) if (at < 148 || at >= 156) sum += byte;
    block.write(`${sum.toString(8).padStart(6, '0')}\0 `, TarField.checksum[0], 'latin1');
    expect(decodeTarHeader(block).name).toEqual(Buffer.from('\xe9t\xe9', 'latin1'));
  });
});

describe('pax records', () => {
  test('hold any bytes in their values, newlines and equals signs included', () => {
    const records = [
      record('SCHILY.xattr.user.a=b', 'x\n12 y=z\n\0\xff'),
      record('path', Buffer.from('\n', 'latin1')),
      record('comment', ''),
      record('long', 'x'.repeat(1000)),
    ];
    const [first, ...rest] = decodePaxRecords(encodePaxRecords(records));
    // The first equals sign ends the key.
    expect(first).toEqual(
      record('SCHILY.xattr.user.a', Buffer.concat([Buffer.from('b='), records[0]!.value])),
    );
    expect(rest).toEqual(records.slice(1));
  });

  test('count the digits of their own length', () => {
    for (let size = 0; size < 1200; size++) {
      const bytes = encodePaxRecords([record('k', 'v'.repeat(size))]);
      expect(Number.parseInt(bytes.toString(), 10)).toBe(bytes.length);
    }
  });

  test.each([
    ['length beyond the header', '99 a=b\n'],
    ['length short of the newline', '5 a=b\n'],
    ['no digits', ' a=b\n'],
    ['no length', 'a=b\n'],
    ['negative length', '-6 a=b\n'],
    ['length 0', '0 a=b\n'],
    ['a length of nine digits', '000000006 a=b\n'],
    ['no equals sign', '6 abc\n'],
    ['no key', '6 =bc\n'],
    ['NULs behind', '6 a=b\n\0\0'],
    ['no space', '6'],
  ])('are refused: %s', (_, text) => {
    expect(() => decodePaxRecords(Buffer.from(text))).toThrow(/^pax header, byte \d+/);
  });

  test('with times round down, also before 1970', () => {
    const times = ['1.999', '0', '-1', '-1.5', '-0.25', '-2.000', '7.'];
    expect(times.map((text) => decodePaxTime(record('mtime', text)))).toEqual([1, 0, -1, -2, -1, -2, 7]);
    for (const text of ['', 'x', '1e9', '1.5.2', '--1', '9'.repeat(16)])
      expect(() => decodePaxTime(record('mtime', text))).toThrow('pax mtime');
  });

  test('with times before 1970 are written as GNU tar writes them', () => {
    const headers = encodeTarHeaders({ ...plain, mtimeSec: -2, mtimeNs: 750_000_000 });
    expect(headers.toString('latin1')).toContain('15 mtime=-1.25\n');
  });

  test('with numbers are whole and safe', () => {
    expect(decodePaxNumber(record('size', '9007199254740991'))).toBe(Number.MAX_SAFE_INTEGER);
    for (const text of ['', '-1', '1.0', '0x10', '9007199254740992', '18446744073709551616', ' 1'])
      expect(() => decodePaxNumber(record('size', text))).toThrow('pax size');
  });
});

test('GNU tar reads what is encoded: long and odd names, large ids, nanoseconds, attributes', () => {
  const name = `${'d'.repeat(120)}/é\n`;
  const entry = { uid: 5_000_000, gid: 6_000_000, mtimeSec: 1_700_000_000, mtimeNs: 5_000_000 };
  const bytes = Buffer.concat([
    member(
      { name, ...entry, xattrs: [{ name: Buffer.from('user.k'), value: Buffer.from('v\nw') }] },
      'hello',
    ),
    member({ name: 'link', type: TarType.symlink, linkName: 't'.repeat(200) }),
    Buffer.alloc(2 * TAR_BLOCK),
  ]);
  const dir = mkdtempSync(join(tmpdir(), 'tar-'));
  try {
    const file = join(dir, 'a.tar');
    writeFileSync(file, bytes);
    const args = ['--full-time', '--numeric-owner', '--quoting-style=c', '-tvf', file];
    const listed = execFileSync('tar', args, { encoding: 'utf8', env: { ...process.env, TZ: 'UTC' } });
    expect(listed).toContain(`5000000/6000000   5 2023-11-14 22:13:20.005 "${'d'.repeat(120)}/é\\n"`);
    expect(listed).toContain(`"link" -> "${'t'.repeat(200)}"`);
  } finally {
    rmSync(dir, { recursive: true });
  }
});
