/** What becomes of requests in flight when their ring is stopped, over a socket, with real rings. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FuseServer } from '../../../src/fuse/server.ts';
import { RingChannel } from '../../../src/transport/ring-channel.ts';
import { RingServer, type StopResult } from '../../../src/transport/virtio.ts';
import type { QueueHost } from '../../../src/vhost/host.ts';
import { Opcode } from '../../../src/wire/fuse.ts';
import { encodeMessage, encodeVringState, requests } from '../../../src/wire/vhost-user.ts';
import { addon } from '../../support/addon.ts';
import { fuseRequest } from '../../support/fake-channel.ts';
import type { Frontend } from '../../support/frontend.ts';
import { MemoryFs } from '../../support/memory-fs.ts';
import {
  connectLikeQemu72,
  connectLikeQemuNewer,
  type Guest,
  restartLikeQemu,
} from '../../support/sequences.ts';
import { readIn } from '../fuse/harness.ts';
import { Bench, waitFor } from '../vhost/harness.ts';

const MISSING = 2;
const CONTENT = Buffer.from('came late');

/** Serves rings with a FUSE server on this thread, as a queue worker does. */
class FuseHost implements QueueHost {
  readonly fs: MemoryFs = new MemoryFs({
    1: { entries: { missing: MISSING } },
    [MISSING]: { extents: [{ bytes: CONTENT }], missing: true },
  });
  readonly server: FuseServer = new FuseServer(this.fs);
  readonly results: StopResult[] = [];
  readonly #rings = new Map<string, { channel: RingChannel; ringServer: RingServer }>();
  readonly #drainMs: number;

  constructor(drainMs: number) {
    this.#drainMs = drainMs;
  }

  async attach(device: number, queue: number): Promise<number> {
    const channel = RingChannel.attach(addon, device, queue, () => ringServer.drain());
    if (typeof channel === 'number') return channel;
    const ringServer: RingServer = new RingServer(channel, this.server, {
      pollNs: 0,
      isCrowded: () => false,
      onFault: () => {},
    });
    this.#rings.set(`${device}:${queue}`, { channel, ringServer });
    setImmediate(() => ringServer.drain());
    return 0;
  }

