import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { TarReader } from '../../../../../src/image/source/tar/reader.ts';
import { EXTENDED_HEADER_MAX, TAR_BLOCK, TarField, TarType } from '../../../../../src/wire/tar.ts';
import { bytesSource, END, gnuMember, member, padded, paxMember, readAll } from '../../../../support/tars.ts';

const archive = (...parts: Buffer[]): Buffer => Buffer.concat([...parts, END]);

/** Names and data. */
async function listed(bytes: Buffer): Promise<string[]> {
  return (await readAll(bytes)).map(({ name, data }) => `${name}=${data}`);
}

describe('entries', () => {
  test('are the same however the bytes arrive', async () => {
    const bytes = archive(
      member({ name: 'a', xattrs: [{ name: Buffer.from('user.x'), value: Buffer.from('\n') }] }, 'one'),
      member({ name: 'n'.repeat(300), mode: 0o600, uid: 7, gid: 8 }, 'x'.repeat(1500)),
      member({ name: 'l', type: TarType.link, linkName: 'a' }),
    );
    const whole = await readAll(bytes);
    expect(whole.map(({ name, data }) => [name.length, data.length])).toEqual([
      [1, 3],
      [300, 1500],
      [1, 0],
    ]);
    for (const pieceSize of [1, 7, 512, 513]) expect(await readAll(bytes, pieceSize)).toEqual(whole);
  });

  test('say where their header and data are', async () => {
    const bytes = archive(member({ name: 'a' }, 'first'), member({ name: 'b'.repeat(101) }, 'second'));
    for (const { dataOffset, storedSize, headerOffset, data } of await readAll(bytes)) {
      expect(bytes.subarray(dataOffset, dataOffset + storedSize)).toEqual(data);
      expect(headerOffset).toBe(dataOffset - TAR_BLOCK);
    }
  });

  test('may be passed over unread or half read', async () => {
    const reader = new TarReader(
      bytesSource(archive(member({ name: 'a' }, 'x'.repeat(700)), member({ name: 'b' }, 'y')), 100),
    );
    await reader.next();
    await reader.read(Buffer.alloc(513));
    expect((await reader.next())?.name.toString()).toBe('b');
    await expect(reader.read(Buffer.alloc(2))).rejects.toThrow(RangeError);
    expect(await reader.next()).toBeNull();
  });

  test('go on behind blocks of zeros', async () => {
    const bytes = Buffer.concat([END, member({ name: 'a' }, 'x'), END, END, member({ name: 'b' }, 'y')]);
    expect(await listed(bytes)).toEqual(['a=x', 'b=y']);
  });

  test('that are no regular files have no data, whatever their size says', async () => {
    const sized = [TarType.link, TarType.symlink, TarType.directory, TarType.character].map((type) =>
      member({ name: type, type, size: 1000, linkName: 'x' }),
    );
    expect(await listed(archive(...sized, member({ name: 'end' }, 'z')))).toEqual([
      '1=',
      '2=',
      '5=',
      '3=',
      'end=z',
    ]);
  });

  test('of rarer kinds: contiguous files, GNU directories with their list, labels', async () => {
    const bytes = archive(
      member({ name: 'label', type: TarType.gnuVolume }),
      member({ name: 'c', type: TarType.contiguous }, 'data'),
      member({ name: 'd/', type: TarType.gnuDirectory }, 'Yfile\0\0'),
      member({ name: 'old/', type: TarType.regular }),
    );
    const entries = await readAll(bytes);
    expect(entries.map(({ type, name, data }) => [type, `${name}`, `${data}`])).toEqual([
      [TarType.regular, 'c', 'data'],
      [TarType.directory, 'd/', ''],
      [TarType.directory, 'old/', ''],
    ]);
  });
});

