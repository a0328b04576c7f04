import { describe, expect, it } from 'vitest';
import { operations } from '../../../src/fuse/operations.ts';
import { Opcode } from '../../../src/wire/fuse.ts';
import { fuseRequest } from '../../support/fake-channel.ts';
import { BROKEN, FILE, harness, name, readIn, words } from './harness.ts';

const EIO = -5;
const EINVAL = -22;
const ENOSYS = -38;
const NEVER_ANSWERED: readonly number[] = [Opcode.FORGET, Opcode.BATCH_FORGET, Opcode.INTERRUPT];

describe('a request', () => {
  it('is answered with its own unique, both words of it', () => {
    const { ask } = harness();
    expect(ask({ opcode: Opcode.GETATTR, unique: 0xfedc_ba98_7654_3210n })).toMatchObject({
      error: 0,
      unique: 0xfedc_ba98_7654_3210n,
      total: 120,
    });
  });

  it('shorter than a header is answered by nothing', () => {
    const { channel, server } = harness();
    for (const length of [0, 1, 39]) {
      channel.submit(0, fuseRequest({ opcode: Opcode.GETATTR }).subarray(0, length), 4096);
      server.serve(channel, 0);
      expect(channel.reply(0)).toBeNull();
    }
    expect(server.malformed).toBe(3);
  });

  it.each([
    0, 39, 41, 0x7fffffff, 0xffffffff,
  ])('which says it is %i bytes long, being 40, is EINVAL', (len) => {
    const { ask, server } = harness();
    expect(ask({ opcode: Opcode.GETATTR, len })).toMatchObject({ error: EINVAL, total: 16 });
    expect(server.malformed).toBe(1);
  });

  it('may say it is shorter than its chain; what is behind its end is not looked at', () => {
    const { ask } = harness();
    expect(ask({ opcode: Opcode.LOOKUP, len: 44 }, name('file'))).toMatchObject({ error: EINVAL });
    expect(ask({ opcode: Opcode.LOOKUP, len: 45 }, Buffer.from('file\0garbage'))).toMatchObject({ error: 0 });
  });

  it('whose arguments end too early is EINVAL, never a look at the bytes of another request', () => {
    for (const row of operations) {
      if (row === undefined || row.inBytes === 0) continue;
      const { ask } = harness();
      const reply = ask({ opcode: row.opcode }, new Uint8Array(row.inBytes - 1));
      if (NEVER_ANSWERED.includes(row.opcode)) expect(reply, row.name).toBeNull();
      else expect(reply, row.name).toMatchObject({ error: EINVAL, total: 16 });
    }
  });

  it('of an unknown opcode is ENOSYS and counts as none of the known', () => {
    const { ask, server } = harness();
    server.counters.add(0, false);
    for (const opcode of [0, 7, 52, 63, 64 + Opcode.GETATTR, 4096, 0xffffffff])
      expect(ask({ opcode })).toMatchObject({ error: ENOSYS, total: 16 });
    expect(server.counters.get(0)!.values.every((value) => value === 0)).toBe(true);
  });

  it('with room for less than a header gets nothing, whatever it asks', () => {
    for (let opcode = 0; opcode < 64; opcode++)
      for (const room of [0, 1, 15]) {
        const { ask } = harness();
        expect(ask({ opcode, lo: FILE }, new Uint8Array(64).fill(0), room)).toBeNull();
      }
  });

  it('whose reply does not fit gets a header that says EIO', () => {
    const { ask } = harness();
    for (const room of [16, 17, 119])
      expect(ask({ opcode: Opcode.GETATTR }, undefined, room)).toMatchObject({ error: EIO, total: 16 });
    expect(ask({ opcode: Opcode.GETATTR }, undefined, 120)).toMatchObject({ error: 0, total: 120 });
    expect(ask({ opcode: Opcode.LOOKUP }, name('file'), 143)).toMatchObject({ error: EIO, total: 16 });
    expect(ask({ opcode: Opcode.INIT }, words(7, 38, 0, 0), 79)).toMatchObject({ error: EIO, total: 16 });
  });

  it.each(NEVER_ANSWERED)('of opcode %i is never answered, even when malformed', (opcode) => {
    const { ask } = harness();
    expect(ask({ opcode }, new Uint8Array(16))).toBeNull();
    expect(ask({ opcode })).toBeNull();
    expect(ask({ opcode, len: 9 })).toBeNull();
  });
});

describe('a handler that throws', () => {
  it('costs its request EIO and one report; others go on', () => {
    const reports: string[] = [];
    const { ask, server } = harness({
      onInternalError: (error, operation) => reports.push(`${operation}: ${(error as Error).message}`),
    });
    expect(ask({ opcode: Opcode.GETATTR, lo: BROKEN })).toMatchObject({ error: EIO, total: 16 });
    expect(reports).toEqual(['GETATTR: node 7 is broken']);
    expect(server.internalErrors).toBe(1);
    expect(ask({ opcode: Opcode.GETATTR })).toMatchObject({ error: 0 });
  });

  it('after it parked its request leaves nothing behind', () => {
    const { fs, ask, server } = harness();
    fs.read = (_hi, _lo, _offset, _size, sink) => {
      fs.waiting.push(sink.later());
      throw new Error('no');
    };
    expect(ask({ opcode: Opcode.READ, lo: FILE }, readIn(0n, 10))).toMatchObject({ error: EIO });
    expect([server.parked.size, server.parked.inflight()]).toEqual([0, []]);
    fs.waiting[0]!(0);
    expect(server.internalErrors).toBe(1);
  });

  it('or says PENDING without having parked does not leave its guest waiting for ever', () => {
    const { fs, ask, server } = harness();
    fs.getattr = () => -0x40000000;
    expect(ask({ opcode: Opcode.GETATTR })).toMatchObject({ error: EIO });
    expect(server.internalErrors).toBe(1);
  });
});
