import { describe, expect, it } from 'vitest';
import { operations } from '../../../src/fuse/operations.ts';
import { InitFlag, Opcode } from '../../../src/wire/fuse.ts';
import {
  BROKEN,
  COUNT_FD,
  DIR,
  FILE,
  HELLO,
  harness,
  LINK,
  name,
  ROOT,
  readIn,
  SPLIT,
  words,
} from './harness.ts';

const ENOENT = -2;
const EIO = -5;
const EINVAL = -22;
const EROFS = -30;
const ERANGE = -34;
const ENAMETOOLONG = -36;
const ENOSYS = -38;
const ENODATA = -61;

/** What each opcode of the table answers to a well-formed request about the right kind of node. */
describe('the table', () => {
  it('answers EROFS to everything that writes', () => {
    const writing = [4, 6, 8, 9, 10, 11, 12, 13, 16, 21, 24, 35, 43, 45, 47, 51];
    for (const opcode of writing) {
      const { ask } = harness();
      expect(ask({ opcode }, new Uint8Array(64)), `opcode ${opcode}`).toMatchObject({
        error: EROFS,
        total: 16,
      });
      expect(ask({ opcode }), `opcode ${opcode} without arguments`).toMatchObject({ error: EROFS });
    }
  });

  it('answers ENOSYS to what no read-only tree needs, so that the client stops asking', () => {
    const { FLUSH, ACCESS } = Opcode;
    const STATX = 52;
    const SETUPMAPPING = 48;
    const IOCTL = 39;
    const POLL = 40;
    for (const opcode of [FLUSH, ACCESS, STATX, SETUPMAPPING, IOCTL, POLL])
      expect(harness().ask({ opcode }, new Uint8Array(40))).toMatchObject({ error: ENOSYS, total: 16 });
  });

  it('answers 0 to syncs, which have nothing to do', () => {
    for (const opcode of [Opcode.FSYNC, Opcode.FSYNCDIR, Opcode.SYNCFS])
      expect(harness().ask({ opcode }, new Uint8Array(16))).toMatchObject({ error: 0, total: 16 });
  });

  it('has every row where its opcode says', () => {
    for (const [opcode, row] of operations.entries())
      if (row)
        expect([row.opcode, Opcode]).toEqual([opcode, expect.objectContaining({ [row.name]: opcode })]);
  });
});

describe('LOOKUP', () => {
  it('answers the entry with its attributes and validity', () => {
    const { body } = harness().ask({ opcode: Opcode.LOOKUP }, name('file'))!;
    expect(body.toString('hex')).toBe(
      [
        '0200000000000000', // nodeid
        '0000000000000000', // generation
        '0000008000000000', // entry valid: 2^31 s
        '0000008000000000', // attr valid
        '00000000', // their nanoseconds
        '00000000',
        '0200000000000000', // ino
        '0c00000000000000', // size
        '0100000000000000', // blocks
        '8142556500000000', // atime, mtime, ctime
        '8142556500000000',
        '8142556500000000',
        '87d61200', // their nanoseconds: 1234567
        '87d61200',
        '87d61200',
        'a4810000', // mode 0100644
        '01000000', // nlink
        'e8030000', // uid
        'e9030000', // gid
        '00000000', // rdev
        '00100000', // blksize
        '00000000', // flags
      ].join(''),
    );
  });

  it('gives the file system exactly the name', () => {
    const { ask, fs } = harness();
    const longest = 'n'.repeat(255);
    fs.nodes[ROOT] = { entries: { [longest]: FILE, '\xff\xfe': DIR } };
    expect(ask({ opcode: Opcode.LOOKUP }, name(longest))!.body.readUInt32LE(0)).toBe(FILE);
    expect(ask({ opcode: Opcode.LOOKUP }, name('\xff\xfe'))!.body.readUInt32LE(0)).toBe(DIR);
    expect(ask({ opcode: Opcode.LOOKUP }, name('absent'))!.body.readUInt32LE(0)).toBe(0);
  });

  it('refuses a name that is empty, does not end, or is too long', () => {
    const { ask } = harness();
    expect(ask({ opcode: Opcode.LOOKUP }, Buffer.from('\0\0'))).toMatchObject({ error: EINVAL });
    expect(ask({ opcode: Opcode.LOOKUP }, Buffer.from('unterminated'))).toMatchObject({ error: EINVAL });
    expect(ask({ opcode: Opcode.LOOKUP }, name('n'.repeat(256)))).toMatchObject({ error: ENAMETOOLONG });
    expect(ask({ opcode: Opcode.LOOKUP }, name('n'.repeat(3000)))).toMatchObject({ error: ENAMETOOLONG });
    expect(ask({ opcode: Opcode.LOOKUP }, Buffer.alloc(5000, 'n'))).toMatchObject({ error: ENAMETOOLONG });
  });
});

