import { describe, expect, it } from 'vitest';
import { Opcode } from '../../../src/wire/fuse.ts';
import { fuseRequest } from '../../support/fake-channel.ts';
import { FILE, HELLO, harness, MISSING, readIn } from './harness.ts';

describe('a READ that waits for its data', () => {
  it('is listed, repeated when the data is there, answered once and flushed', () => {
    const { fs, channel, ask, server } = harness();
    const before = Math.floor(Date.now() / 1000);
    expect(ask({ opcode: Opcode.READ, lo: MISSING, unique: 99n }, readIn(0n, 100))).toBeUndefined();
    const [row] = server.parked.inflight();
    expect(row).toMatchObject({ inode: MISSING, opcode: Opcode.READ, unique: 99 });
    expect(row!.timestamp_secs).toBeGreaterThanOrEqual(before);
    fs.nodes[MISSING]!.missing = false;
    fs.waiting[0]!(0);
    expect(channel.reply(0)).toMatchObject({ error: 0, unique: 99n, body: HELLO });
    expect([channel.flushes, server.parked.inflight()]).toEqual([1, []]);
    fs.waiting[0]!(0);
    expect(channel.flushes).toBe(1);
  });

  it('holds up nobody', () => {
    const { channel, server, ask } = harness();
    channel.submit(3, fuseRequest({ opcode: Opcode.READ, lo: MISSING }, readIn(0n, 100)), 4096);
    server.serve(channel, 3);
    expect(ask({ opcode: Opcode.READ, lo: FILE }, readIn(0n, 100))).toMatchObject({ body: HELLO });
    expect(channel.reply(3)).toBeUndefined();
  });

  it('fails with the errno it is resumed with', () => {
    const { fs, channel, ask } = harness();
    ask({ opcode: Opcode.READ, lo: MISSING }, readIn(0n, 100));
    fs.waiting[0]!(-74);
    expect(channel.reply(0)).toMatchObject({ error: -74, total: 16 });
  });

  it('is answered with the bytes it is resumed with', () => {
    const { fs, channel, ask } = harness();
    ask({ opcode: Opcode.READ, lo: MISSING }, readIn(0n, 3));
    fs.waiting[0]!(0, Buffer.from('abcdef'));
    expect(channel.reply(0)).toMatchObject({ error: 0, total: 19, body: Buffer.from('abc') });
  });

  it('may have to wait again', () => {
    const { fs, channel, ask, server } = harness();
    ask({ opcode: Opcode.READ, lo: MISSING }, readIn(0n, 100));
    fs.waiting[0]!(0);
    expect([channel.reply(0), server.parked.inflight().length]).toEqual([undefined, 1]);
    fs.nodes[MISSING]!.missing = false;
    fs.waiting[1]!(0);
    expect(channel.reply(0)).toMatchObject({ body: HELLO });
  });

  it('is dropped when its connection went meanwhile', () => {
    const { fs, channel, ask, server } = harness();
    ask({ opcode: Opcode.READ, lo: MISSING }, readIn(0n, 100));
    channel.detach();
    fs.waiting[0]!(0);
    expect([channel.reply(0), server.parked.size, channel.flushes]).toEqual([undefined, 0, 0]);
  });

  it('is forgotten with its channel, though nobody ever resumes it', () => {
    const { channel, ask, server } = harness();
    channel.cached.set(10, 0);
    ask({ opcode: Opcode.READ, lo: FILE }, readIn(0n, 100));
    expect(server.parked.size).toBe(1);
    channel.detach();
    server.parked.abandon(channel);
    channel.pool[0]!.run();
    expect([server.parked.size, server.parked.inflight()]).toEqual([0, []]);
  });

  it('is not answered twice when it is resumed before its call returned', async () => {
    const { fs, channel, ask } = harness();
    fs.read = (_hi, _lo, _offset, _size, sink) => {
      if (sink.supplied !== null) return sink.fromBytes(sink.supplied, 0, sink.supplied.length);
      sink.later()(0, Buffer.from('now'));
      return -0x40000000;
    };
    ask({ opcode: Opcode.READ, lo: FILE }, readIn(0n, 100));
    await Promise.resolve();
    expect(channel.reply(0)).toMatchObject({ error: 0, body: Buffer.from('now') });
  });
});
