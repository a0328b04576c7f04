import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { encodeTarEntry, TAR_END, type TarEntryFields } from '../../../../src/image/unpack/tar-write.ts';
import { decodePaxRecords, decodeTarHeader, TAR_BLOCK, TarType } from '../../../../src/wire/tar.ts';

let dir: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'tar-write-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

function entry(changes: Partial<TarEntryFields> = {}): TarEntryFields {
  return {
    type: TarType.regular,
    name: Buffer.from('a/file'),
    linkName: null,
    mode: 0o644,
    uid: 0,
    gid: 0,
    userName: '',
    groupName: '',
    size: 0,
    mtimeSec: 1_700_000_000,
    mtimeNs: 0,
    devMajor: 0,
    devMinor: 0,
    xattrs: [],
    ...changes,
  };
}

const xattr = (name: string, value: Buffer | string) => ({
  name: Buffer.from(name),
  value: Buffer.from(value),
});

/** The pax header's name and records, and the header behind it. */
function split(blocks: Buffer): { paxName: string; records: Record<string, string>; header: Buffer } {
  const pax = decodeTarHeader(blocks.subarray(0, TAR_BLOCK));
  expect(pax.type).toBe(TarType.pax);
  const records = decodePaxRecords(blocks.subarray(TAR_BLOCK, TAR_BLOCK + pax.size));
  return {
    paxName: pax.name.toString(),
    records: Object.fromEntries(records.map(({ key, value }) => [key, value.toString('latin1')])),
    header: blocks.subarray(-TAR_BLOCK),
  };
}

/** GNU tar's list of an archive whose only file has `size` zeros. */
function list(blocks: Buffer, size: number, ...flags: string[]): string {
  const path = join(dir, 'tar');
  writeFileSync(path, blocks);
  truncateSync(path, blocks.length + Math.ceil(size / TAR_BLOCK) * TAR_BLOCK + TAR_END.length);
  return execFileSync('tar', ['--numeric-owner', '--utc', '--full-time', ...flags, '-tvf', path], {
    encoding: 'latin1',
  });
}

