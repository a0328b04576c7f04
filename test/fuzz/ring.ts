/**
 * Split rings whose driver lies: descriptors, indexes, indirect tables, in-flight logs, and memory that goes or
 * shrinks meanwhile.
 */

import { ftruncateSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Addon } from '../../src/native/addon.ts';
import { REPLY_BYTES, REQUEST_BYTES, STATE_WORDS, State } from '../../src/native/ring.ts';
import { Descriptor } from '../../src/wire/virtio.ts';
import { eventfd } from '../support/descriptors.ts';
import { DescriptorFlag } from '../support/split-ring.ts';
import { FuzzTree } from './image.ts';
import { LocalHost } from './local-host.ts';
import { INTERESTING, mutateBytes, oneIn, pick, type Random, random64 } from './random.ts';
import { brokenRequest, validRequest } from './requests.ts';
import type { Counts, Target } from './runner.ts';

const MAIN_BYTES = 1 << 20;
const LOOSE_BYTES = 256 << 10;
const FILE_BYTES = 1 << 20;
const GPA = 0x10_0000n;
const UVA = 0x7f00_0000_0000n;
/** The second region: its file shrinks and it comes and goes. The guest writes there through the file. */
const LOOSE_GPA = GPA + BigInt(MAIN_BYTES) + 0x10000n;
const LOOSE_UVA = UVA + 0x1000_0000n;
const DESC_AT = 0x1000;
const AVAIL_AT = 0x10000;
const USED_AT = 0x12000;
const TABLE_AT = 0x20000;
const TABLE_BYTES = 0x8000;
const DATA_AT = 0x40000;
const INFLIGHT_BYTES = 1 << 16;
const SLOTS = 32;
const STEPS = 40;
const INDIRECT = 1 << 28;
const EVENT_IDX = 1 << 29;

interface Piece {
  gpa: bigint;
  length: number;
  flags: number;
  next: number;
}

class RingTarget implements Target {
  readonly #addon: Addon;
  readonly #tree: FuzzTree;
  readonly #main: number;
  readonly #loose: number;
  readonly #file: number;
  readonly #inflight: number;
  readonly #buffer: ArrayBuffer;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #requests = new ArrayBuffer(SLOTS * REQUEST_BYTES);
  readonly #replies = new ArrayBuffer(SLOTS * REPLY_BYTES);
  readonly #state = new Int32Array(SLOTS * STATE_WORDS);
  readonly #popped = new Int32Array(SLOTS);
  #random!: Random;
  #counts!: Counts;
  #device = -1;
  #num = 0;
  #avail = 0;
  #ring = -1;
  #held: number[] = [];

  constructor(addon: Addon) {
    this.#addon = addon;
    this.#tree = new FuzzTree(addon);
    this.#main = addon.memfdCreate('main', MAIN_BYTES);
    this.#loose = addon.memfdCreate('loose', LOOSE_BYTES);
    this.#file = addon.memfdCreate('file', FILE_BYTES);
    this.#inflight = addon.memfdCreate('inflight', INFLIGHT_BYTES);
    this.#buffer = addon.map(this.#main, 0, MAIN_BYTES, true) as ArrayBuffer;
    this.#bytes = new Uint8Array(this.#buffer);
    this.#view = new DataView(this.#buffer);
  }

