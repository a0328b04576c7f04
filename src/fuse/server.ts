import { performance } from 'node:perf_hooks';
import { Errno } from '../lib/errno.ts';
import { InHeader, Opcode, OutHeader } from '../wire/fuse.ts';
import type { Channel } from './channel.ts';
import { Counters } from './counters.ts';
import { DirentBuffer } from './dirent.ts';
import { type FileSystem, PENDING } from './filesystem.ts';
import { type Operation, operations } from './operations.ts';
import { ReadPlan } from './read.ts';
import { LARGE, NO_REPLY, RequestContext } from './request.ts';
import { FuseSession } from './session.ts';

export interface FuseServerOptions {
  /** Answer OPEN with ENOSYS when the client understands it: two round trips less per open file. Default true. */
  readonly noOpen?: boolean;
  /** Told of every handler that threw: an error of ours. */
  readonly onInternalError?: (error: unknown, operation: string) => void;
}

/** A request that waits for data. */
interface Parked {
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

/** A row of `metrics/inflight`. */
export interface InflightRequest {
  readonly inode: number;
  readonly opcode: number;
  readonly unique: number;
  readonly timestamp_secs: number;
}

const TWO_32 = 0x1_0000_0000;
const WORDS = 4;

/** Operations that are never answered, not even when they are malformed. */
function isSilent(opcode: number): boolean {
  return opcode === Opcode.FORGET || opcode === Opcode.BATCH_FORGET || opcode === Opcode.INTERRUPT;
}

/**
 * A FUSE server for one thread: turns the bytes of a slot's request into one call of a FileSystem, and the result into the
 * slot's reply. It serves the slots of any channel, one request at a time; only READs whose data is missing wait, without holding up others.
 */
export class FuseServer extends RequestContext {
  readonly fs: FileSystem;
  readonly dirents: DirentBuffer = new DirentBuffer();
  readonly session: FuseSession = new FuseSession();
  readonly counters: Counters = new Counters();
  /** Handlers that threw, and requests whose header or arguments broke a rule. */
  internalErrors = 0;
  malformed = 0;
  readonly #allowNoOpen: boolean;
  readonly #onInternalError: (error: unknown, operation: string) => void;
  readonly #plan: ReadPlan;
  readonly #parked = new Set<Parked>();
  #channel!: Channel;
  #slot = 0;
  #at = 0;
  #startedMs = 0;
  /** The clock (performance.now) when the last request was answered or a batch began. */
  nowMs: number = performance.now();
  #waits: Parked | null = null;
  #inCall = false;

  constructor(fs: FileSystem, options: FuseServerOptions = {}) {
    super();
    this.fs = fs;
    this.#allowNoOpen = options.noOpen ?? true;
    this.#onInternalError = options.onInternalError ?? (() => {});
    this.#plan = new ReadPlan(() => this.#later());
  }

  /** The connection ended or the device was reset. Requests that wait are answered to nobody (their tickets are void). */
  resetSession(): void {
    this.session.reset();
    this.noOpen = false;
  }