describe('extended headers', () => {
  test('of pax replace the fields of the next entry only', async () => {
    const records = [
      ['path', 'p/é'],
      ['linkpath', 'l'],
      ['size', '3'],
      ['uid', '3000000000'],
      ['gid', '4000000000'],
      ['mtime', '-1.5'],
      ['SCHILY.devmajor', '300'],
      ['unknown', 'x'],
    ] as const;
    const [first, second] = await readAll(
      archive(
        paxMember(records),
        member({ name: 'short', size: 0 }),
        padded(Buffer.from('abc')),
        member({ name: 'b' }),
      ),
    );
    expect(first).toMatchObject({
      name: Buffer.from('p/é'),
      linkName: Buffer.from('l'),
      data: Buffer.from('abc'),
      uid: 3_000_000_000,
      gid: 4_000_000_000,
      mtimeSec: -2,
      devMajor: 300,
    });
    expect(second).toMatchObject({ name: Buffer.from('b'), uid: 0, mtimeSec: 1_700_000_000 });
  });

  test('of pax with an empty value leave the field alone; the last of several counts', async () => {
    const records = [
      ['path', 'x'],
      ['path', 'y'],
      ['uid', ''],
      ['linkpath', ''],
    ] as const;
    const [entry] = await readAll(archive(paxMember(records), member({ name: 'n', uid: 5, linkName: 'l' })));
    expect(entry).toMatchObject({ name: Buffer.from('y'), uid: 5, linkName: Buffer.from('l') });
  });

  test('give attributes of any bytes, sorted, an empty value included', async () => {
    const value = Buffer.from([0, 10, 61, 255]);
    const records = [
      ['SCHILY.xattr.user.z', ''],
      ['SCHILY.xattr.security.capability', value],
      ['LIBARCHIVE.xattr.user.y', 'eA=='],
    ] as const;
    const [entry] = await readAll(archive(paxMember(records), member({ name: 'n' })));
    expect(entry!.xattrs).toEqual([
      { name: Buffer.from('security.capability'), value },
      { name: Buffer.from('user.z'), value: Buffer.alloc(0) },
    ]);
  });

  test('of GNU tar escape an equals sign and a percent sign in names of attributes', async () => {
    const records = [['SCHILY.xattr.user.a%3Db%253D%41', 'v']] as const;
    const [entry] = await readAll(archive(paxMember(records), member({ name: 'n' })));
    expect(entry!.xattrs[0]!.name.toString()).toBe('user.a=b%3D%41');
  });

  test('of the whole archive hold until they are replaced, and are overruled by those of an entry', async () => {
    const global = (...records: [string, string][]) => paxMember(records, TarType.paxGlobal);
    const entries = await readAll(
      archive(
        global(['uid', '7'], ['comment', 'of git']),
        member({ name: 'a' }),
        paxMember([['uid', '8']]),
        member({ name: 'b' }),
        global(['uid', '']),
        member({ name: 'c', uid: 9 }),
      ),
    );
    expect(entries.map(({ uid }) => uid)).toEqual([7, 8, 9]);
  });

  test('of GNU tar hold long names and link targets, up to their NUL', async () => {
    const long = (type: string, text: string) => gnuMember({ name: '././@LongLink', type }, `${text}\0junk`);
    const name = 'n'.repeat(200);
    const target = 't'.repeat(300);
    const [entry] = await readAll(
      archive(
        long(TarType.gnuLongLink, target),
        long(TarType.gnuLongName, name),
        gnuMember({ name: 'n', type: TarType.symlink, linkName: 't' }),
      ),
    );
    expect(entry).toMatchObject({ name: Buffer.from(name), linkName: Buffer.from(target) });
  });
});

