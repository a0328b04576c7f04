import type { Channel } from '../fuse/channel.ts';
import { REPLY_BYTES, REQUEST_BYTES, type RingCalls, STATE_WORDS, State } from '../native/ring.ts';
import type { Ring } from './virtio.ts';

/**
 * Requests in flight per ring: a full queue of the largest size that QEMU makes. It bounds what one guest makes us
 * remember.
 */
const SLOTS = 1024;

/** One attached ring and its slots' memory, on the thread that serves it. Results below 0 are `-errno`. */
export class RingChannel implements Channel, Ring {
  readonly requests: DataView;
  readonly requestBytes: Uint8Array;
  readonly replies: DataView;
  readonly replyBytes: Uint8Array;
  readonly popped: Int32Array;
  readonly #addon: RingCalls;
  readonly #onKick: () => void;
  readonly #state: Int32Array;
  readonly #done: Int32Array;
  #doneCount = 0;
  #handle = -1;

  private constructor(addon: RingCalls, slots: number, onKick: () => void) {
    this.#addon = addon;
    this.#onKick = onKick;
    this.requestBytes = new Uint8Array(slots * REQUEST_BYTES);
    this.requests = new DataView(this.requestBytes.buffer);
    this.replyBytes = new Uint8Array(slots * REPLY_BYTES);
    this.replies = new DataView(this.replyBytes.buffer);
    this.popped = new Int32Array(slots);
    this.#state = new Int32Array(slots * STATE_WORDS);
    this.#done = new Int32Array(slots);
  }

  /**
   * Attaches ring `queue` of `device`; `onKick` runs whenever there may be requests. Returns -errno when it cannot be
   * served.
   */
  static attach(addon: RingCalls, device: number, queue: number, onKick: () => void): RingChannel | number {
    const channel = new RingChannel(addon, SLOTS, onKick);
    const { requestBytes, replyBytes } = channel;
    const handle = addon.ringAttach(
      device,
      queue,
      requestBytes.buffer as ArrayBuffer,
      replyBytes.buffer as ArrayBuffer,
      channel.#state,
      channel.popped.length,
      onKick,
    );
    if (handle < 0) return handle;
    channel.#handle = handle;
    return channel;
  }

  requestAt(slot: number): number {
    return slot * REQUEST_BYTES;
  }

  requestCopied(slot: number): number {
    return this.#state[slot * STATE_WORDS + State.copied]!;
  }

  requestTotal(slot: number): number {
    return this.#state[slot * STATE_WORDS + State.readable]!;
  }

  replyAt(slot: number): number {
    return slot * REPLY_BYTES;
  }

  replyCapacity(slot: number): number {
    return this.#state[slot * STATE_WORDS + State.writable]!;
  }

  complete(slot: number, inline: number, total: number): void {
    const row = slot * STATE_WORDS;
    this.#state[row + State.inline] = inline;
    this.#state[row + State.total] = total;
    this.#done[this.#doneCount++] = slot;
  }

  readFile(slot: number, skip: number, fd: number, fileOffset: number, length: number): number {
    return this.#addon.ringRead(this.#handle, slot, skip, fd, fileOffset, length);
  }

  readFileBlocking(
    slot: number,
    skip: number,
    fd: number,
    fileOffset: number,
    length: number,
    done: (result: number) => void,
  ): void {
    const result = this.#addon.ringReadBlocking(this.#handle, slot, skip, fd, fileOffset, length, done);
    if (result < 0) queueMicrotask(() => done(result));
  }

  writeBytes(slot: number, skip: number, bytes: Uint8Array, start: number, length: number): number {
    return this.#addon.ringWrite(this.#handle, slot, skip, bytes, start, length);
  }

  ticket(slot: number): number {
    return this.#state[slot * STATE_WORDS + State.ticket]!;
  }

  alive(slot: number, ticket: number): boolean {
    return this.#handle >= 0 && this.ticket(slot) === ticket;
  }

  /** Who serves the ring learns at its next pop that it broke; as its driver may never kick again, `onKick` runs. */
  flush(tell = true): number {
    if ((this.#doneCount === 0 && !tell) || this.#handle < 0) return 0;
    const count = this.#doneCount;
    this.#doneCount = 0;
    const result = this.#addon.ringFlush(this.#handle, this.#done, count, tell);
    if (result < 0) setImmediate(this.#onKick);
    return result;
  }

  pop(max: number, spinNs: number): number {
    return this.#addon.ringPop(this.#handle, this.popped, max, spinNs);
  }

  arm(): number {
    return this.#addon.ringArm(this.#handle);
  }

  /** Ends serving; returns the ring's base. Requests in flight are abandoned. */
  detach(): number {
    if (this.#handle < 0) return 0;
    const handle = this.#handle;
    this.#handle = -1;
    return this.#addon.ringDetach(handle);
  }
}