describe('OPEN', () => {
  const open = { opcode: Opcode.OPEN, lo: FILE };

  it('is served with what the file system gives', () => {
    const reply = harness().ask(open, words(0, 0))!;
    expect(reply.body.toString('hex')).toBe('0200000055000000' + '02000000' + '00000000');
  });

  it.each([1, 2, 3, 0o1000])('with flags %i, which write, is EROFS', (flags) => {
    expect(harness().ask(open, words(flags, 0))).toMatchObject({ error: EROFS });
  });

  const init = (offered: number) => [{ opcode: Opcode.INIT }, words(7, 38, 131072, offered)] as const;

  it('is ENOSYS for a client which said that it understands, until it is gone', () => {
    const { ask, server } = harness();
    ask(...init(InitFlag.noOpenSupport));
    expect(ask(open, words(0, 0))).toMatchObject({ error: ENOSYS, total: 16 });
    expect(ask(open, words(1, 0))).toMatchObject({ error: EROFS });
    server.session.reset();
    expect(ask(open, words(0, 0))).toMatchObject({ error: 0 });
  });

  it('is served for a client that did not say so, and where the option forbids ENOSYS', () => {
    const plain = harness();
    plain.ask(...init(0));
    expect(plain.ask(open, words(0, 0))).toMatchObject({ error: 0 });
    const never = harness({ noOpen: false });
    never.ask(...init(InitFlag.noOpenSupport));
    expect(never.ask(open, words(0, 0))).toMatchObject({ error: 0 });
  });

  it('of a directory is served whatever was negotiated', () => {
    const { ask } = harness();
    ask(...init(InitFlag.noOpenSupport | InitFlag.noOpendirSupport));
    const reply = ask({ opcode: Opcode.OPENDIR }, words(0, 0))!;
    expect([reply.error, reply.body.readUInt32LE(8)]).toEqual([0, 10]);
  });

  it('ends with RELEASE, which hands the file handle back', () => {
    const { ask, fs } = harness();
    for (const opcode of [Opcode.RELEASE, Opcode.RELEASEDIR])
      expect(ask({ opcode, lo: FILE }, words(0x55_0000_0002n, 0, 0, 0n))).toMatchObject({
        error: 0,
        total: 16,
      });
    expect(fs.released).toEqual(['85:2', '85:2']);
  });
});

describe('READLINK', () => {
  it('answers the target without NUL', () => {
    expect(harness().ask({ opcode: Opcode.READLINK, lo: LINK })!.body.toString()).toBe(
      '../target/of/the/link',
    );
  });

  it('never cuts a target, which would be another path', () => {
    const { ask } = harness();
    expect(ask({ opcode: Opcode.READLINK, lo: LINK }, undefined, 16 + 21)).toMatchObject({ error: 0 });
    expect(ask({ opcode: Opcode.READLINK, lo: LINK }, undefined, 16 + 20)).toMatchObject({
      error: EIO,
      total: 16,
    });
  });
});