describe('sparse files', () => {
  const holes = `${'\0'.repeat(600)}middle${'\0'.repeat(394)}end`;

  test('of pax 0.0, 0.1 and 1.0 and of old GNU tar are read with their holes', async () => {
    const size = String(holes.length);
    const stored = 'middleend';
    const version00 = [
      ['GNU.sparse.size', size],
      ['GNU.sparse.numblocks', '2'],
      ['GNU.sparse.offset', '600'],
      ['GNU.sparse.numbytes', '6'],
      ['GNU.sparse.offset', '1000'],
      ['GNU.sparse.numbytes', '3'],
    ] as const;
    const version01 = [
      ['GNU.sparse.size', size],
      ['GNU.sparse.map', '600,6,1000,3'],
      ['GNU.sparse.name', 'f'],
    ] as const;
    const version10 = [
      ['GNU.sparse.major', '1'],
      ['GNU.sparse.minor', '0'],
      ['GNU.sparse.name', 'f'],
      ['GNU.sparse.realsize', size],
    ] as const;
    const octal = (number: number) => `${number.toString(8).padStart(11, '0')}\0`;
    const regions = (block: Buffer): void => {
      block.write([600, 6, 1000, 3].map(octal).join(''), TarField.gnuRegions[0], 'latin1');
      block.write(octal(holes.length), TarField.gnuRealSize[0], 'latin1');
    };
    const bytes = archive(
      paxMember(version00),
      member({ name: 'f' }, stored),
      paxMember(version01),
      member({ name: 'GNUSparseFile.1/f' }, stored),
      paxMember(version10),
      member(
        { name: 'GNUSparseFile.1/f' },
        Buffer.concat([padded(Buffer.from('2\n600\n6\n1000\n3\n')), Buffer.from(stored)]),
      ),
      gnuMember({ name: 'f', type: TarType.gnuSparse }, stored, regions),
      member({ name: 'next' }, 'x'),
    );
    expect(await listed(bytes)).toEqual([...Array(4).fill(`f=${holes}`), 'next=x']);
    for (const { regions: kept } of (await readAll(bytes)).slice(0, 4))
      expect(kept).toEqual([
        { offset: 600, size: 6 },
        { offset: 1000, size: 3 },
      ]);
  });

  test('tell how long the next hole is', async () => {
    const records = [
      ['GNU.sparse.size', '100'],
      ['GNU.sparse.map', '40,2'],
    ] as const;
    const reader = new TarReader(bytesSource(archive(paxMember(records), member({ name: 'f' }, 'ab'))));
    await reader.next();
    expect(reader.hole).toBe(40);
    reader.skipHole(39);
    const bytes = Buffer.alloc(2);
    await reader.read(bytes);
    expect([bytes.toString(), reader.hole]).toEqual(['\0a', 0]);
    await reader.read(bytes);
    expect([bytes.toString(), reader.hole]).toEqual(['b\0', 57]);
    expect(() => reader.skipHole(58)).toThrow(RangeError);
  });

  const sparse = (map: string, size = '100') =>
    [
      ['GNU.sparse.size', size],
      ['GNU.sparse.map', map],
    ] as const;
  test.each([
    ['out of order', sparse('10,1,5,1')],
    ['overlapping', sparse('10,2,11,0')],
    ['beyond the end', sparse('99,2')],
    ['of other size than stored', sparse('1,1')],
    ['odd', sparse('1,2,3')],
    ['not numbers', sparse('1,x')],
    ['without a size', [['GNU.sparse.map', '0,2']] as const],
    [
      'of an unknown version',
      [
        ['GNU.sparse.major', '2'],
        ['GNU.sparse.size', '2'],
      ] as const,
    ],
    [
      '0.0 out of turn',
      [
        ['GNU.sparse.size', '9'],
        ['GNU.sparse.numbytes', '2'],
      ] as const,
    ],
    [
      '1.0 without a map',
      [
        ['GNU.sparse.major', '1'],
        ['GNU.sparse.realsize', '2'],
      ] as const,
    ],
  ])('are refused when their map is %s', async (_, records) => {
    const reading = readAll(archive(paxMember(records), member({ name: 'f' }, 'ab')));
    await expect(reading).rejects.toThrow(/^test\.tar: "f" \(header at byte 1024\): /);
  });
});

