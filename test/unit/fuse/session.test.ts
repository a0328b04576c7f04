import { describe, expect, it } from 'vitest';
import { InitFlag, Opcode } from '../../../src/wire/fuse.ts';
import { FILE, harness, words } from './harness.ts';

const INIT = { opcode: Opcode.INIT };
/** What Linux 6.1 sends. */
const LINUX = [7, 38, 131072, 0x7bfffffb, 0xb, ...new Array(11).fill(0)];

describe('INIT', () => {
  it('answers Linux 6.1 with what a read-only tree wants', () => {
    const { body } = harness().ask(INIT, words(...LINUX))!;
    expect(body.subarray(0, 12).toString('hex')).toBe('07000000' + '26000000' + '00000200');
    const flags = body.readUInt32LE(12);
    for (const flag of [
      'asyncRead',
      'parallelDirops',
      'doReaddirplus',
      'maxPages',
      'cacheSymlinks',
      'explicitInvalData',
    ] as const)
      expect(flags & InitFlag[flag], flag).not.toBe(0);
    // WRITEBACK_CACHE, AUTO_INVAL_DATA, POSIX_ACL, HANDLE_KILLPRIV.
    expect(flags & (0x10000 | 0x1000 | 0x100000 | 0x80000)).toBe(0);
    expect([body.readUInt16LE(16), body.readUInt16LE(18)]).toEqual([128, 96]);
    expect([body.readUInt32LE(20), body.readUInt32LE(24), body.readUInt16LE(28)]).toEqual([1 << 20, 1, 256]);
    expect([body.length, body.subarray(30).every((byte) => byte === 0)]).toEqual([64, true]);
  });

  it('grants nothing that was not offered', () => {
    const { body } = harness().ask(INIT, words(7, 31, 0, InitFlag.asyncRead))!;
    expect([body.readUInt32LE(4), body.readUInt32LE(12)]).toEqual([31, InitFlag.asyncRead]);
    expect([body.readUInt32LE(20), body.readUInt16LE(28)]).toEqual([128 << 10, 0]);
  });

  it.each([
    [4, 8],
    [5, 24],
    [22, 24],
    [23, 64],
    [99, 64],
  ])('answers minor %i with %i bytes', (minor, length) => {
    const { body } = harness().ask(INIT, words(7, minor, 0, 0))!;
    expect([body.length, body.readUInt32LE(4)]).toEqual([length, Math.min(minor, 38)]);
  });

  it('refuses an old major, and asks a new one to come again', () => {
    expect(harness().ask(INIT, words(6, 40, 0, 0))).toMatchObject({ error: -71, total: 16 });
    const { body } = harness().ask(INIT, words(8, 1, 0, 0xffffffff))!;
    expect([body.readUInt32LE(0), body.readUInt32LE(12)]).toEqual([7, 0]);
  });

  it('may have only its versions', () => {
    expect(harness().ask(INIT, words(7, 4))!.body.toString('hex')).toBe('07000000' + '04000000');
  });
});

describe('a session', () => {
  const open = [{ opcode: Opcode.OPEN, lo: FILE }, words(0, 0)] as const;

  it('serves before INIT: a front-end may reconnect under a guest that does not know', () => {
    expect(harness().ask(...open)).toMatchObject({ error: 0 });
  });

  it('begins again with each INIT', () => {
    const { ask } = harness();
    ask(INIT, words(...LINUX));
    expect(ask(...open)).toMatchObject({ error: -38 });
    ask(INIT, words(7, 38, 0, 0));
    expect(ask(...open)).toMatchObject({ error: 0 });
  });

  it('ends with DESTROY', () => {
    const { ask, server } = harness();
    ask(INIT, words(...LINUX));
    expect(server.session.initialised).toBe(true);
    ask({ opcode: Opcode.DESTROY });
    expect(server.session.initialised).toBe(false);
    expect(ask(...open)).toMatchObject({ error: 0 });
  });
});