describe('xattrs', () => {
  const getxattr = { opcode: Opcode.GETXATTR };
  const value = (size: number, key: string) => Buffer.concat([words(size, 0), name(key)]);

  it('are answered by value, or by length for size 0', () => {
    const { ask } = harness();
    expect(ask(getxattr, value(64, 'user.color'))!.body.toString()).toBe('blue');
    expect(ask(getxattr, value(4, 'user.color'))!.body.toString()).toBe('blue');
    expect(ask(getxattr, value(0, 'user.color'))!.body.toString('hex')).toBe('0400000000000000');
    expect(ask(getxattr, value(64, 'user.empty'))).toMatchObject({ error: 0, total: 16 });
  });

  it('that do not fit are ERANGE, those that are not there ENODATA', () => {
    const { ask } = harness();
    expect(ask(getxattr, value(3, 'user.color'))).toMatchObject({ error: ERANGE, total: 16 });
    expect(ask(getxattr, value(64, 'user.color'), 16)).toMatchObject({ error: ERANGE });
    expect(ask(getxattr, value(64, 'user.color'), 19)).toMatchObject({ error: ERANGE });
    expect(ask(getxattr, value(64, 'user.none'))).toMatchObject({ error: ENODATA });
    expect(ask(getxattr, words(64, 0, 0x41))).toMatchObject({ error: ENODATA });
    expect(ask(getxattr, Buffer.concat([words(64, 0), Buffer.from('noend')]))).toMatchObject({
      error: EINVAL,
    });
  });

  it('are listed NUL-terminated', () => {
    const { ask } = harness();
    expect(ask({ opcode: Opcode.LISTXATTR }, words(100, 0))!.body.toString()).toBe(
      'user.color\0user.empty\0',
    );
    expect(ask({ opcode: Opcode.LISTXATTR }, words(0, 0))!.body.readUInt32LE(0)).toBe(22);
    expect(ask({ opcode: Opcode.LISTXATTR }, words(21, 0))).toMatchObject({ error: ERANGE });
    expect(ask({ opcode: Opcode.LISTXATTR, lo: FILE }, words(100, 0))).toMatchObject({ error: 0, total: 16 });
  });
});

describe('READ', () => {
  const read = (offset: bigint, size: number, lo = FILE, writable = 4096) =>
    [{ opcode: Opcode.READ, lo }, readIn(offset, size), writable] as const;

  it('answers bytes, and none behind the end', () => {
    const { ask } = harness();
    expect(ask(...read(0n, 5))!.body.toString()).toBe('hello');
    expect(ask(...read(7n, 100))!.body.toString()).toBe('guest');
    for (const offset of [12n, 1n << 33n, (1n << 64n) - 1n])
      expect(ask(...read(offset, 100))).toMatchObject({ error: 0, total: 16 });
  });

  it('is cut to the room there is, whatever size it names', () => {
    const { ask } = harness();
    expect(ask(...read(0n, 0xffffffff, FILE, 16 + 4))!.body.toString()).toBe('hell');
    expect(ask(...read(0n, 100, FILE, 16))).toMatchObject({ error: 0, total: 16 });
  });

  it('gives at most what INIT allows a client to ask for', () => {
    const { fs, ask } = harness();
    const asked: number[] = [];
    fs.read = (_hi, _lo, _offset, size) => {
      asked.push(size);
      return 0;
    };
    for (const size of [1 << 20, (1 << 20) + 1, 0xffffffff])
      expect(ask({ opcode: Opcode.READ, lo: FILE }, readIn(0n, size), 4 << 20)).toMatchObject({ error: 0 });
    expect(asked).toEqual([1 << 20, 1 << 20, 1 << 20]);
  });

  it('reads neighbouring extents with one call, and joins files and bytes in order', () => {
    const { ask, channel } = harness();
    const { body } = ask(...read(90n, 1000, SPLIT))!;
    const counting = Array.from({ length: 110 }, (_, i) => 90 + i);
    expect([...body]).toEqual([...counting, ...new Array(50).fill(0), ...HELLO.subarray(7)]);
    expect(channel.reads).toEqual([`${COUNT_FD}@90+110`, '10@7+5']);
  });

  it('lets a pool thread read what the page cache lacks, after what it has', () => {
    const { ask, channel, server } = harness();
    channel.cached.set(COUNT_FD, 64);
    expect(ask(...read(0n, 1000, SPLIT))).toBeUndefined();
    expect(server.parked.inflight()).toHaveLength(1);
    expect(channel.pool.map(({ fd, fileOffset, length, skip }) => [fd, fileOffset, length, skip])).toEqual([
      [COUNT_FD, 64, 136, 16 + 64],
    ]);
    channel.pool[0]!.run();
    expect(channel.reply(0)).toBeUndefined();
    channel.pool[1]!.run();
    const { body } = channel.reply(0)!;
    expect([body.length, body[199], body.subarray(250).toString()]).toEqual([255, 199, 'guest']);
    expect([channel.flushes, server.parked.size]).toEqual([1, 0]);
  });

  it('goes on where a pool thread read less than it was asked for', () => {
    const { ask, channel, fs } = harness();
    channel.cached.set(10, 0);
    ask(...read(0n, 12));
    channel.writeBytes(0, 16, HELLO, 0, 5);
    channel.pool[0]!.run(5);
    expect([channel.pool[1]!.fileOffset, channel.pool[1]!.length, channel.pool[1]!.skip]).toEqual([5, 7, 21]);
    channel.pool[1]!.run();
    expect(channel.reply(0)).toMatchObject({ error: 0, body: HELLO });
    expect(fs.waiting).toEqual([]);
  });

  it.each([0, -5])('is EIO, never short, when the cache file gives %i', (result) => {
    const { ask, channel } = harness();
    channel.cached.set(10, 0);
    ask(...read(0n, 12));
    channel.pool[0]!.run(result);
    expect(channel.reply(0)).toMatchObject({ error: EIO, total: 16 });
  });

  it('is EIO when a descriptor is bad', () => {
    const { ask, channel } = harness();
    channel.files.delete(10);
    expect(ask(...read(0n, 12))).toMatchObject({ error: EIO, total: 16 });
  });

  it('says what the file system says', () => {
    const { ask } = harness();
    expect(ask(...read(0n, 12, DIR))).toMatchObject({ error: -21 });
    expect(ask(...read(0n, 12, BROKEN))).toMatchObject({ error: EIO });
  });
});