describe('an archive is refused', () => {
  const first = member({ name: 'dir/first' }, 'x'.repeat(600));
  test.each([
    [
      'in data',
      first.length - 500,
      'test.tar: "dir/first" (header at byte 0): the archive ends here, at byte 1036',
    ],
    ['in padding', first.length - 1, 'test.tar: "dir/first" (header at byte 0): the archive ends here'],
    ['in a header', first.length + 5, 'test.tar: header at byte 1536: the archive ends here, at byte 1541'],
  ])('that is cut %s, naming the place', async (_, size, message) => {
    const cut = Buffer.concat([first, member({ name: 'b' })]).subarray(0, size);
    await expect(readAll(cut)).rejects.toThrow(message);
  });

  test.each([
    ['empty', Buffer.alloc(0), 'test.tar: empty, no tar archive'],
    ['text', Buffer.alloc(1024, 'text'), 'header at byte 0: the checksum'],
    [
      'an extended header without entry',
      archive(paxMember([['uid', '1']])),
      'end: an extended header without',
    ],
    ['two pax headers', archive(paxMember([]), paxMember([]), member({ name: 'a' })), 'two pax headers'],
    ['a path for all', archive(paxMember([['path', 'x']], TarType.paxGlobal)), 'sets path for every file'],
    [
      'a NUL in a path',
      archive(paxMember([['path', 'a\0b']]), member({ name: 'a' })),
      'a path with a NUL byte',
    ],
    [
      'a bad size record',
      archive(paxMember([['size', '-1']]), member({ name: 'a' })),
      '"a" (header at byte 1024): pax size',
    ],
    ['an unknown type', archive(member({ name: 'm', type: 'M' })), '"m" (header at byte 0): entry type "M"'],
    [
      'an attribute without name',
      archive(paxMember([['SCHILY.xattr.', 'x']]), member({ name: 'a' })),
      'no name',
    ],
    ['a directory with data', archive(member({ name: 'a/' }, 'x')), 'whose name ends in a slash'],
  ])('that is or has %s', async (_, bytes, message) => {
    await expect(readAll(bytes)).rejects.toThrow(message);
  });

  test('whose extended header is larger than any honest one, before memory is taken for it', async () => {
    for (const type of [TarType.pax, TarType.paxGlobal, TarType.gnuLongName]) {
      const header = member({ name: 'x', type, size: 8 ** 11 - 1 });
      await expect(readAll(header)).rejects.toThrow(
        `of ${8 ** 11 - 1} bytes: more than ${EXTENDED_HEADER_MAX}`,
      );
    }
  });

  test('whose global headers add up to more', async () => {
    const global = (key: string) =>
      paxMember([[key, 'x'.repeat(EXTENDED_HEADER_MAX / 2)]], TarType.paxGlobal);
    await expect(readAll(archive(global('a'), global('b'), global('c')))).rejects.toThrow(
      'global pax headers of more',
    );
  });

  test('that claims a file of 8 EiB, once it ends', async () => {
    const records = [['size', String(Number.MAX_SAFE_INTEGER)]] as const;
    const reader = new TarReader(bytesSource(archive(paxMember(records), member({ name: 'a' }))));
    expect((await reader.next())?.size).toBe(Number.MAX_SAFE_INTEGER);
    await expect(reader.next()).rejects.toThrow('"a" (header at byte 1024): the archive ends here');
  });
});

describe('archives of GNU tar', () => {
  let dir: string;
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'tar-reader-'));
    execFileSync(
      'sh',
      [
        '-ec',
        `printf 1 >short; printf 2 >${'n'.repeat(200)}; ln -s ${'t'.repeat(200)} link; ln short hard; mkfifo fifo
         truncate -s 300000 sparse; for i in $(seq 30); do printf data | dd of=sparse bs=1 seek=$((i * 9001)) conv=notrunc; done`,
      ],
      { cwd: dir, stdio: 'ignore' },
    );
  });
  afterAll(() => rmSync(dir, { recursive: true, force: true }));

  const files = ['short', 'n'.repeat(200), 'link', 'hard', 'fifo', 'sparse'];
  const formats = [
    ['gnu'],
    ['pax'],
    ['gnu', '--sparse'],
    ...['0.0', '0.1', '1.0'].map((version) => ['pax', '--sparse', `--sparse-version=${version}`]),
  ];
  test.each(formats)('in %s format %s %s are read as the files are', async (format, ...options) => {
    const bytes = execFileSync('tar', [`--format=${format}`, ...options, '-cf', '-', ...files], { cwd: dir });
    const entries = await readAll(bytes, 10_000);
    expect(entries.map(({ type, name, linkName }) => `${type} ${name} ${linkName}`)).toEqual([
      '0 short ',
      `0 ${files[1]} `,
      `2 link ${'t'.repeat(200)}`,
      '1 hard short',
      '6 fifo ',
      '0 sparse ',
    ]);
    expect(entries[5]!.data.equals(readFileSync(join(dir, 'sparse')))).toBe(true);
    // Where the file system reports holes, GNU tar stores none of them.
    if (options.length > 0) expect(entries[5]!.regions).not.toBeNull();
  });
});
