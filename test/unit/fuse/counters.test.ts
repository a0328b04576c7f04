import { expect, it } from 'vitest';
import { Counter, FileCounter } from '../../../src/fuse/counters.ts';
import { FuseServer } from '../../../src/fuse/server.ts';
import { COUNTED_OPS, Opcode } from '../../../src/wire/fuse.ts';
import { FakeChannel, fuseRequest } from '../../support/fake-channel.ts';
import { MemoryFs } from '../../support/memory-fs.ts';
import { readIn } from './harness.ts';

const SERIAL = 5;
const FILE = 2;
const MISSING = 3;

function served(files: boolean) {
  const content = { bytes: new Uint8Array(5000) };
  const fs = new MemoryFs({
    1: { entries: {} },
    [FILE]: { extents: [content] },
    [MISSING]: { extents: [content], missing: true },
  });
  const channel = new FakeChannel();
  const server = new FuseServer(fs);
  server.counters.add(SERIAL, files);
  const ask = (opcode: number, lo: number, body?: Uint8Array, hi = SERIAL) => {
    channel.submit(0, fuseRequest({ opcode, hi, lo }, body), 8192);
    server.serve(channel, 0);
  };
  return { fs, channel, server, ask, counters: server.counters.get(SERIAL)! };
}

const index = (op: string) => COUNTED_OPS.indexOf(op);

it('count requests, failures and bytes of their own mount only', () => {
  const { ask, counters } = served(false);
  ask(Opcode.GETATTR, 1);
  ask(Opcode.GETATTR, 99);
  ask(Opcode.READ, FILE, readIn(0n, 4096));
  ask(Opcode.READ, FILE, readIn(4096n, 4096));
  ask(Opcode.READ, FILE, readIn(0n, 4096), SERIAL + 1);
  ask(Opcode.GETATTR, 1, undefined, 0);
  const { values } = counters;
  expect([values[Counter.hits + index('getattr')], values[Counter.errors + index('getattr')]]).toEqual([
    2, 1,
  ]);
  expect([values[Counter.hits + index('read')], values[Counter.dataRead]]).toEqual([2, 5000]);
  // 904 bytes are below 1 KiB; 4096 begin the bucket of 4 KiB.
  expect([...values.subarray(Counter.readSizes, Counter.readSizes + 8)]).toEqual([1, 0, 1, 0, 0, 0, 0, 0]);
  expect([...values.subarray(Counter.readLatency, Counter.readLatency + 8)].reduce((a, b) => a + b)).toBe(2);
});

it('count a READ that waited once, when it is over, with all the time it took', async () => {
  const { fs, ask, counters } = served(false);
  const hits = () => counters.values[Counter.hits + index('read')];
  ask(Opcode.READ, MISSING, readIn(0n, 100));
  expect(hits()).toBe(0);
  await new Promise((resolve) => setTimeout(resolve, 10));
  fs.nodes[MISSING]!.missing = false;
  fs.waiting[0]!(0);
  expect([hits(), counters.values[Counter.dataRead]]).toEqual([1, 100]);
  expect(counters.values[Counter.latencyUs + index('read')]).toBeGreaterThan(8_000);
  expect(counters.values[Counter.readLatency]).toBe(0);
});

it('count per file only where the mount asked for it', () => {
  expect(served(false).counters.files).toBeNull();
  const { ask, counters } = served(true);
  ask(Opcode.READ, FILE, readIn(0n, 10));
  ask(Opcode.GETATTR, FILE);
  ask(Opcode.OPEN, FILE, Buffer.from('0100000000000000', 'hex'));
  const row = counters.files!.get(FILE)!;
  expect([row[FileCounter.total], row[FileCounter.dataRead], row[FileCounter.recent]]).toEqual([3, 10, 1]);
  expect([row[FileCounter.hits + index('open')], row[FileCounter.errors + index('open')]]).toEqual([1, 1]);
  expect(counters.files!.get(1)).toBeUndefined();
});

it('remember no inode that does not exist, however many a guest names', () => {
  const { ask, counters } = served(true);
  for (let lo = 1000; lo < 1100; lo++) {
    ask(Opcode.GETATTR, lo);
    ask(Opcode.STATFS, lo);
    ask(Opcode.RELEASE, lo, new Uint8Array(24));
    ask(Opcode.FORGET, lo, new Uint8Array(8));
    ask(Opcode.BATCH_FORGET, lo, new Uint8Array(8));
  }
  expect([counters.files!.size, counters.values[Counter.hits + index('forget')]]).toEqual([0, 100]);
});

it('end with the mount', () => {
  const { ask, server } = served(true);
  server.counters.remove(SERIAL);
  ask(Opcode.GETATTR, 1);
  expect(server.counters.get(SERIAL)).toBeUndefined();
});

it('count requests on nodeid 1 for the image that is mounted at /', () => {
  const { ask, server, counters } = served(false);
  ask(Opcode.GETATTR, 1, undefined, 0);
  server.counters.rootSerial = SERIAL;
  ask(Opcode.GETATTR, 1, undefined, 0);
  expect(counters.values[Counter.hits + index('getattr')]).toBe(1);
  server.counters.rootSerial = 0;
  ask(Opcode.GETATTR, 1, undefined, 0);
  expect(counters.values[Counter.hits + index('getattr')]).toBe(1);
});
