/** A guest's side of split virtqueues: memory that is shared with a back-end, and a driver that may also misbehave. */

import type { Addon } from '../../src/native/addon.ts';
import type { MemoryRegion, VringAddr } from '../../src/wire/vhost-user.ts';
import { Avail, Descriptor, Used, VirtioFeature } from '../../src/wire/virtio.ts';
import { eventfd, eventfdRead, eventfdWrite } from './descriptors.ts';
import { availBytes, DescriptorFlag, descriptorTableBytes, usedBytes } from './split-ring.ts';

/** A byte range of guest memory that can be given back. Offsets are into the memory file. */
class Arena {
  readonly #free: { at: number; size: number }[];

  constructor(at: number, size: number) {
    this.#free = [{ at, size }];
  }

  allocate(bytes: number): number {
    const size = Math.max(16, (bytes + 15) & ~15);
    const hole = this.#free.find((piece) => piece.size >= size);
    if (hole === undefined) throw new Error(`guest memory exhausted: ${bytes} bytes`);
    const { at } = hole;
    hole.at += size;
    hole.size -= size;
    if (hole.size === 0) this.#free.splice(this.#free.indexOf(hole), 1);
    return at;
  }

  free(at: number, bytes: number): void {
    const size = Math.max(16, (bytes + 15) & ~15);
    let i = this.#free.findIndex((piece) => piece.at > at);
    if (i < 0) i = this.#free.length;
    this.#free.splice(i, 0, { at, size });
    for (let k = Math.max(1, i); k <= i + 1 && k < this.#free.length; ) {
      const before = this.#free[k - 1]!;
      const here = this.#free[k]!;
      if (before.at + before.size !== here.at) {
        k++;
        continue;
      }
      before.size += here.size;
      this.#free.splice(k, 1);
    }
  }
}

const PAGE = 4096;
/** Where the front-end pretends to have guest memory mapped. */
const USER_BASE = 0x7f00_0000_0000n;

/** Guest memory in a memfd: two regions with a hole between them, as around the VGA window of a PC. */
export class GuestMemory {
  readonly fd: number;
  readonly size: number;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly regions: readonly MemoryRegion[];
  /** Set once a front-end's sequence has handed the regions to the back-end. */
  isShared = false;
  readonly #addon: Addon;
  readonly #buffer: ArrayBuffer;
  readonly #arena: Arena;

  /** `size` bytes, a multiple of 8 KiB; the hole lies in the middle. */
  constructor(addon: Addon, size: number = 16 << 20) {
    this.#addon = addon;
    this.size = size;
    this.fd = addon.memfdCreate('guest', size);
    if (this.fd < 0) throw new Error(`memfd: errno ${-this.fd}`);
    const buffer = addon.map(this.fd, 0, size, true);
    if (typeof buffer === 'number') throw new Error(`map: errno ${-buffer}`);
    this.#buffer = buffer;
    this.bytes = new Uint8Array(buffer);
    this.view = new DataView(buffer);
    const half = BigInt(size / 2);
    this.regions = [
      { gpa: 0n, size: half, uva: USER_BASE, mmapOffset: 0n },
      { gpa: half + 0x20000n, size: half, uva: USER_BASE + half, mmapOffset: half },
    ];
    // The first page stays unused: an address of zero is more likely a mistake.
    this.#arena = new Arena(PAGE, size - PAGE);
  }

  allocate(bytes: number): number {
    return this.#arena.allocate(bytes);
  }

  free(at: number, bytes: number): void {
    this.#arena.free(at, bytes);
  }

  /** The guest's address of an offset in the file. */
  gpa(offset: number): bigint {
    const region = this.regions[offset < this.size / 2 ? 0 : 1]!;
    return region.gpa + BigInt(offset) - region.mmapOffset;
  }

  /** The front-end's address of an offset in the file. */
  uva(offset: number): bigint {
    return USER_BASE + BigInt(offset);
  }

