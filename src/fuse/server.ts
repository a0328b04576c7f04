import { performance } from 'node:perf_hooks';
import { Errno } from '../lib/errno.ts';
import { Opcode, OutHeader } from '../wire/fuse.ts';
import type { Channel } from './channel.ts';
import { Counters } from './counters.ts';
import { type FileSystem, PENDING } from './filesystem.ts';
import { type Operation, operations } from './operations.ts';
import { type ParkedRequest, ParkedRequests } from './parked.ts';
import { ReadPlan } from './read.ts';
import { LARGE, NO_REPLY, RequestContext } from './request.ts';
import { FuseSession } from './session.ts';

/** How a server differs from the default. */
export interface FuseServerOptions {
  /** Answer OPEN with ENOSYS when the client understands it: two round trips less per open file. Default true. */
  readonly noOpen?: boolean;
  /** Told of every handler that threw: an error of ours. */
  readonly onInternalError?: (error: unknown, operation: string) => void;
}

/** Operations that are never answered, not even when they are malformed. */
function isSilent(opcode: number): boolean {
  return opcode === Opcode.FORGET || opcode === Opcode.BATCH_FORGET || opcode === Opcode.INTERRUPT;
}

/**
 * A FUSE server for one thread: turns the bytes of a slot's request into one call of a FileSystem, and the result into
 * the slot's reply. It serves the slots of any channel, one request at a time; only READs whose data is missing wait,
 * without holding up others.
 */
export class FuseServer {
  readonly fs: FileSystem;
  readonly session: FuseSession;
  readonly parked: ParkedRequests;
  readonly reads: ReadPlan;
  readonly counters: Counters = new Counters();
  /** Handlers that threw, and requests whose header or arguments broke a rule. */
  internalErrors = 0;
  malformed = 0;
  /** The clock (performance.now) when the last request was answered or a batch began. */
  nowMs: number = performance.now();
  readonly #onInternalError: (error: unknown, operation: string) => void;
  readonly #request = new RequestContext();

  constructor(fs: FileSystem, options: FuseServerOptions = {}) {
    this.fs = fs;
    this.session = new FuseSession(options.noOpen ?? true);
    this.#onInternalError = options.onInternalError ?? (() => {});
    this.parked = new ParkedRequests({
      repeat: (parked, supplied) => this.#repeat(parked, supplied),
      answer: (parked, result, large) => this.#answer(parked, result, large),
    });
    this.reads = new ReadPlan(this.parked);
  }

  /** A batch of requests was taken: their latencies begin. */
  begin(): void {
    this.nowMs = performance.now();
  }

  /**
   * Serves the request in `slot`. The slot is completed when this returns, or later when its data has come. Its latency
   * counts from the end of the request before it, or from `begin`: one look at the clock each.
   */
  serve(channel: Channel, slot: number): void {
    const request = this.#request;
    request.startedMs = this.nowMs;
    request.supplied = null;
    this.#dispatch(request, channel, slot);
  }

  #repeat(parked: ParkedRequest, supplied: Uint8Array | null): void {
    const request = this.#request;
    request.startedMs = parked.startedMs;
    request.supplied = supplied;
    this.#dispatch(request, parked.channel, parked.slot);
  }

  #answer(parked: ParkedRequest, result: number, large: number): void {
    const request = this.#request;
    request.startedMs = parked.startedMs;
    // Its header was found sound when it came, and slots are out of the guest's reach.
    request.take(parked.channel, parked.slot);
    request.large = large;
    this.#finish(request, result);
  }

  #dispatch(request: RequestContext, channel: Channel, slot: number): void {
    if (!request.take(channel, slot)) {
      // Nobody knows whose it is: no answer.
      this.malformed++;
      request.replyNothing();
      return;
    }
    if (!request.hasSoundLength) {
      this.malformed++;
      this.#finish(request, -Errno.EINVAL);
      return;
    }
    const row = operations[request.opcode];
    const result = this.#checkArguments(request, row) ?? this.#call(request, row!);
    if (result !== PENDING) this.#finish(request, result);
  }

  #checkArguments(request: RequestContext, row: Operation | undefined): number | null {
    if (row === undefined) return -Errno.ENOSYS;
    if (request.end - request.args < row.inBytes) {
      this.malformed++;
      return -Errno.EINVAL;
    }
    return null;
  }

  #call(request: RequestContext, row: Operation): number {
    const { parked } = this;
    let result: number;
    parked.beginCall();
    try {
      result = row.handle(request, this);
      if (result === PENDING && !parked.isPresentParked) throw new Error('PENDING, but nothing was parked');
    } catch (error) {
      this.internalErrors++;
      this.#onInternalError(error, row.name);
      result = -Errno.EIO;
    }
    parked.endCall(result === PENDING);
    return result;
  }

  #finish(request: RequestContext, result: number): void {
    if (result === NO_REPLY || isSilent(request.opcode)) {
      request.replyNothing();
      this.#count(request, 0);
    } else if (result === LARGE) {
      request.reply(0, OutHeader.size, OutHeader.size + request.large);
      this.#count(request, request.large);
    } else if (result < 0) {
      request.reply(result, OutHeader.size, OutHeader.size);
      this.#count(request, result);
    } else if (result > request.room) {
      request.reply(-Errno.EIO, OutHeader.size, OutHeader.size);
      this.#count(request, -Errno.EIO);
    } else {
      request.reply(0, OutHeader.size + result, OutHeader.size + result);
      this.#count(request, result);
    }
  }

  #count(request: RequestContext, result: number): void {
    // Whole microseconds: a fraction would be an allocation where the call is not inlined. A wait of more than 35
    // minutes wraps.
    this.nowMs = performance.now();
    const latencyUs = ((this.nowMs - request.startedMs) * 1000) & 0x7fffffff;
    this.counters.count(request.hi, request.lo, request.opcode, result, latencyUs);
  }
}
