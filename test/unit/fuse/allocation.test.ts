import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, it } from 'vitest';
import type { Channel } from '../../../src/fuse/channel.ts';
import type { Attr, Entry, ReadSink } from '../../../src/fuse/filesystem.ts';
import { FuseServer } from '../../../src/fuse/server.ts';
import { REPLY_BYTES, REQUEST_BYTES } from '../../../src/native/ring.ts';
import { Vfs } from '../../../src/vfs/vfs.ts';
import { Opcode } from '../../../src/wire/fuse.ts';
import { fuseRequest } from '../../support/fake-channel.ts';
import { MemoryFs } from '../../support/memory-fs.ts';
import { name, readIn } from './harness.ts';

setFlagsFromString('--expose-gc');
const gc = runInNewContext('gc') as () => void;

const SERIAL = 1;
const ROOT_LO = 36;
const FILE_BYTES = 131072;
const WARM_UP = 200_000;
const CALLS = 20_000;
/** Code that the optimising compiler has not got to yet allocates numbers; on a busy machine it comes late. */
const ROUNDS = 100;
const NOISE_BYTES = 2;

/** Answers everything from constants. */
class ConstantFs extends MemoryFs {
  constructor() {
    super({}, SERIAL, ROOT_LO);
  }
  override lookup(_hi: number, _lo: number, _b: Uint8Array, _s: number, _e: number, out: Entry): number {
    out.nodeHi = SERIAL;
    out.nodeLo = 40;
    out.validMs = Number.POSITIVE_INFINITY;
    return this.getattr(SERIAL, 40, out.attr);
  }
  override getattr(_hi: number, lo: number, out: Attr): number {
    out.inoLo = lo;
    out.size = FILE_BYTES;
    out.mtime = 1_700_086_401;
    out.mode = 0o100644;
    out.validMs = Number.POSITIVE_INFINITY;
    return 0;
  }
  override read(_hi: number, _lo: number, offset: number, size: number, sink: ReadSink): number {
    const half = size / 2;
    return sink.fromFile(10, offset, half) + sink.fromFile(11, offset, half);
  }
}

/** A ring whose one slot is always full, as cheap as the real one. */
class OneSlot implements Channel {
  readonly requestBytes: Uint8Array = new Uint8Array(REQUEST_BYTES);
  readonly requests: DataView = new DataView(this.requestBytes.buffer);
  readonly replyBytes: Uint8Array = new Uint8Array(REPLY_BYTES);
  readonly replies: DataView = new DataView(this.replyBytes.buffer);
  readonly #length: number;
  completed = 0;
  bytes = 0;

  constructor(request: Uint8Array) {
    this.requestBytes.set(request);
    this.#length = request.length;
  }
  requestAt(): number {
    return 0;
  }
  requestCopied(): number {
    return this.#length;
  }
  requestTotal(): number {
    return this.#length;
  }
  replyAt(): number {
    return 0;
  }
  replyCapacity(): number {
    return 16 + FILE_BYTES;
  }
  complete(_slot: number, _inline: number, total: number): void {
    this.completed++;
    this.bytes = total;
  }
  readFile(_slot: number, _skip: number, _fd: number, _at: number, length: number): number {
    return length;
  }
  readFileBlocking(): void {
    throw new Error('not on a hit');
  }
  writeBytes(_slot: number, _skip: number, _bytes: Uint8Array, _start: number, length: number): number {
    return length;
  }
  alive(): boolean {
    return true;
  }
  ticket(): number {
    return 0;
  }
  flush(): void {}
}

/**
 * Heap bytes that a call costs: the least of several rounds, each too short for the collector to be called. A round
 * without an allocation is enough: what allocates does so in every round.
 */
function bytesPerCall(call: () => void): number {
  for (let i = 0; i < WARM_UP; i++) call();
  let least = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ROUNDS && least >= NOISE_BYTES; round++) {
    gc();
    const before = process.memoryUsage().heapUsed;
    for (let i = 0; i < CALLS; i++) call();
    const grown = process.memoryUsage().heapUsed - before;
    if (grown >= 0) least = Math.min(least, grown / CALLS);
  }
  return least;
}

it('the measurement sees an object of a few words', () => {
  let kept: unknown;
  const cost = bytesPerCall(() => {
    kept = { a: kept === null, b: 1 };
  });
  expect(cost).toBeGreaterThan(8);
});

it.each([
  ['GETATTR', fuseRequest({ opcode: Opcode.GETATTR, hi: SERIAL, lo: 40 }, new Uint8Array(16)), 120],
  ['LOOKUP', fuseRequest({ opcode: Opcode.LOOKUP, hi: SERIAL, lo: ROOT_LO }, name('libc.so.6')), 144],
  ['READ', fuseRequest({ opcode: Opcode.READ, hi: SERIAL, lo: 40 }, readIn(0n, FILE_BYTES)), 16 + FILE_BYTES],
])('%s on a hit allocates nothing', (_name, request, total) => {
  const vfs = new Vfs();
  vfs.mount('/image', new ConstantFs(), SERIAL);
  const server = new FuseServer(vfs);
  server.counters.add(SERIAL, false);
  const channel = new OneSlot(request);
  const cost = bytesPerCall(() => server.serve(channel, 0));
  expect(channel.bytes).toBe(total);
  // The smallest object has 12 bytes; what is below 2 is noise of the measurement.
  expect(cost).toBeLessThan(NOISE_BYTES);
});