  close(): void {
    this.#addon.unmap(this.#buffer);
    this.#addon.closeFd(this.fd);
  }
}

/** One descriptor, as the driver would write it. */
export interface RawDescriptor {
  readonly gpa: bigint;
  readonly length: number;
  readonly flags: number;
  readonly next?: number;
}

/** How a request's bytes are laid out. */
export interface Layout {
  /** One ring slot that points to a table; needs the feature. Default: whenever negotiated. */
  readonly indirect?: boolean;
  /** Lengths of the readable and writable descriptors; what is left goes into one more. Linux: [40] and [16]. */
  readonly readable?: readonly number[];
  readonly writable?: readonly number[];
}

/** A used element. */
export interface Completion {
  readonly usedLen: number;
  /** The whole writable part, whatever `usedLen` says. */
  readonly bytes: Uint8Array;
}

interface Pending {
  complete(usedLen: number): void;
  fail(error: Error): void;
}

interface Piece {
  at: number;
  length: number;
}

function cut(total: number, lengths: readonly number[]): number[] {
  const pieces: number[] = [];
  let rest = total;
  for (const length of lengths) {
    const piece = Math.min(length, rest);
    if (piece > 0) pieces.push(piece);
    rest -= piece;
  }
  if (rest > 0) pieces.push(rest);
  return pieces;
}

/** A split ring in guest memory with the driver that fills it. */
export class DriverRing {
  readonly index: number;
  readonly num: number;
  readonly kickFd: number;
  readonly callFd: number;
  readonly memory: GuestMemory;
  readonly desc: number;
  readonly avail: number;
  readonly used: number;
  /** SET_VRING_BASE at the next start. */
  base = 0;
  /** Kick even when the device asks not to be. */
  alwaysKick = false;
  /** Interrupts that came. */
  calls = 0;
  readonly #addon: Addon;
  readonly #free: number[];
  readonly #pending = new Map<number, Pending>();
  readonly #fence = new Int32Array(new SharedArrayBuffer(4));
  #waiting: (() => void)[] = [];
  #availIdx = 0;
  #usedIdx = 0;
  #poll = -1;
  #indirect = false;
  #eventIdx = false;

  constructor(addon: Addon, memory: GuestMemory, index: number, num = 128) {
    this.#addon = addon;
    this.memory = memory;
    this.index = index;
    this.num = num;
    this.desc = memory.allocate(descriptorTableBytes(num));
    this.avail = memory.allocate(availBytes(num));
    this.used = memory.allocate(usedBytes(num));
    this.#free = Array.from({ length: num }, (_, i) => num - 1 - i);
    this.kickFd = eventfd();
    this.callFd = eventfd();
    this.#listen();
  }