  /** The channel is about to go: forgets its requests that wait, some of which nobody would resume any more. */
  abandon(channel: Channel): void {
    for (const parked of this.#parked) if (parked.channel === channel) this.#parked.delete(parked);
  }

  /** Whether a request about a node of this serial (high word of nodeids) waits. */
  hasParkedFor(serial: number): boolean {
    for (const parked of this.#parked) if (parked.hi === serial) return true;
    return false;
  }

  /** Requests of the channel that are not answered yet. */
  parkedOn(channel: Channel): number {
    let count = 0;
    for (const parked of this.#parked) if (parked.channel === channel) count++;
    return count;
  }

  /**
   * Ends the wait of the channel's requests, those aside that a pool thread reads for: they are answered with `errno` (negative), or by
   * nothing if it is 0. Returns how many were answered.
   */
  endWaiting(channel: Channel, errno: number): number {
    let answered = 0;
    for (const parked of this.#parked) {
      if (parked.channel !== channel || parked.reading) continue;
      if (errno === 0) {
        this.#parked.delete(parked);
      } else {
        answered++;
        this.#resume(parked, () => this.#answer(parked, errno, 0));
      }
    }
    return answered;
  }

  /** Whether any request waits for data. */
  get hasParked(): boolean {
    return this.#parked.size > 0;
  }

  /** Requests that wait for data. */
  inflight(): InflightRequest[] {
    return Array.from(this.#parked, (p) => ({
      inode: p.hi * TWO_32 + p.lo,
      opcode: p.opcode,
      unique: p.uniqueHi * TWO_32 + p.uniqueLo,
      timestamp_secs: p.sinceSeconds,
    }));
  }

  /** A batch of requests was taken: their latencies begin. */
  begin(): void {
    this.nowMs = performance.now();
  }

  /**
   * Serves the request in `slot`. The slot is completed when this returns, or later when its data has come. Its latency counts from
   * the end of the request before it, or from `begin`: one look at the clock each.
   */
  serve(channel: Channel, slot: number): void {
    this.#startedMs = this.nowMs;
    this.#dispatch(channel, slot, null);
  }

  #dispatch(channel: Channel, slot: number, supplied: Uint8Array | null): void {
    if (!this.#accept(channel, slot)) return;
    const row = operations[this.opcode];
    const result = this.#check(row) ?? this.#call(row!, supplied);
    this.#finish(result);
  }

  /** Reads the header. A request that is too short for one gets no answer: nobody knows whose it is. */
  #accept(channel: Channel, slot: number): boolean {
    this.#channel = channel;
    this.#slot = slot;
    this.#waits = null;
    this.requests = channel.requests;
    this.requestBytes = channel.requestBytes;
    this.replies = channel.replies;
    const at = channel.requestAt(slot);
    const copied = channel.requestCopied(slot);
    this.#at = at;
    if (copied < InHeader.size) {
      this.malformed++;
      channel.complete(slot, 0, 0);
      return false;
    }
    const { requests } = this;
    const length = requests.getUint32(at + InHeader.len, true);
    this.opcode = requests.getUint32(at + InHeader.opcode, true);
    this.lo = requests.getUint32(at + InHeader.nodeid, true);
    this.hi = requests.getUint32(at + InHeader.nodeid + 4, true);
    this.args = at + InHeader.size;
    this.end = at + Math.min(length, copied);
    this.out = channel.replyAt(slot) + OutHeader.size;
    this.capacity = channel.replyCapacity(slot);
    this.room = Math.max(0, this.capacity - OutHeader.size);
    if (length < InHeader.size || length > channel.requestTotal(slot)) {
      this.malformed++;
      this.#finish(-Errno.EINVAL);
      return false;
    }
    return true;
  }

  #check(row: Operation | undefined): number | null {
    if (row === undefined) return -Errno.ENOSYS;
    if (this.end - this.args < row.inBytes) {
      this.malformed++;
      return -Errno.EINVAL;
    }
    return null;
  }

  #call(row: Operation, supplied: Uint8Array | null): number {
    let result: number;
    this.#inCall = true;
    try {
      this.#plan.supplied = supplied;
      result = row.handle(this);
      if (result === PENDING && this.#waits === null) throw new Error('PENDING, but nothing was parked');
    } catch (error) {
      this.internalErrors++;
      this.#onInternalError(error, row.name);
      result = -Errno.EIO;
    }
    this.#inCall = false;
    // What is answered now waits for nothing, though it may have been parked before it failed.
    if (result !== PENDING && this.#waits !== null) this.#parked.delete(this.#waits);
    return result;
  }

  #finish(result: number): void {
    if (result === PENDING) return;
    if (result === NO_REPLY || isSilent(this.opcode)) {
      this.#channel.complete(this.#slot, 0, 0);
      this.#count(0);
      return;
    }
    if (result === LARGE) {
      this.#reply(0, OutHeader.size, OutHeader.size + this.large);
      this.#count(this.large);
    } else if (result < 0) {
      this.#reply(result, OutHeader.size, OutHeader.size);
      this.#count(result);
    } else if (result > this.room) {
      this.#reply(-Errno.EIO, OutHeader.size, OutHeader.size);
      this.#count(-Errno.EIO);
    } else {
      this.#reply(0, OutHeader.size + result, OutHeader.size + result);
      this.#count(result);
    }
  }

