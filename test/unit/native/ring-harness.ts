/** The smallest driver of one ring: everything in guest memory is written by hand, so that it can be wrong. */

import { addon } from '../../../src/native/index.ts';
import { REPLY_BYTES, REQUEST_BYTES, STATE_WORDS, State } from '../../../src/native/ring.ts';
import { eventfd, socketPair } from '../../support/descriptors.ts';

export const GPA: bigint = 0x10_0000n;
export const UVA: bigint = 0x7f00_0000_0000n;
export const INDIRECT: number = 1 << 28;
export const EVENT_IDX: number = 1 << 29;
export const NEXT = 1;
export const WRITE = 2;
export const TABLE = 4;
export const Errno = {
  EFAULT: -14,
  EBUSY: -16,
  ENODEV: -19,
  EINVAL: -22,
  ERANGE: -34,
  EPROTO: -71,
  EAGAIN: -11,
};

export interface HarnessOptions {
  readonly num?: number;
  readonly features?: number;
  readonly slots?: number;
  readonly size?: number;
}

const DESC_AT = 0x1000;
const AVAIL_AT = 0x9000;
const USED_AT = 0xb000;
/** Buffers of tests begin here. */
export const DATA_AT = 0x1_0000;

export class Harness {
  readonly num: number;
  readonly slots: number;
  readonly size: number;
  readonly memfd: number;
  readonly buffer: ArrayBuffer;
  readonly view: DataView;
  readonly bytes: Uint8Array;
  readonly device: number;
  readonly requests: ArrayBuffer;
  readonly replies: ArrayBuffer;
  readonly state: Int32Array;
  readonly popped: Int32Array;
  readonly call: number;
  readonly kick: number;
  readonly err: number;
  kicks = 0;
  ring = -1;
  avail = 0;

  constructor({ num = 8, features = INDIRECT, slots = 16, size = 1 << 20 }: HarnessOptions = {}) {
    this.num = num;
    this.slots = slots;
    this.size = size;
    this.memfd = addon.memfdCreate('ring test', size);
    this.buffer = addon.map(this.memfd, 0, size, true) as ArrayBuffer;
    this.view = new DataView(this.buffer);
    this.bytes = new Uint8Array(this.buffer);
    this.device = addon.deviceCreate(2);
    addon.deviceSetFeatures(this.device, features, 1);
    this.must(addon.memorySet(this.device, this.region(), new Int32Array([this.memfd])));
    this.requests = new ArrayBuffer(slots * REQUEST_BYTES);
    this.replies = new ArrayBuffer(slots * REPLY_BYTES);
    this.state = new Int32Array(slots * STATE_WORDS);
    this.popped = new Int32Array(slots);
    [this.call, this.kick, this.err] = [eventfd(), eventfd(), eventfd()];
    this.configure();
  }

  /** Guest memory as one region. */
  region(gpa: bigint = GPA, uva: bigint = UVA): BigUint64Array {
    return new BigUint64Array([gpa, BigInt(this.size), uva, 0n]);
  }

  /** The device takes its descriptors: it gets copies, made by passing them through a socket. */
  #copy(fd: number): number {
    const pair = new Int32Array(2);
    socketPair(pair);
    addon.sendMsg(pair[0]!, new Uint8Array(1), 1, new Int32Array([fd]));
    const fds = new Int32Array(2);
    addon.recvMsg(pair[1]!, new Uint8Array(1), 0, 1, fds);
    addon.closeFd(pair[0]!);
    addon.closeFd(pair[1]!);
    return fds[1]!;
  }

  configure(base = 0): void {
    const at = (offset: number) => UVA + BigInt(offset);
    this.must(addon.ringSetNum(this.device, 0, this.num));
    this.must(addon.ringSetAddr(this.device, 0, at(DESC_AT), at(USED_AT), at(AVAIL_AT)));
    this.must(addon.ringSetBase(this.device, 0, base));
    this.must(addon.ringSetKick(this.device, 0, this.#copy(this.kick)));
    this.must(addon.ringSetCall(this.device, 0, this.#copy(this.call)));
    this.must(addon.ringSetErr(this.device, 0, this.#copy(this.err)));
  }

  must(result: number): number {
    if (result < 0) throw new Error(`errno ${-result}`);
    return result;
  }

  tryAttach(): number {
    const onKick = () => {
      this.kicks++;
    };
    return addon.ringAttach(this.device, 0, this.requests, this.replies, this.state, this.slots, onKick);
  }

  attach(): this {
    this.ring = this.must(this.tryAttach());
    return this;
  }

  desc(index: number, addr: bigint, length: number, flags: number, next = 0, table: number = DESC_AT): void {
    const at = table + 16 * index;
    this.view.setBigUint64(at, addr, true);
    this.view.setUint32(at + 8, length, true);
    this.view.setUint16(at + 12, flags, true);
    this.view.setUint16(at + 14, next, true);
  }

  gpa(offset: number): bigint {
    return GPA + BigInt(offset);
  }

  offer(head: number): void {
    this.view.setUint16(AVAIL_AT + 4 + 2 * (this.avail % this.num), head, true);
    this.avail = (this.avail + 1) & 0xffff;
    this.setAvail(this.avail);
  }

  setAvail(index: number): void {
    this.view.setUint16(AVAIL_AT + 2, index, true);
  }

  set availFlags(flags: number) {
    this.view.setUint16(AVAIL_AT, flags, true);
  }

  set usedEvent(index: number) {
    this.view.setUint16(AVAIL_AT + 4 + 2 * this.num, index, true);
  }

  get availEvent(): number {
    return this.view.getUint16(USED_AT + 4 + 8 * this.num, true);
  }

  get usedIndex(): number {
    return this.view.getUint16(USED_AT + 2, true);
  }

  set usedIndex(index: number) {
    this.view.setUint16(USED_AT + 2, index, true);
  }

  used(position: number): { id: number; length: number } {
    const at = USED_AT + 4 + 8 * (position % this.num);
    return { id: this.view.getUint32(at, true), length: this.view.getUint32(at + 4, true) };
  }

  pop(max: number = this.slots): number {
    return addon.ringPop(this.ring, this.popped, max, 0);
  }

  request(slot: number): Uint8Array {
    const copied = this.state[slot * STATE_WORDS + State.copied]!;
    return new Uint8Array(this.requests, slot * REQUEST_BYTES, copied);
  }

  word(slot: number, word: number): number {
    return this.state[slot * STATE_WORDS + word]!;
  }

  /** Answers with `reply` from the slot and `total` bytes in all. */
  complete(slot: number, reply: Uint8Array, total: number = reply.length): void {
    new Uint8Array(this.replies, slot * REPLY_BYTES, REPLY_BYTES).set(reply);
    this.state[slot * STATE_WORDS + State.inline] = reply.length;
    this.state[slot * STATE_WORDS + State.total] = total;
  }

  flush(...slots: number[]): number {
    return addon.ringFlush(this.ring, new Int32Array(slots), slots.length, true);
  }

  /** Publishes without telling the driver. */
  publish(...slots: number[]): number {
    return addon.ringFlush(this.ring, new Int32Array(slots), slots.length, false);
  }

  /** Popped, completed, malformed, notified, kicks. */
  stats(): number[] {
    const out = new Float64Array(5);
    addon.ringStats(this.ring, out);
    return [...out];
  }

  close(): void {
    if (this.ring >= 0) addon.ringDetach(this.ring);
    addon.deviceDestroy(this.device);
    addon.unmap(this.buffer);
    for (const fd of [this.memfd, this.call, this.kick, this.err]) addon.closeFd(fd);
  }
}