  #listen(): void {
    this.#poll = this.#addon.pollStart(this.callFd, 1, () => {
      this.calls++;
      eventfdRead(this.callFd);
      this.reap();
    });
    this.reap();
  }

  get addresses(): VringAddr {
    const { memory } = this;
    return {
      index: this.index,
      flags: 0,
      desc: memory.uva(this.desc),
      used: memory.uva(this.used),
      avail: memory.uva(this.avail),
      log: 0n,
    };
  }

  /** What the driver accepted. */
  useFeatures(features: bigint): void {
    this.#indirect = (features & VirtioFeature.indirectDesc) !== 0n;
    this.#eventIdx = (features & VirtioFeature.eventIdx) !== 0n;
  }

  /** A driver that starts anew: empty rings, requests of the old one fail. */
  reset(): void {
    this.#failAll(new Error('ring was reset'));
    const { bytes } = this.memory;
    bytes.fill(0, this.desc, this.desc + descriptorTableBytes(this.num));
    bytes.fill(0, this.avail, this.avail + availBytes(this.num));
    bytes.fill(0, this.used, this.used + usedBytes(this.num));
    this.#free.splice(0, Infinity, ...Array.from({ length: this.num }, (_, i) => this.num - 1 - i));
    this.#availIdx = 0;
    this.#usedIdx = 0;
    this.base = 0;
  }

  #failAll(error: Error): void {
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    for (const request of pending) request.fail(error);
  }

  /** Sends `readable` and waits for its completion; waits for free descriptors too. */
  async request(readable: Uint8Array, writableLength: number, layout: Layout = {}): Promise<Completion> {
    const readPieces = cut(readable.length, layout.readable ?? [40]);
    const writePieces = cut(writableLength, layout.writable ?? [16]);
    const count = readPieces.length + writePieces.length;
    const indirect = (layout.indirect ?? this.#indirect) && count > 1;
    if (!indirect && count > this.num)
      throw new Error(`${count} descriptors do not fit a ring of ${this.num}`);
    while (this.#free.length < (indirect ? 1 : count)) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    const pieces = [...readPieces, ...writePieces].map((length) => this.#piece(length));
    let from = 0;
    for (const { at, length } of pieces.slice(0, readPieces.length)) {
      this.memory.bytes.set(readable.subarray(from, from + length), at);
      from += length;
    }
    const descriptors = pieces.map(({ at, length }, i) => ({
      gpa: this.memory.gpa(at),
      length,
      flags: i < readPieces.length ? 0 : DescriptorFlag.write,
    }));
    const usedLen = await (indirect ? this.#sendIndirect(descriptors) : this.sendChain(descriptors));
    const bytes = new Uint8Array(writableLength);
    let to = 0;
    for (const { at, length } of pieces.slice(readPieces.length)) {
      bytes.set(this.memory.bytes.subarray(at, at + length), to);
      to += length;
    }
    for (const { at, length } of pieces) this.memory.free(at, length);
    return { usedLen, bytes };
  }

  #piece(length: number): Piece {
    const at = this.memory.allocate(length);
    this.memory.bytes.fill(0, at, at + length);
    return { at, length };
  }

  /** Writes an indirect table and sends it. */
  async #sendIndirect(descriptors: readonly RawDescriptor[]): Promise<number> {
    const size = descriptorTableBytes(descriptors.length);
    const table = this.memory.allocate(size);
    descriptors.forEach((descriptor, i) => {
      const last = i === descriptors.length - 1;
      const flags = descriptor.flags | (last ? 0 : DescriptorFlag.next);
      this.writeDescriptor(table, i, { ...descriptor, flags, next: last ? 0 : i + 1 });
    });
    const gpa = this.memory.gpa(table);
    const usedLen = await this.sendChain([{ gpa, length: size, flags: DescriptorFlag.indirect }]);
    this.memory.free(table, size);
    return usedLen;
  }

  /** Sends a direct chain of descriptors just as given (NEXT is added), good or bad; resolves with used.len. */
  async sendChain(descriptors: readonly RawDescriptor[]): Promise<number> {
    const indexes = this.#free.splice(this.#free.length - descriptors.length).reverse();
    descriptors.forEach((descriptor, i) => {
      const next = indexes[i + 1];
      const flags = descriptor.flags | (next === undefined ? 0 : DescriptorFlag.next);
      const link = next ?? descriptor.next ?? 0;
      this.writeDescriptor(this.desc, indexes[i]!, { ...descriptor, flags, next: link });
    });
    const usedLen = await this.publish(indexes[0]!);
    this.#free.push(...indexes.reverse());
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resume of waiting) resume();
    return usedLen;
  }

  /** Writes descriptor `index` of the table at file offset `table`. */
  writeDescriptor(table: number, index: number, { gpa, length, flags, next = 0 }: RawDescriptor): void {
    const at = table + index * Descriptor.size;
    const { view } = this.memory;
    view.setBigUint64(at + Descriptor.addr, gpa, true);
    view.setUint32(at + Descriptor.len, length, true);
    view.setUint16(at + Descriptor.flags, flags, true);
    view.setUint16(at + Descriptor.next, next, true);
  }

  /** Offers any head, kicks if asked to, and resolves with used.len of its completion. */
  publish(head: number): Promise<number> {
    const done = new Promise<number>((complete, fail) => {
      this.#pending.set(head, { complete, fail });
    });
    const slot = this.#availIdx & (this.num - 1);
    this.memory.view.setUint16(this.avail + Avail.ring + slot * Avail.entry, head, true);
    this.setAvailIdx(this.#availIdx + 1);
    return done;
  }

  /** Moves the avail index, to wherever, and kicks if asked to. */
  setAvailIdx(index: number): void {
    const old = this.#availIdx;
    this.#availIdx = index & 0xffff;
    // Entries before the index, the index before the look at what the device wants.
    Atomics.add(this.#fence, 0, 1);
    this.memory.view.setUint16(this.avail + Avail.idx, this.#availIdx, true);
    Atomics.add(this.#fence, 0, 1);
    if (this.alwaysKick || this.#wantsKick(old)) this.kick();
  }

  #wantsKick(old: number): boolean {
    const { view } = this.memory;
    if (!this.#eventIdx) return (view.getUint16(this.used + Used.flags, true) & Used.noNotify) === 0;
    const event = view.getUint16(this.used + Used.ring + this.num * Used.entry, true);
    const sinceEvent = (this.#availIdx - event - 1) & 0xffff;
    return sinceEvent < ((this.#availIdx - old) & 0xffff);
  }

  kick(): void {
    eventfdWrite(this.kickFd);
  }

  /** Takes all completions. Called for each interrupt. */
  reap(): void {
    const { view } = this.memory;
    for (;;) {
      while (this.#usedIdx !== view.getUint16(this.used + Used.idx, true)) {
        const at = this.used + Used.ring + (this.#usedIdx & (this.num - 1)) * Used.entry;
        this.#usedIdx = (this.#usedIdx + 1) & 0xffff;
        this.#complete(view.getUint32(at, true), view.getUint32(at + 4, true));
      }
      // used_event = what we have seen: the next completion interrupts.
      view.setUint16(this.avail + Avail.ring + this.num * Avail.entry, this.#usedIdx, true);
      Atomics.add(this.#fence, 0, 1);
      if (this.#usedIdx === view.getUint16(this.used + Used.idx, true)) return;
    }
  }

  #complete(head: number, usedLen: number): void {
    const pending = this.#pending.get(head);
    if (pending === undefined) {
      this.#failAll(new Error(`device returned descriptor ${head}, which it does not have`));
      return;
    }
    this.#pending.delete(head);
    pending.complete(usedLen);
  }

  /** Lets somebody else drive the ring; returns its avail index. Nothing may be in flight. */
  suspend(): number {
    if (this.#pending.size > 0) throw new Error('requests are in flight');
    if (this.#poll >= 0) this.#addon.pollStop(this.#poll);
    this.#poll = -1;
    return this.#availIdx;
  }

  /** Takes the ring back; `index` is its avail index, and all of that was used. */
  resume(index: number): void {
    this.#availIdx = index;
    this.#usedIdx = index;
    this.#listen();
  }

  /** Requests that the device has not returned. */
  get inFlight(): number {
    return this.#pending.size;
  }

  close(): void {
    if (this.#poll >= 0) this.#addon.pollStop(this.#poll);
    this.#poll = -1;
    this.#failAll(new Error('ring closed'));
    this.#addon.closeFd(this.kickFd);
    this.#addon.closeFd(this.callFd);
  }
}

/** The queues of one device; what a FUSE client sends through. */
export class Driver {
  readonly rings: readonly DriverRing[];

  constructor(rings: readonly DriverRing[]) {
    this.rings = rings;
  }

  request(
    queue: number,
    readable: Uint8Array,
    writableLength: number,
    layout: Layout = {},
  ): Promise<Completion> {
    const ring = this.rings[queue];
    if (ring === undefined) throw new Error(`no queue ${queue}`);
    return ring.request(readable, writableLength, layout);
  }
}
