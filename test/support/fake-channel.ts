import type { Channel } from '../../src/fuse/channel.ts';
import { REPLY_BYTES, REQUEST_BYTES } from '../../src/native/ring.ts';

const EAGAIN = 11;
const EBADF = 9;
const OUT_HEADER = 16;

/** A read that was handed to the pool and has not been answered. */
export interface PoolRead {
  readonly slot: number;
  readonly skip: number;
  readonly fd: number;
  readonly fileOffset: number;
  readonly length: number;
  /** Reads the file now and tells the server; or tells it `result` instead. */
  readonly run: (result?: number) => void;
}

/** What the requester got: `bytes` has used.len bytes; null = no reply. */
export interface FakeReply {
  readonly total: number;
  readonly error: number;
  readonly unique: bigint;
  readonly body: Buffer;
}

/**
 * A transport in memory which checks what every server owes its transport: a slot is completed once, a reply fits,
 * out_header.len is the reply's length, and each of its bytes was written.
 */
export class FakeChannel implements Channel {
  readonly requests: DataView;
  readonly requestBytes: Uint8Array;
  readonly replies: DataView;
  readonly replyBytes: Uint8Array;
  /** Files by descriptor, and how many of their first bytes the page cache holds (all, unless set). */
  readonly files: Map<number, Uint8Array> = new Map();
  readonly cached: Map<number, number> = new Map();
  /** Reads in the order asked for: `fd@offset+length`. */
  readonly reads: string[] = [];
  readonly pool: PoolRead[] = [];
  flushes = 0;
  dead = false;
  readonly #copied: number[] = [];
  readonly #total: number[] = [];
  readonly #capacity: number[] = [];
  readonly #tickets: number[];
  readonly #scattered: Buffer[] = [];
  readonly #written: Uint8Array[] = [];
  readonly #replies: Map<number, FakeReply | null> = new Map();
  readonly #pending: Set<number> = new Set();

  constructor(slots = 8) {
    // What another request left behind is never zeros.
    this.requestBytes = new Uint8Array(slots * REQUEST_BYTES).fill(0xaa);
    this.requests = new DataView(this.requestBytes.buffer);
    this.replyBytes = new Uint8Array(slots * REPLY_BYTES).fill(0xbb);
    this.replies = new DataView(this.replyBytes.buffer);
    this.#tickets = new Array(slots).fill(0);
  }

  /**
   * Puts a request into `slot`, with `writable` bytes for its reply. `total` is its length where not all of it was
   * copied.
   */
  submit(slot: number, request: Uint8Array, writable: number, total: number = request.length): void {
    if (this.isTaken(slot)) throw new Error(`slot ${slot} given away while its request waits`);
    const copied = request.subarray(0, REQUEST_BYTES);
    this.requestBytes.fill(0xaa, slot * REQUEST_BYTES, (slot + 1) * REQUEST_BYTES);
    this.requestBytes.set(copied, slot * REQUEST_BYTES);
    this.#copied[slot] = copied.length;
    this.#total[slot] = total;
    this.#capacity[slot] = writable;
    this.#scattered[slot] = Buffer.alloc(writable);
    this.#written[slot] = new Uint8Array(writable);
    this.#replies.delete(slot);
    this.#pending.add(slot);
  }

  /** Whether the slot's request has not been answered. */
  isTaken(slot: number): boolean {
    return this.#pending.has(slot);
  }

  /** The slot's reply; undefined while it waits. */
  reply(slot: number): FakeReply | null | undefined {
    return this.#replies.get(slot);
  }

  /** The connection went: every ticket is void. */
  detach(): void {
    this.dead = true;
  }

  requestAt(slot: number): number {
    return slot * REQUEST_BYTES;
  }

  requestCopied(slot: number): number {
    return this.#copied[slot]!;
  }

  requestTotal(slot: number): number {
    return this.#total[slot]!;
  }

  replyAt(slot: number): number {
    return slot * REPLY_BYTES;
  }

  replyCapacity(slot: number): number {
    return this.#capacity[slot]!;
  }

