/** A READ whose file system relies on a count that another thread changes. */
import { expect, it } from 'vitest';
import type { ReadSink } from '../../../src/fuse/filesystem.ts';
import { FuseServer } from '../../../src/fuse/server.ts';
import { Opcode } from '../../../src/wire/fuse.ts';
import { FakeChannel, fuseRequest } from '../../support/fake-channel.ts';
import { MemoryFs } from '../../support/memory-fs.ts';
import { nodes, readIn } from './harness.ts';

const OLD = 20;
const NEW = 21;
const SIZE = 64;

/** The file is in OLD while the count is 0 and in NEW afterwards. */
class MovingFs extends MemoryFs {
  readonly count: Int32Array = new Int32Array(new SharedArrayBuffer(4));
  reads = 0;

  override read(_hi: number, _lo: number, offset: number, size: number, sink: ReadSink): number {
    this.reads++;
    sink.relyOn(this.count);
    return sink.fromFile(this.count[0] === 0 ? OLD : NEW, offset, Math.min(size, SIZE - offset));
  }
}

/** Reads when told to, `when` after how many calls of readFile the count changes. */
class RacingChannel extends FakeChannel {
  onRead: () => void = () => {};

  override readFile(...args: Parameters<FakeChannel['readFile']>): number {
    const result = super.readFile(...args);
    this.onRead();
    return result;
  }
}

function setUp() {
  const fs = new MovingFs(nodes());
  const channel = new RacingChannel();
  channel.files.set(OLD, Buffer.alloc(SIZE, 'o'));
  channel.files.set(NEW, Buffer.alloc(SIZE, 'n'));
  const server = new FuseServer(fs, {});
  const ask = () => {
    channel.submit(0, fuseRequest({ opcode: Opcode.READ, lo: 2 }, readIn(0n, SIZE)), 4096);
    server.serve(channel, 0);
  };
  return { fs, channel, ask };
}

it('is answered at once while nothing changes', () => {
  const { fs, channel, ask } = setUp();
  ask();
  expect(channel.reply(0)?.body).toEqual(Buffer.alloc(SIZE, 'o'));
  expect(fs.reads).toBe(1);
});

it('begins anew when the count changed while its bytes were moved', () => {
  const { fs, channel, ask } = setUp();
  channel.onRead = () => {
    if (fs.reads === 1) fs.count[0] = 1;
  };
  ask();
  expect(channel.reply(0)).toMatchObject({ error: 0, total: 16 + SIZE, body: Buffer.alloc(SIZE, 'n') });
  expect(fs.reads).toBe(2);
});

it('begins anew as often as the count changes', () => {
  const { fs, channel, ask } = setUp();
  channel.onRead = () => {
    if (fs.reads < 5) fs.count[0]!++;
  };
  ask();
  expect(channel.reply(0)?.body).toEqual(Buffer.alloc(SIZE, 'n'));
  expect(fs.reads).toBe(5);
});

it('begins anew when the count changed while a pool thread read', () => {
  const { fs, channel, ask } = setUp();
  channel.cached.set(OLD, 10);
  ask();
  expect(channel.reply(0)).toBeUndefined();
  fs.count[0] = 1;
  channel.pool[0]!.run();
  expect(channel.reply(0)?.body).toEqual(Buffer.alloc(SIZE, 'n'));
  expect(fs.reads).toBe(2);
});

it('waits for a pool thread as ever while nothing changes', () => {
  const { fs, channel, ask } = setUp();
  channel.cached.set(OLD, 10);
  ask();
  channel.pool[0]!.run();
  expect(channel.reply(0)?.body).toEqual(Buffer.alloc(SIZE, 'o'));
  expect(fs.reads).toBe(1);
});