describe('the rest', () => {
  it('GETATTR has the validity before the attributes', () => {
    const { ask, fs } = harness();
    const { getattr } = fs;
    fs.getattr = (hi, lo, out) => {
      const result = getattr.call(fs, hi, lo, out);
      out.validMs = 1500;
      out.mtime = -1;
      return result;
    };
    const { body } = ask({ opcode: Opcode.GETATTR, lo: LINK }, new Uint8Array(16))!;
    expect(body.subarray(0, 24).toString('hex')).toBe(
      '0100000000000000' + '0065cd1d' + '00000000' + '0300000000000000',
    );
    expect(body.readBigInt64LE(16 + 32)).toBe(-1n);
    expect(harness().ask({ opcode: Opcode.GETATTR, lo: 99 })).toMatchObject({ error: ENOENT });
  });

  it('STATFS is complete', () => {
    const { body } = harness().ask({ opcode: Opcode.STATFS })!;
    expect([body.length, body.readUInt32LE(24), body.readUInt32LE(40), body.readUInt32LE(44)]).toEqual([
      80, 7, 512, 255,
    ]);
    expect(body.subarray(52).every((byte) => byte === 0)).toBe(true);
  });

  it('LSEEK finds data and holes', () => {
    const { ask } = harness();
    const seek = (offset: bigint, whence: number) =>
      ask({ opcode: Opcode.LSEEK, lo: FILE }, words(0n, offset, whence, 0))!;
    expect(seek(5n, 3).body.readBigUInt64LE()).toBe(5n);
    expect(seek(5n, 4).body.readBigUInt64LE()).toBe(12n);
    expect(seek(12n, 3)).toMatchObject({ error: -6 });
    expect(seek(0n, 0)).toMatchObject({ error: EINVAL });
  });

  it('FORGET and BATCH_FORGET tell the file system and take no count on trust', () => {
    const { ask, fs, server } = harness();
    ask({ opcode: Opcode.FORGET, hi: 3, lo: 9 }, words(2n), 0);
    ask({ opcode: Opcode.BATCH_FORGET }, words(2, 0, 5n, 1n, 0x7_0000_0006n, 2n), 0);
    expect(fs.forgotten).toEqual(['3:9-2', '0:5-1', '7:6-2']);
    ask({ opcode: Opcode.BATCH_FORGET }, words(0xffffffff, 0, 5n, 1n, 6n), 0);
    expect(fs.forgotten.slice(3)).toEqual(['0:5-1']);
    expect(server.internalErrors).toBe(0);
  });

  it('DESTROY is answered', () => {
    expect(harness().ask({ opcode: Opcode.DESTROY }, undefined, 16)).toMatchObject({ error: 0, total: 16 });
  });
});