  /** Writes the out header and completes. A client that left no room for a header gets nothing. */
  #reply(error: number, inline: number, total: number): void {
    const { replies, requests } = this;
    if (this.capacity < OutHeader.size) {
      this.#channel.complete(this.#slot, 0, 0);
      return;
    }
    const at = this.out - OutHeader.size;
    const unique = this.#at + InHeader.unique;
    replies.setUint32(at + OutHeader.len, total, true);
    replies.setInt32(at + OutHeader.error, error, true);
    replies.setUint32(at + OutHeader.unique, requests.getUint32(unique, true), true);
    replies.setUint32(at + OutHeader.unique + 4, requests.getUint32(unique + 4, true), true);
    this.#channel.complete(this.#slot, inline, total);
  }

  #count(result: number): void {
    // Whole microseconds: a fraction would be an allocation where the call is not inlined. A wait of more than 35 minutes wraps.
    this.nowMs = performance.now();
    const latencyUs = ((this.nowMs - this.#startedMs) * 1000) & 0x7fffffff;
    this.counters.count(this.hi, this.lo, this.opcode, result, latencyUs);
  }

  sendLarge(bytes: Uint8Array, length: number): number {
    if (length > this.room) return -Errno.ERANGE;
    if (length > 0) {
      const written = this.#channel.writeBytes(this.#slot, OutHeader.size, bytes, 0, length);
      if (written !== length) return -Errno.EIO;
    }
    this.large = length;
    return LARGE;
  }

  read(offset: number, size: number): number {
    const plan = this.#plan;
    plan.begin(this.#channel, this.#slot, size, plan.supplied);
    const result = this.fs.read(this.hi, this.lo, offset, size, plan);
    if (result < 0) return result;
    const left = plan.move();
    this.large = plan.planned;
    if (left < 0) return -Errno.EIO;
    if (left === 0) return LARGE;
    this.#readRest(this.#park(), plan.rest(), 0, plan.planned);
    return PENDING;
  }

  init(): number {
    const { requests, replies } = this;
    const size = this.end - this.args;
    const length = this.session.init(requests, this.args, size, replies, this.out, this.#allowNoOpen);
    this.noOpen = this.session.noOpen;
    return length;
  }

  destroy(): void {
    this.resetSession();
  }

  /** Remembers the present request. Its slot, with the request in it, stays ours until it is completed. */
  #park(): Parked {
    if (this.#waits !== null) return this.#waits;
    const unique = this.#at + InHeader.unique;
    const parked: Parked = {
      channel: this.#channel,
      slot: this.#slot,
      ticket: this.#channel.ticket(this.#slot),
      hi: this.hi,
      lo: this.lo,
      opcode: this.opcode,
      uniqueLo: this.requests.getUint32(unique, true),
      uniqueHi: this.requests.getUint32(unique + 4, true),
      startedMs: this.#startedMs,
      sinceSeconds: Math.floor(Date.now() / 1000),
      reading: false,
    };
    this.#waits = parked;
    this.#parked.add(parked);
    return parked;
  }

  #later(): (result: number, bytes?: Uint8Array) => void {
    const parked = this.#park();
    let called = false;
    return (result, bytes) => {
      if (called) return;
      called = true;
      const resume = () =>
        this.#resume(parked, (): void => {
          if (result < 0) this.#answer(parked, result, 0);
          else this.#dispatch(parked.channel, parked.slot, bytes ?? null);
        });
      // Within a call the request being served would be lost, and this one answered twice.
      if (this.#inCall) queueMicrotask(resume);
      else resume();
    };
  }

  /** Does `work` for a parked request that still has somebody to answer. */
  #resume(parked: Parked, work: () => void): void {
    // Not there: its channel was abandoned, or it was answered without its data.
    if (!this.#parked.delete(parked)) return;
    if (!parked.channel.alive(parked.slot, parked.ticket)) return;
    this.#startedMs = parked.startedMs;
    work();
    parked.channel.flush();
  }

  #answer(parked: Parked, result: number, large: number): void {
    if (!this.#accept(parked.channel, parked.slot)) return;
    this.large = large;
    this.#finish(result);
  }

  /** Reads extents on a pool thread, one after the other, then answers. */
  #readRest(parked: Parked, extents: Float64Array, from: number, total: number): void {
    const row = extents.subarray(from * WORDS);
    const { channel, slot } = parked;
    parked.reading = true;
    channel.readFileBlocking(slot, OutHeader.size + row[3]!, row[0]!, row[1]!, row[2]!, (result) => {
      const isLast = row.length === WORDS;
      // A file that ends before its bitmap says, or fails: the request cannot be answered with less.
      if (result <= 0) {
        this.#resume(parked, () => this.#answer(parked, -Errno.EIO, 0));
      } else if (result < row[2]!) {
        row[1]! += result;
        row[2]! -= result;
        row[3]! += result;
        this.#readRest(parked, extents, from, total);
      } else if (isLast) {
        this.#resume(parked, () => this.#answer(parked, LARGE, total));
      } else {
        this.#readRest(parked, extents, from + 1, total);
      }
    });
  }
}