  async detach(device: number, queue: number, drain: boolean): Promise<number> {
    const key = `${device}:${queue}`;
    const ring = this.#rings.get(key)!;
    const result = await ring.ringServer.quiesce(drain ? this.#drainMs : 0);
    if (this.#rings.get(key) !== ring) return 0;
    this.#rings.delete(key);
    this.results.push(result);
    return ring.channel.detach();
  }

  async memoryChanged(): Promise<void> {}
  async sessionReset(): Promise<void> {}

  /** The data of everything that waits is there. */
  arrive(): void {
    this.fs.nodes[MISSING]!.missing = false;
    for (const resume of this.fs.waiting.splice(0)) resume(0);
  }
}

const getattr = () => fuseRequest({ opcode: Opcode.GETATTR });
const readMissing = () => fuseRequest({ opcode: Opcode.READ, lo: MISSING }, readIn(0n, 100));
const errorOf = ({ bytes }: { bytes: Uint8Array }) => Buffer.from(bytes).readInt32LE(4);
const bodyOf = ({ bytes, usedLen }: { bytes: Uint8Array; usedLen: number }) =>
  Buffer.from(bytes.subarray(16, usedLen));

let bench: Bench;
let host: FuseHost;
let guest: Guest;
let frontend: Frontend;

async function start(drainMs: number, connect = connectLikeQemu72): Promise<void> {
  host = new FuseHost(drainMs);
  bench = new Bench({ host });
  guest = bench.guest();
  frontend = bench.connect();
  await connect(frontend, guest);
}

/** A READ that has been taken from the ring and waits for its data. */
async function waitingRead(): Promise<{ answer: Promise<{ bytes: Uint8Array; usedLen: number }> }> {
  const answer = guest.rings[1]!.request(readMissing(), 116);
  answer.catch(() => {});
  await waitFor(() => host.server.parked.size > 0, 'the read to wait');
  return { answer };
}

/** Nobody listens for the answer, so that the socket can be closed at any moment. */
async function sendGetVringBase(): Promise<void> {
  const payload = encodeVringState({ index: 1, num: 0 });
  await frontend.sendRaw(encodeMessage(requests.getVringBase.code, 0, payload));
  await new Promise((resolve) => setTimeout(resolve, 20));
}

afterEach(async () => {
  await bench.close();
});

describe('a ring that the front-end stops', () => {
  beforeEach(async () => start(5000));

  it('answers first what waits for data, and its base lies behind it', async () => {
    const { answer } = await waitingRead();
    let base = -1;
    const stopped = frontend.getVringBase(1).then((value) => {
      base = value;
    });
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(base).toBe(-1);
    host.arrive();
    expect(bodyOf(await answer)).toEqual(CONTENT);
    await stopped;
    expect([base, host.results]).toEqual([1, [{ failed: 0, stuck: 0 }]]);
  });

  it('takes nothing more meanwhile; a VM that goes on finds that served, once', async () => {
    const { answer } = await waitingRead();
    const ring = guest.rings[1]!;
    const stopped = frontend.getVringBase(1);
    await new Promise((resolve) => setTimeout(resolve, 20));
    let attr: { bytes: Uint8Array; usedLen: number } | null = null;
    const late = ring.request(getattr(), 120).then((completion) => {
      attr = completion;
    });
    host.arrive();
    await answer;
    ring.base = await stopped;
    expect([ring.base, attr]).toEqual([1, null]);
    await frontend.getVringBase(0);
    await restartLikeQemu(frontend, guest, 3);
    await late;
    expect(errorOf(attr!)).toBe(0);
    expect(errorOf(await ring.request(getattr(), 120))).toBe(0);
    expect(ring.inFlight).toBe(0);
  });

  it('does not wait any longer once its front-end is gone', async () => {
    await waitingRead();
    const started = performance.now();
    await sendGetVringBase();
    frontend.close();
    await bench.idle();
    expect(performance.now() - started).toBeLessThan(2000);
    expect(host.server.parked.size).toBe(0);
    expect(host.results).toContainEqual({ failed: 0, stuck: 0 });
  });

  it('does not keep the daemon from ending', async () => {
    await waitingRead();
    const started = performance.now();
    await sendGetVringBase();
    await bench.listener.close();
    expect(performance.now() - started).toBeLessThan(2000);
  });
});

describe('a ring whose data does not come in time', () => {
  it('answers EIO rather than nothing, and a late arrival finds nobody', async () => {
    await start(30);
    const { answer } = await waitingRead();
    expect(await frontend.getVringBase(1)).toBe(1);
    expect(errorOf(await answer)).toBe(-5);
    expect(host.results).toEqual([{ failed: 1, stuck: 0 }]);
    guest.rings[1]!.base = 1;
    await frontend.getVringBase(0);
    await restartLikeQemu(frontend, guest, 3);
    host.arrive();
    expect(errorOf(await guest.rings[1]!.request(getattr(), 120))).toBe(0);
    expect(guest.rings[1]!.inFlight).toBe(0);
  });
});

describe('a device that is reset', () => {
  it('waits for nobody and answers nobody: its driver has forgotten its requests', async () => {
    await start(60_000, connectLikeQemuNewer);
    const { answer } = await waitingRead();
    const used = Buffer.from(guest.memory.bytes);
    await frontend.resetDevice();
    await frontend.getFeatures();
    host.arrive();
    expect(host.server.parked.size).toBe(0);
    expect(Buffer.compare(guest.memory.bytes, used)).toBe(0);
    guest.rings[1]!.reset();
    await expect(answer).rejects.toThrow('ring was reset');
  });
});
