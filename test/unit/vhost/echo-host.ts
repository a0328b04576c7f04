import type { Addon } from '../../../src/native/addon.ts';
import { REPLY_BYTES, REQUEST_BYTES, STATE_WORDS, State } from '../../../src/native/ring.ts';
import type { QueueHost } from '../../../src/vhost/host.ts';

const SLOTS = 128;

interface Served {
  handle: number;
}

/** Serves rings on this thread: the reply is the request's own bytes, as many as fit. */
export class EchoHost implements QueueHost {
  /** What was asked, in order, e.g. `attach 1`. */
  readonly calls: string[] = [];
  /** Answer of the next attach instead of attaching. */
  refuseAttach = 0;
  /** What `memoryChanged` waits for. */
  memoryGate: Promise<void> = Promise.resolve();
  readonly #addon: Addon;
  readonly #served = new Map<string, Served>();

  constructor(addon: Addon) {
    this.#addon = addon;
  }

  get attachedCount(): number {
    return this.#served.size;
  }

  async attach(device: number, queue: number): Promise<number> {
    this.calls.push(`attach ${queue}`);
    if (this.refuseAttach !== 0) return this.refuseAttach;
    const requests = new ArrayBuffer(SLOTS * REQUEST_BYTES);
    const replies = new ArrayBuffer(SLOTS * REPLY_BYTES);
    const state = new Int32Array(SLOTS * STATE_WORDS);
    const popped = new Int32Array(SLOTS);
    const serve = (): void => {
      do {
        for (let n = this.#addon.ringPop(handle, popped, SLOTS, 0); n > 0; ) {
          for (const slot of popped.subarray(0, n)) this.#echo(slot, requests, replies, state);
          this.#addon.ringFlush(handle, popped, n, true);
          n = this.#addon.ringPop(handle, popped, SLOTS, 0);
        }
      } while (this.#addon.ringArm(handle) === 1);
    };
    const handle = this.#addon.ringAttach(device, queue, requests, replies, state, SLOTS, serve);
    if (handle < 0) return handle;
    this.#served.set(`${device}:${queue}`, { handle });
    serve();
    return 0;
  }

  #echo(slot: number, requests: ArrayBuffer, replies: ArrayBuffer, state: Int32Array): void {
    const row = slot * STATE_WORDS;
    const length = Math.min(state[row + State.copied]!, state[row + State.writable]!, REPLY_BYTES);
    const request = new Uint8Array(requests, slot * REQUEST_BYTES, length);
    new Uint8Array(replies, slot * REPLY_BYTES, length).set(request);
    state[row + State.inline] = length;
    state[row + State.total] = length;
  }

  async detach(device: number, queue: number): Promise<number> {
    this.calls.push(`detach ${queue}`);
    const served = this.#served.get(`${device}:${queue}`);
    if (served === undefined) return -2;
    this.#served.delete(`${device}:${queue}`);
    const base = this.#addon.ringDetach(served.handle);
    return Math.min(base, 0);
  }

  async memoryChanged(): Promise<void> {
    this.calls.push('memory');
    await this.memoryGate;
  }

  async sessionReset(): Promise<void> {
    this.calls.push('session');
  }
}
