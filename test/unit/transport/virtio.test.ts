import { beforeEach, describe, expect, it } from 'vitest';
import { FuseServer } from '../../../src/fuse/server.ts';
import { type Ring, RingServer } from '../../../src/transport/virtio.ts';
import { Opcode } from '../../../src/wire/fuse.ts';
import { FakeChannel, fuseRequest } from '../../support/fake-channel.ts';
import { MemoryFs } from '../../support/memory-fs.ts';
import { readIn } from '../fuse/harness.ts';

const SLOTS = 64;
const POLL_NS = 5000;
const MISSING = 2;

/** A ring of which a test says what it holds; it writes down what is done to it. */
class FakeRing extends FakeChannel implements Ring {
  readonly popped: Int32Array = new Int32Array(SLOTS);
  /** Requests that the driver has made available. */
  available: Buffer[] = [];
  /** What the driver adds between the last pop and the arming. */
  atArming: Buffer[] = [];
  failure = 0;
  readonly log: string[] = [];
  #nextSlot = 0;

  constructor() {
    super(SLOTS);
  }

  pop(max: number, spinNs: number): number {
    this.log.push(`pop ${spinNs}`);
    if (this.failure !== 0) return this.failure;
    const batch = this.available.splice(0, max);
    for (const [i, request] of batch.entries()) {
      while (this.isTaken(this.#nextSlot % SLOTS)) this.#nextSlot++;
      const slot = this.#nextSlot++ % SLOTS;
      this.submit(slot, request, 4096);
      this.popped[i] = slot;
    }
    return batch.length;
  }

  arm(): number {
    this.log.push('arm');
    this.available.push(...this.atArming.splice(0));
    return this.available.length > 0 ? 1 : 0;
  }

  override flush(tell = true): void {
    super.flush();
    this.log.push(tell ? 'tell' : 'publish');
  }
}

const getattr = () => fuseRequest({ opcode: Opcode.GETATTR });
const many = (count: number) => Array.from({ length: count }, getattr);
const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

let ring: FakeRing;
let fs: MemoryFs;
let server: FuseServer;
let faults: number[];
let ringServer: RingServer;
beforeEach(() => {
  ring = new FakeRing();
  fs = new MemoryFs({ 1: { entries: {} }, [MISSING]: { extents: [], missing: true } });
  server = new FuseServer(fs);
  faults = [];
  ringServer = new RingServer(ring, server, {
    pollNs: POLL_NS,
    isCrowded: () => false,
    onFault: (errno) => faults.push(errno),
  });
});

it('serves a batch, publishes it, looks a while for more and then sleeps armed', () => {
  ring.available = many(1);
  ringServer.drain();
  expect(ring.log).toEqual(['pop 0', 'tell', `pop ${POLL_NS}`, 'arm']);
  expect(ring.reply(0)?.total).toBe(120);
});

/** What the ring saw of each batch: the entries between two pops. */
function batches(log: readonly string[]): string[][] {
  const found: string[][] = [];
  for (const entry of log) {
    if (entry.startsWith('pop')) found.push([]);
    else if (entry !== 'arm') found.at(-1)!.push(entry);
  }
  return found;
}

it('tells of at most three replies at a time, and of every batch of 32 before it takes the next', () => {
  ring.available = many(40);
  ringServer.drain();
  const [first, second, none] = batches(ring.log);
  expect(first!.length).toBeGreaterThanOrEqual(11);
  expect(second!.length).toBeGreaterThanOrEqual(3);
  expect(none).toEqual([]);
  expect(new Set([...first!, ...second!])).toEqual(new Set(['tell']));
  expect(Array.from({ length: 40 }, (_, slot) => ring.reply(slot % SLOTS)?.total)).toEqual(
    Array(40).fill(120),
  );
});

it('publishes as often but wakes the driver less where it has no CPU of its own', () => {
  ringServer = new RingServer(ring, server, { pollNs: 0, isCrowded: () => true, onFault: () => {} });
  ring.available = many(32);
  ringServer.drain();
  const [batch] = batches(ring.log);
  const told = batch!.filter((entry) => entry === 'tell').length;
  expect(batch!.length).toBeGreaterThanOrEqual(11);
  expect(batch!.at(-1)).toBe('tell');
  expect(told).toBeLessThanOrEqual(batch!.length / 5 + 1);
});

it('does not sleep on what came while it armed', () => {
  ring.atArming = many(1);
  ringServer.drain();
  expect(ring.log).toEqual(['pop 0', 'arm', 'pop 0', 'tell', `pop ${POLL_NS}`, 'arm']);
  expect(ring.reply(0)?.total).toBe(120);
});

it('does not spin while a request waits for what the event loop brings', () => {
  ring.available = [fuseRequest({ opcode: Opcode.READ, lo: MISSING }, new Uint8Array(40))];
  ringServer.drain();
  expect(ring.log).toEqual(['pop 0', 'tell', 'pop 0', 'arm']);
});

it('lets others have a turn under a load that never ends, and goes on by itself', async () => {
  ring.available = many(32 * 20);
  ringServer.drain();
  const left = ring.available.length;
  expect(left).toBe(32 * 4);
  // A kick meanwhile must not serve a second time over.
  ringServer.drain();
  expect(ring.available.length).toBe(left);
  await nextTurn();
  expect(ring.available.length).toBe(0);
  expect(ring.log.at(-1)).toBe('arm');
});

it('lets others have a turn when the driver offers what is returned at once, without end', async () => {
  let passes = 0;
  ring.pop = () => 0;
  ring.arm = () => (++passes === 100 ? 0 : 1);
  ringServer.drain();
  expect(passes).toBe(16);
  while (passes < 100) await nextTurn();
});

it('reports a broken ring once and leaves it alone', () => {
  ring.failure = -71;
  ringServer.drain();
  ringServer.drain();
  expect([faults, ring.log]).toEqual([[-71], ['pop 0']]);
});

it('reports a ring that breaks when it is armed', () => {
  ring.arm = () => -14;
  ringServer.drain();
  expect(faults).toEqual([-14]);
});

it('serves nothing once stopped, not even what was scheduled, and its waiting requests are nobody’s', async () => {
  ring.available = [fuseRequest({ opcode: Opcode.READ, lo: MISSING }, new Uint8Array(40)), ...many(32 * 20)];
  ringServer.drain();
  expect(server.parked.inflight()).toHaveLength(1);
  const left = ring.available.length;
  const over = ringServer.quiesce(0);
  ring.detach();
  await nextTurn();
  await over;
  ringServer.drain();
  expect([ring.available.length, server.parked.inflight(), server.parked.size]).toEqual([left, [], 0]);
  fs.waiting[0]!(0);
  expect(ring.reply(0)).toBeUndefined();
});

it('leaves the waiting requests of another ring of the same server alone', async () => {
  const other = new FakeRing();
  const otherServer = new RingServer(other, server, { pollNs: 0, isCrowded: () => false, onFault: () => {} });
  for (const one of [ring, other])
    one.available = [fuseRequest({ opcode: Opcode.READ, lo: MISSING }, new Uint8Array(40))];
  ringServer.drain();
  otherServer.drain();
  await ringServer.quiesce(0);
  fs.nodes[MISSING]!.missing = false;
  for (const resume of fs.waiting.splice(0)) resume(0);
  expect([ring.reply(0), other.reply(0)?.error]).toEqual([undefined, 0]);
});

describe('quiescing', () => {
  const CACHED_PARTLY = 3;
  const FD = 9;
  const read = (lo: number) => fuseRequest({ opcode: Opcode.READ, lo }, readIn(0n, 100));
  beforeEach(() => {
    fs.nodes[CACHED_PARTLY] = { extents: [{ fd: FD, offset: 0, length: 100 }] };
    ring.files.set(FD, new Uint8Array(100).fill(7));
    ring.cached.set(FD, 0);
    ring.available = [read(MISSING), read(CACHED_PARTLY)];
    ringServer.drain();
    expect(ring.pool).toHaveLength(1);
  });

  it.each([
    0, 5000,
  ])('waits for a pool thread, which cannot be called back (at most %i ms for data)', async (drainMs) => {
    let isOver = false;
    const over = ringServer.quiesce(drainMs).then((result) => {
      isOver = true;
      return result;
    });
    await nextTurn();
    for (const resume of fs.waiting.splice(0)) resume(-74);
    await new Promise((resolve) => setTimeout(resolve, 10));
    expect(isOver).toBe(false);
    ring.pool[0]!.run();
    expect(await over).toEqual({ failed: 0, stuck: 0 });
    expect(ring.reply(0)?.error).toBe(drainMs === 0 ? undefined : -74);
    expect(ring.reply(1)?.body).toEqual(Buffer.alloc(100, 7));
  });

  it('answers EIO to what still waits for data after its time, not to what a pool thread reads for', async () => {
    const over = ringServer.quiesce(5);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect([ring.reply(0)?.error, ring.reply(1)]).toEqual([-5, undefined]);
    ring.pool[0]!.run();
    expect(await over).toEqual({ failed: 1, stuck: 0 });
    expect(ring.reply(1)?.error).toBe(0);
    fs.waiting[0]!(0);
    expect(server.parked.size).toBe(0);
  });

  it('ends at once when it is called again for nobody', async () => {
    const first = ringServer.quiesce(60_000);
    ring.pool[0]!.run();
    expect(await ringServer.quiesce(0)).toEqual({ failed: 0, stuck: 0 });
    expect(await first).toEqual({ failed: 0, stuck: 0 });
    expect(ring.reply(0)).toBeUndefined();
  });

  it('takes no request any more', async () => {
    ring.pool[0]!.run();
    const over = ringServer.quiesce(5);
    ring.available = many(3);
    ringServer.drain();
    await over;
    ringServer.drain();
    expect(ring.available).toHaveLength(3);
  });

  it('waits for no answers of a ring that broke: they cannot be given', async () => {
    ring.pool[0]!.run();
    ring.failure = -14;
    ringServer.drain();
    expect(await ringServer.quiesce(60_000)).toEqual({ failed: 0, stuck: 0 });
  });
});

it('answers nothing to the forgets of the high-priority ring, and gives their buffers back', () => {
  ring.available = [fuseRequest({ opcode: Opcode.FORGET, lo: 5 }, Buffer.from('0300000000000000', 'hex'))];
  ringServer.drain();
  expect([ring.reply(0), fs.forgotten]).toEqual([null, ['0:5-3']]);
});