describe('entries of a tar', () => {
  test('a plain one is a single ustar header', () => {
    const header = encodeTarEntry(entry({ uid: 7, gid: 8, size: 12, userName: 'me', groupName: 'us' }));
    expect(header.length).toBe(TAR_BLOCK);
    expect(header.toString('latin1', 257, 265)).toBe('ustar\x0000');
    expect(header.toString('latin1', 100, 156)).toBe(
      '0000644\x000000007\x000000010\x0000000000014\x0014524770400\x00' +
        `${header.toString('latin1', 148, 154)}\0 `,
    );
    expect(header.toString('latin1', 265, 268)).toBe('me\0');
    expect(header.toString('latin1', 297, 300)).toBe('us\0');
    expect(header.toString('latin1', 329, 345)).toBe('0000000\x000000000\x00');
    expect(decodeTarHeader(header)).toMatchObject({ uid: 7, gid: 8, size: 12, mtimeSec: 1_700_000_000 });
  });

  test.each([
    0o77777777777,
    0o100000000000,
    9_000_000_000,
    2 ** 45,
  ])('a file of %i bytes has its size, also to GNU tar', (size) => {
    const blocks = encodeTarEntry(entry({ size }));
    expect(decodeTarHeader(blocks).size).toBe(size);
    // No file system holds the largest; the list needs no more than the place where the next header would be.
    if (size < 2 ** 40) expect(list(blocks, size)).toContain(` ${size} 2023-11-14 22:13:20 a/file`);
  });

  test('owners beyond seven octal digits', () => {
    const blocks = encodeTarEntry(entry({ uid: 4_000_000_000, gid: 0xffff_fffa }));
    expect(list(blocks, 0)).toContain(' 4000000000/4294967290 ');
  });

  test('times before 1970, with and without a fraction', () => {
    expect(list(encodeTarEntry(entry({ mtimeSec: -86_400 })), 0)).toContain(' 1969-12-31 00:00:00 a/file');
    const blocks = encodeTarEntry(entry({ mtimeSec: -2, mtimeNs: 250_000_000 }));
    expect(split(blocks).records).toEqual({ mtime: '-1.75' });
    writeFileSync(join(dir, 'tar'), Buffer.concat([blocks, TAR_END]));
    execFileSync('tar', ['-xf', join(dir, 'tar'), '-C', dir], { stdio: 'ignore' });
    expect(statSync(join(dir, 'a/file')).mtimeMs).toBe(-1750);
  });

  test('a time with a fraction is in a pax record', () => {
    const { records, header } = split(encodeTarEntry(entry({ mtimeNs: 50_617_240 })));
    expect(records).toEqual({ mtime: '1700000000.05061724' });
    expect(decodeTarHeader(header).mtimeSec).toBe(1_700_000_000);
  });

  test('names of 100 bytes are in the header, longer ones in a pax header beside their cut form', () => {
    const name = Buffer.from(`d/${'n'.repeat(98)}`);
    expect(decodeTarHeader(encodeTarEntry(entry({ name }))).name).toEqual(name);
    const long = Buffer.concat([name, Buffer.from('!')]);
    const { paxName, records, header } = split(encodeTarEntry(entry({ name: long })));
    expect(records).toEqual({ path: long.toString() });
    expect(paxName).toBe(`d/PaxHeaders.0/${'n'.repeat(85)}`);
    expect(decodeTarHeader(header).name).toEqual(name);
  });

  test('a cut does not split a character, and names that are not UTF-8 are kept byte by byte', () => {
    const name = Buffer.from(`${'n'.repeat(99)}ü`);
    expect(decodeTarHeader(split(encodeTarEntry(entry({ name }))).header).name.toString()).toBe(
      'n'.repeat(99),
    );
    const latin1 = Buffer.alloc(150, 0xe9);
    expect(split(encodeTarEntry(entry({ name: latin1 }))).records).toEqual({
      path: latin1.toString('latin1'),
    });
    const short = Buffer.from('caf\xe9', 'latin1');
    expect(decodeTarHeader(encodeTarEntry(entry({ name: short }))).name).toEqual(short);
  });

  test('link targets longer than 100 bytes', () => {
    const linkName = Buffer.from('t/'.repeat(60));
    const { records, header } = split(encodeTarEntry(entry({ type: TarType.symlink, linkName })));
    expect(records).toEqual({ linkpath: linkName.toString() });
    expect(decodeTarHeader(header).linkName).toEqual(linkName.subarray(0, 100));
  });

  test('xattrs of any bytes, sorted by name; an equals sign in a name is written as GNU tar reads it', () => {
    const xattrs = [
      xattr('user.b', 'one\ntwo\n'),
      xattr('user.a=b', Buffer.of(0, 255, 10, 61)),
      xattr('user.50%', ''),
    ];
    const blocks = encodeTarEntry(entry({ xattrs }));
    const { records } = split(blocks);
    expect(Object.entries(records)).toEqual([
      ['SCHILY.xattr.user.50%', ''],
      ['SCHILY.xattr.user.a%3Db', '\x00\xff\n='],
      ['SCHILY.xattr.user.b', 'one\ntwo\n'],
    ]);
    list(blocks, 0);
    // Not with --utc: it lists none then.
    const listed = execFileSync('tar', ['-v', '--xattrs', '--xattrs-include=*', '-tvf', join(dir, 'tar')]);
    expect(listed.toString()).toContain('x: 4 user.a=b\n');
  });

  test('a user name too long for its field is left out', () => {
    const header = encodeTarEntry(entry({ userName: 'u'.repeat(32), groupName: 'g'.repeat(31) }));
    expect(header.toString('latin1', 265, 297)).toBe('\0'.repeat(32));
    expect(header.toString('latin1', 297, 329)).toBe(`${'g'.repeat(31)}\0`);
  });
});