  async iterate(random: Random, counts: Counts): Promise<void> {
    this.#random = random;
    this.#counts = counts;
    this.#device = this.#addon.deviceCreate(2);
    if (this.#device < 0) throw new Error(`device: errno ${-this.#device}`);
    this.#bytes.fill(0, 0, TABLE_AT);
    ftruncateSync(this.#loose, LOOSE_BYTES);
    this.#configure();
    try {
      if (oneIn(random, 2)) await this.#raw();
      else await this.#served();
    } finally {
      this.#addon.deviceDestroy(this.#device);
      await nextTurn();
    }
  }

  #configure(): void {
    const [random, addon, device] = [this.#random, this.#addon, this.#device];
    addon.deviceSetFeatures(
      device,
      (oneIn(random, 4) ? 0 : INDIRECT) | (oneIn(random, 2) ? 0 : EVENT_IDX),
      1,
    );
    this.#num = 1 << random(9);
    this.#avail = oneIn(random, 3) ? 65530 + random(6) : 0;
    addon.memorySet(
      device,
      new BigUint64Array([...this.#mainRegion(), ...this.#looseRegion()]),
      Int32Array.of(this.#main, this.#loose),
    );
    addon.ringSetNum(device, 0, this.#num);
    this.#setAddr();
    addon.ringSetBase(device, 0, this.#avail);
    this.#view.setUint16(AVAIL_AT + 2, this.#avail, true);
    const kick = eventfd();
    if (addon.ringSetKick(device, 0, kick) < 0) addon.closeFd(kick);
    const call = eventfd();
    if (addon.ringSetCall(device, 0, call) < 0) addon.closeFd(call);
    if (oneIn(random, 4)) this.#useInflight();
  }

  #mainRegion(): bigint[] {
    return [GPA, BigInt(MAIN_BYTES), UVA, 0n];
  }

  #looseRegion(): bigint[] {
    return [LOOSE_GPA, BigInt(LOOSE_BYTES), LOOSE_UVA, 0n];
  }

  #setAddr(): void {
    const random = this.#random;
    const at = (offset: number) => UVA + BigInt(offset);
    const addresses = [at(DESC_AT), at(USED_AT), at(AVAIL_AT)];
    // Some rings lie in the region that goes, or nowhere.
    if (oneIn(random, 12)) addresses[random(3)] = LOOSE_UVA + BigInt(random(LOOSE_BYTES) & ~15);
    if (oneIn(random, 30)) addresses[random(3)] = BigInt.asUintN(64, random64(random));
    this.#addon.ringSetAddr(this.#device, 0, addresses[0]!, addresses[1]!, addresses[2]!);
  }

  #useInflight(): void {
    const random = this.#random;
    ftruncateSync(this.#inflight, 0);
    ftruncateSync(this.#inflight, INFLIGHT_BYTES);
    const buffer = this.#addon.map(this.#inflight, 0, INFLIGHT_BYTES, true) as ArrayBuffer;
    const bytes = new Uint8Array(buffer);
    const view = new DataView(buffer);
    // A log of a process that died with heads in flight, and then nonsense in it.
    view.setUint16(8, 1, true);
    view.setUint16(10, this.#num, true);
    for (let head = 0; head < this.#num; head++) {
      bytes[16 + 16 * head] = random(2);
      view.setUint16(16 + 16 * head + 6, random(this.#num + 1), true);
      view.setBigUint64(16 + 16 * head + 8, BigInt(random(100)), true);
    }
    if (oneIn(random, 2)) mutateBytes(random, bytes.subarray(0, 16 + 16 * this.#num), 0, 8);
    this.#addon.unmap(buffer);
    const queueSize = oneIn(random, 10) ? pick(random, INTERESTING) : 512;
    this.#addon.inflightSet(this.#device, this.#inflight, 0, INFLIGHT_BYTES, 2, queueSize);
  }

  /** The addon's functions in any order. */
  async #raw(): Promise<void> {
    const random = this.#random;
    this.#held = [];
    this.#attach();
    for (let step = random(STEPS); step >= 0; step--) {
      const kind = random(10);
      if (kind < 4) this.#offer();
      else if (kind < 6) this.#pop();
      else if (kind < 8) this.#answer();
      else if (kind === 8) this.#disturb();
      else await nextTurn();
      if (this.#ring < 0 || oneIn(random, 40)) {
        this.#detach();
        this.#attach();
      }
    }
    this.#detach();
  }

  #attach(): void {
    this.#held = [];
    this.#ring = this.#addon.ringAttach(
      this.#device,
      0,
      this.#requests,
      this.#replies,
      this.#state,
      SLOTS,
      () => {},
    );
    this.#counts[this.#ring < 0 ? 'notAttached' : 'attached'] =
      (this.#counts[this.#ring < 0 ? 'notAttached' : 'attached'] ?? 0) + 1;
  }

  #detach(): void {
    if (this.#ring >= 0) {
      const stats = new Float64Array(5);
      this.#addon.ringStats(this.#ring, stats);
      this.#counts.accepted += stats[0]!;
      this.#counts.refused += stats[2]!;
      this.#addon.ringDetach(this.#ring);
    }
    this.#ring = -1;
  }

  #pop(): void {
    const random = this.#random;
    const count = this.#addon.ringPop(this.#ring, this.#popped, 1 + random(SLOTS), 0);
    if (count < 0) {
      this.#counts.broken = (this.#counts.broken ?? 0) + 1;
      this.#detach();
      return;
    }
    for (const slot of this.#popped.subarray(0, count)) {
      if (slot < 0 || slot >= SLOTS || this.#held.includes(slot))
        throw new Error(`slot ${slot} popped twice`);
      const row = slot * STATE_WORDS;
      const [readable, copied, writable] = this.#state.subarray(row, row + 3);
      if (copied! < 0 || copied! > REQUEST_BYTES || copied! > readable! || writable! < 0)
        throw new Error(`state of slot ${slot}: ${readable}, ${copied}, ${writable}`);
      this.#held.push(slot);
    }
    if (count < SLOTS && oneIn(random, 2)) this.#addon.ringArm(this.#ring);
  }

  /** Data and completions for slots in flight, and for others. */
  #answer(): void {
    const random = this.#random;
    const slot = this.#held.length > 0 && !oneIn(random, 12) ? pick(random, this.#held) : random(SLOTS + 4);
    const size = () => (oneIn(random, 10) ? pick(random, INTERESTING) | 0 : random(8192));
    const kind = random(4);
    if (kind === 0) {
      const got = this.#addon.ringRead(this.#ring, slot, size(), this.#file, size(), size());
      if (got > FILE_BYTES) throw new Error(`read ${got} bytes`);
    } else if (kind === 1) {
      const bytes = new Uint8Array(1 + random(10_000));
      const offset = random(bytes.length);
      this.#addon.ringWrite(this.#ring, slot, size(), bytes, offset, random(bytes.length - offset));
    } else if (kind === 2) {
      this.#addon.ringReadBlocking(
        this.#ring,
        slot,
        random(100),
        this.#file,
        random(1000),
        1 + random(100_000),
        () => {},
      );
    } else {
      this.#flush(slot);
    }
  }

  #flush(first: number): void {
    const random = this.#random;
    const done = [first, ...this.#held.filter(() => oneIn(random, 3))];
    for (const slot of done) {
      if (slot >= SLOTS) continue;
      this.#state[slot * STATE_WORDS + State.inline] = oneIn(random, 8)
        ? pick(random, INTERESTING) | 0
        : random(257);
      this.#state[slot * STATE_WORDS + State.total] = oneIn(random, 8)
        ? pick(random, INTERESTING) | 0
        : random(9000);
    }
    if (this.#addon.ringFlush(this.#ring, Int32Array.from(done), done.length, oneIn(random, 2)) >= 0)
      this.#held = this.#held.filter((slot) => !done.includes(slot));
  }

  /** The product's server on the ring. */
  async #served(): Promise<void> {
    const random = this.#random;
    const host = new LocalHost(this.#addon, this.#tree.vfs);
    let attached = host.attachNow(this.#device, 0) === 0;
    for (let step = random(STEPS); step >= 0 && attached; step--) {
      const kind = random(8);
      if (kind < 4) this.#offer();
      else if (kind < 6) host.drain();
      else if (kind === 6) this.#disturb();
      else await nextTurn();
      for (const { done, set } of this.#tree.owed.splice(0, random(3))) {
        if (oneIn(random, 2)) set();
        done(oneIn(random, 3) ? -5 : 0, null);
      }
      if (oneIn(random, 60)) {
        host.detachNow(this.#device, 0);
        attached = host.attachNow(this.#device, 0) === 0;
      }
    }
    this.#counts.served = (this.#counts.served ?? 0) + Number(attached);
    host.detachNow(this.#device, 0);
    for (const { done } of this.#tree.owed.splice(0)) done(-5, null);
    if (host.defect !== null) throw host.defect;
  }

  #disturb(): void {
    const [random, addon, device] = [this.#random, this.#addon, this.#device];
    const kind = random(9);
    if (kind === 0) addon.memoryRemove(device, new BigUint64Array(this.#looseRegion()));
    else if (kind === 1) addon.memoryAdd(device, new BigUint64Array(this.#looseRegion()), this.#loose);
    else if (kind === 2) ftruncateSync(this.#loose, pick(random, [0, 4096, 65536]));
    else if (kind === 3) ftruncateSync(this.#loose, LOOSE_BYTES);
    else if (kind === 4)
      addon.memorySet(device, new BigUint64Array(this.#mainRegion()), Int32Array.of(this.#main));
    else if (kind === 5) this.#setAddr();
    else if (kind === 6) mutateBytes(random, this.#bytes.subarray(DESC_AT, DESC_AT + 16 * this.#num));
    else if (kind === 7) mutateBytes(random, this.#bytes.subarray(AVAIL_AT, AVAIL_AT + 6 + 2 * this.#num));
    else this.#strangeRegion();
  }

  #strangeRegion(): void {
    const random = this.#random;
    const region = oneIn(random, 2) ? this.#looseRegion() : this.#mainRegion();
    region[random(4)] = BigInt.asUintN(64, random64(random));
    const fd = oneIn(random, 2) ? this.#loose : this.#file;
    this.#addon.memoryAdd(this.#device, new BigUint64Array(region), fd);
    if (oneIn(random, 2)) this.#addon.memoryRemove(this.#device, new BigUint64Array(region));
  }

  /** A request in the ring: sound, or with its descriptors or the index changed. */
  #offer(): void {
    const random = this.#random;
    const broken = oneIn(random, 3);
    const { nodes } = this.#tree;
    const request = oneIn(random, 4) ? brokenRequest(random, nodes) : validRequest(random, nodes);
    const pieces = this.#pieces(request);
    const isIndirect = oneIn(random, 2) || pieces.length > this.#num;
    const table = isIndirect ? TABLE_AT + 16 * random(TABLE_BYTES / 16 - pieces.length) : DESC_AT;
    const head = random(this.#num);
    pieces.forEach((piece, i) => {
      const index = isIndirect ? i : (head + i) % this.#num;
      const last = i === pieces.length - 1;
      piece.next = last ? 0 : isIndirect ? i + 1 : (index + 1) % this.#num;
      if (!last) piece.flags |= DescriptorFlag.next;
    });
    if (broken) for (let n = random(4); n >= 0; n--) this.#spoil(pick(random, pieces));
    pieces.forEach((piece, i) => {
      this.#write(table, isIndirect ? i : (head + i) % this.#num, piece);
    });
    if (isIndirect) {
      const outer = {
        gpa: GPA + BigInt(table),
        length: 16 * pieces.length,
        flags: DescriptorFlag.indirect,
        next: 0,
      };
      if (broken && oneIn(random, 3))
        outer.length = pick(random, [...INTERESTING, 16, 32, 16 * 1024, 16 * 1025]);
      if (broken && oneIn(random, 6)) this.#spoil(outer);
      this.#write(DESC_AT, head, outer);
    }
    const wrong = oneIn(random, 60);
    this.#view.setUint16(
      AVAIL_AT + 4 + 2 * (this.#avail & (this.#num - 1)),
      wrong ? random(65536) : head,
      true,
    );
    this.#avail = oneIn(random, 100) ? random(65536) : (this.#avail + 1) & 0xffff;
    this.#view.setUint16(AVAIL_AT + 2, this.#avail, true);
  }

  /** The request's bytes and room for a reply, cut anywhere, in either region. */
  #pieces(request: Uint8Array): Piece[] {
    const random = this.#random;
    const pieces: Piece[] = [];
    const cut = (total: number, flags: number, bytes: Uint8Array | null): void => {
      for (let from = 0; from < total; ) {
        const length = oneIn(random, 3) ? Math.min(total - from, 1 + random(4096)) : total - from;
        const isLoose = bytes === null && oneIn(random, 4);
        const at = isLoose ? random(LOOSE_BYTES - 4096) : DATA_AT + random(MAIN_BYTES - DATA_AT - length);
        if (bytes !== null) this.#bytes.set(bytes.subarray(from, from + length), at);
        pieces.push({ gpa: (isLoose ? LOOSE_GPA : GPA) + BigInt(at), length, flags, next: 0 });
        from += length;
      }
    };
    cut(request.length, 0, request);
    cut(pick(random, [0, 16, 120, 160, 4112, 70_000, 131_088]), DescriptorFlag.write, null);
    if (pieces.length === 0) pieces.push({ gpa: GPA, length: 0, flags: 0, next: 0 });
    return pieces;
  }

  #spoil(piece: Piece): void {
    const random = this.#random;
    const kind = random(6);
    if (kind === 0) piece.gpa = BigInt.asUintN(64, random64(random));
    else if (kind === 1) piece.length = pick(random, INTERESTING);
    else if (kind === 2) piece.flags = random(16);
    else if (kind === 3) piece.next = oneIn(random, 2) ? random(65536) : random(this.#num + 2);
    else if (kind === 4)
      piece.gpa =
        pick(random, [GPA, LOOSE_GPA]) + BigInt(pick(random, [MAIN_BYTES, LOOSE_BYTES]) - random(20));
    else piece.flags ^= 1 << random(3);
  }

  #write(table: number, index: number, { gpa, length, flags, next }: Piece): void {
    const at = table + index * Descriptor.size;
    this.#view.setBigUint64(at + Descriptor.addr, gpa, true);
    this.#view.setUint32(at + Descriptor.len, length, true);
    this.#view.setUint16(at + Descriptor.flags, flags, true);
    this.#view.setUint16(at + Descriptor.next, next, true);
  }

  close(): void {
    this.#addon.unmap(this.#buffer);
    for (const fd of [this.#main, this.#loose, this.#file, this.#inflight]) this.#addon.closeFd(fd);
    this.#tree.close();
  }
}

export function ringTarget(addon: Addon): Target {
  return new RingTarget(addon);
}