  complete(slot: number, inline: number, total: number): void {
    if (!this.#pending.delete(slot)) throw new Error(`slot ${slot} completed, but nobody waits for it`);
    this.#tickets[slot]!++;
    this.#replies.set(slot, total === 0 ? null : this.#collect(slot, inline, total));
  }

  #collect(slot: number, inline: number, total: number): FakeReply {
    const capacity = this.#capacity[slot]!;
    if (inline > REPLY_BYTES || inline > total) throw new Error(`${inline} of ${total} bytes inline`);
    if (total > capacity) throw new Error(`a reply of ${total} bytes into ${capacity}`);
    const bytes = this.#scattered[slot]!;
    const start = slot * REPLY_BYTES;
    bytes.set(this.replyBytes.subarray(start, start + inline));
    this.#written[slot]!.fill(1, 0, inline);
    const unwritten = this.#written[slot]!.subarray(0, total).indexOf(0);
    if (unwritten >= 0) throw new Error(`byte ${unwritten} of a reply of ${total} was not written`);
    if (bytes.readUInt32LE(0) !== total)
      throw new Error(`out_header.len ${bytes.readUInt32LE(0)}, not ${total}`);
    return {
      total,
      error: bytes.readInt32LE(4),
      unique: bytes.readBigUInt64LE(8),
      body: Buffer.from(bytes.subarray(OUT_HEADER, total)),
    };
  }

  readFile(slot: number, skip: number, fd: number, fileOffset: number, length: number): number {
    this.reads.push(`${fd}@${fileOffset}+${length}`);
    const file = this.files.get(fd);
    if (file === undefined) return -EBADF;
    const end = Math.min(this.cached.get(fd) ?? file.length, fileOffset + length);
    if (end <= fileOffset && fileOffset < file.length) return -EAGAIN;
    return this.writeBytes(slot, skip, file, fileOffset, Math.max(0, end - fileOffset));
  }

  readFileBlocking(
    slot: number,
    skip: number,
    fd: number,
    fileOffset: number,
    length: number,
    done: (result: number) => void,
  ): void {
    const read = (): number => {
      const file = this.files.get(fd);
      if (file === undefined) return -EBADF;
      const n = Math.max(0, Math.min(file.length - fileOffset, length));
      return this.writeBytes(slot, skip, file, fileOffset, n);
    };
    // As the addon: once the ring is detached nobody is told.
    const run = (result?: number): void => {
      if (!this.dead) done(result ?? read());
    };
    this.pool.push({ slot, skip, fd, fileOffset, length, run });
  }

  writeBytes(slot: number, skip: number, bytes: Uint8Array, start: number, length: number): number {
    if (start < 0 || length < 0 || start + length > bytes.length)
      throw new Error('write from outside its bytes');
    const n = Math.max(0, Math.min(length, this.#capacity[slot]! - skip));
    this.#scattered[slot]!.set(bytes.subarray(start, start + n), skip);
    this.#written[slot]!.fill(1, skip, skip + n);
    return n;
  }

  alive(slot: number, ticket: number): boolean {
    return !this.dead && this.#tickets[slot] === ticket;
  }

  ticket(slot: number): number {
    return this.#tickets[slot]!;
  }

  flush(): void {
    this.flushes++;
  }
}

/** Header fields of a request; what is left out is right. */
export interface RequestHeader {
  readonly opcode: number;
  readonly hi?: number;
  readonly lo?: number;
  readonly unique?: bigint;
  readonly len?: number;
}

const IN_HEADER = 40;

/** struct fuse_in_header and what follows it. */
export function fuseRequest(header: RequestHeader, body: Uint8Array = new Uint8Array()): Buffer {
  const bytes = Buffer.alloc(IN_HEADER + body.length);
  bytes.writeUInt32LE(header.len ?? bytes.length, 0);
  bytes.writeUInt32LE(header.opcode, 4);
  bytes.writeBigUInt64LE(header.unique ?? 7n, 8);
  bytes.writeUInt32LE(header.lo ?? 1, 16);
  bytes.writeUInt32LE(header.hi ?? 0, 20);
  bytes.set(body, IN_HEADER);
  return bytes;
}
