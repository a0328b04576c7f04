import type { Channel } from './channel.ts';
import type { Resume } from './filesystem.ts';
import type { RequestContext } from './request.ts';

const TWO_32 = 0x1_0000_0000;

/** A request that waits for data. Its slot, with the request in it, stays ours until it is completed. */
export interface ParkedRequest {
  readonly channel: Channel;
  readonly slot: number;
  readonly ticket: number;
  readonly hi: number;
  readonly lo: number;
  readonly opcode: number;
  readonly uniqueLo: number;
  readonly uniqueHi: number;
  readonly startedMs: number;
  readonly sinceSeconds: number;
  /** A pool thread reads into its slot, which can neither be completed nor given away meanwhile. */
  reading: boolean;
}

/** What a server does for a request whose wait is over. */
interface Resumer {
  /** Serves it once more; `supplied` are the bytes it was resumed with. */
  repeat(parked: ParkedRequest, supplied: Uint8Array | null): void;
  /** Answers with -errno, or with LARGE and the `large` bytes that lie behind the header. */
  answer(parked: ParkedRequest, result: number, large: number): void;
}

/** A row of `metrics/inflight`. */
interface InflightRequest {
  readonly inode: number;
  readonly opcode: number;
  readonly unique: number;
  readonly timestamp_secs: number;
}

/** The requests of one server that wait for data. Each is answered once, or, when its connection goes, by nothing. */
export class ParkedRequests {
  readonly #resumer: Resumer;
  readonly #all = new Set<ParkedRequest>();
  /** The present call's request, once it is parked. */
  #present: ParkedRequest | null = null;
  #isInCall = false;

  constructor(resumer: Resumer) {
    this.#resumer = resumer;
  }

  /** How many requests wait. */
  get size(): number {
    return this.#all.size;
  }

  /** Whether a request about a node of this serial (high word of nodeids) waits. */
  hasSerial(serial: number): boolean {
    for (const parked of this.#all) if (parked.hi === serial) return true;
    return false;
  }

  /** Requests of the channel that are not answered yet. */
  countOn(channel: Channel): number {
    let count = 0;
    for (const parked of this.#all) if (parked.channel === channel) count++;
    return count;
  }

  /** The requests that wait, for the control interface. */
  inflight(): InflightRequest[] {
    return Array.from(this.#all, (parked) => ({
      inode: parked.hi * TWO_32 + parked.lo,
      opcode: parked.opcode,
      unique: parked.uniqueHi * TWO_32 + parked.uniqueLo,
      timestamp_secs: parked.sinceSeconds,
    }));
  }

  /** The channel is about to go: forgets its requests, some of which nobody would resume any more. */
  abandon(channel: Channel): void {
    for (const parked of this.#all) if (parked.channel === channel) this.#all.delete(parked);
  }

  /**
   * Ends the wait of the channel's requests, those aside that a pool thread reads for: they are answered with `errno`
   * (negative), or by nothing if it is 0. Returns how many were answered.
   */
  endWaiting(channel: Channel, errno: number): number {
    let answered = 0;
    for (const parked of this.#all) {
      if (parked.channel !== channel || parked.reading) continue;
      if (errno === 0) {
        this.#all.delete(parked);
      } else {
        answered++;
        this.answer(parked, errno, 0);
      }
    }
    return answered;
  }

  /** A call of the file system begins, which may park its request. */
  beginCall(): void {
    this.#present = null;
    this.#isInCall = true;
  }

  /** Whether the present call parked its request. */
  get isPresentParked(): boolean {
    return this.#present !== null;
  }

  /** The call is over. What is answered now waits for nothing, though it may have been parked before it failed. */
  endCall(isPending: boolean): void {
    this.#isInCall = false;
    if (!isPending && this.#present !== null) this.#all.delete(this.#present);
  }

  /** Remembers the present call's request. */
  park(request: RequestContext): ParkedRequest {
    if (this.#present !== null) return this.#present;
    const { channel, slot } = request;
    const parked: ParkedRequest = {
      channel,
      slot,
      ticket: channel.ticket(slot),
      hi: request.hi,
      lo: request.lo,
      opcode: request.opcode,
      uniqueLo: request.uniqueLo,
      uniqueHi: request.uniqueHi,
      startedMs: request.startedMs,
      sinceSeconds: Math.floor(Date.now() / 1000),
      reading: false,
    };
    this.#present = parked;
    this.#all.add(parked);
    return parked;
  }

  /** Parks the present call's request; what is returned ends its wait when first called. */
  later(request: RequestContext): Resume {
    const parked = this.park(request);
    let isCalled = false;
    return (result, bytes) => {
      if (isCalled) return;
      isCalled = true;
      const resume = () => {
        if (result < 0) this.answer(parked, result, 0);
        else this.repeat(parked, bytes ?? null);
      };
      // Within a call the request being served would be lost, and this one answered twice.
      if (this.#isInCall) queueMicrotask(resume);
      else resume();
    };
  }

  /** Ends the wait with an answer: -errno, or LARGE with `large` bytes that lie behind the header. */
  answer(parked: ParkedRequest, result: number, large: number): void {
    if (!this.#release(parked)) return;
    this.#resumer.answer(parked, result, large);
    parked.channel.flush();
  }

  /** Ends the wait by serving the request once more, with `supplied` where given. */
  repeat(parked: ParkedRequest, supplied: Uint8Array | null): void {
    if (!this.#release(parked)) return;
    this.#resumer.repeat(parked, supplied);
    parked.channel.flush();
  }

  /** Takes a request off the list; false when nobody is there to be answered. */
  #release(parked: ParkedRequest): boolean {
    // Not there: its channel was abandoned, or it was answered without its data.
    return this.#all.delete(parked) && parked.channel.alive(parked.slot, parked.ticket);
  }
}
