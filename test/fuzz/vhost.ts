/**
 * vhost-user conversations of three monitors, recorded, then mutated and sent to a session that really serves rings.
 */

import { closeSync, ftruncateSync, openSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Addon } from '../../src/native/addon.ts';
import type { Logger } from '../../src/vhost/host.ts';
import { VhostUserSession } from '../../src/vhost/session.ts';
import { encodeMessage, HEADER_BYTES, requests } from '../../src/wire/vhost-user.ts';
import { eventfd, eventfdRead, socketPair } from '../support/descriptors.ts';
import { DriverRing, GuestMemory } from '../support/driver.ts';
import { Frontend } from '../support/frontend.ts';
import {
  connectLikeCloudHypervisor,
  connectLikeCrosvm,
  connectLikeQemu72,
  connectLikeQemuNewer,
  type Guest,
  restartLikeQemu,
  stopLikeQemu,
} from '../support/sequences.ts';
import { DescriptorFlag } from '../support/split-ring.ts';
import { FuzzTree } from './image.ts';
import { LocalHost } from './local-host.ts';
import { INTERESTING, mutateBytes, oneIn, pick, type Random, random64 } from './random.ts';
import { brokenRequest, validRequest } from './requests.ts';
import type { Counts, Target } from './runner.ts';

interface Step {
  readonly bytes: Uint8Array;
  readonly fds: readonly number[];
}

type Script = readonly Step[];

const QUEUES = 3;
const RING_SIZE = 64;
/** Turns of the event loop that a session gets for what was sent. */
const TURNS = 4;
const END_MS = 5000;
const CODES = Object.values(requests).map(({ code }) => code);

/** Sends as it should, and remembers what it sent. */
class Recorder extends Frontend {
  readonly steps: Step[] = [];

  override async sendRaw(bytes: Uint8Array, fds: readonly number[] = []): Promise<void> {
    this.steps.push({ bytes: new Uint8Array(bytes), fds: [...fds] });
    await super.sendRaw(bytes, fds);
  }
}

class VhostTarget implements Target {
  readonly #addon: Addon;
  readonly #tree: FuzzTree;
  readonly #guest: Guest;
  readonly #scripts: Script[] = [];
  /** Descriptors of every kind, for where another belongs. They live as long as the target. */
  readonly #oddFds: number[] = [];
  readonly #inflight: number;
  /** Given as memory, and cut while it is. */
  readonly #unsteady: number;
  #problem: string | null = null;

  constructor(addon: Addon) {
    this.#addon = addon;
    this.#tree = new FuzzTree(addon);
    const memory = new GuestMemory(addon, 4 << 20);
    const rings = Array.from({ length: 2 }, (_, i) => new DriverRing(addon, memory, i, RING_SIZE));
    for (const ring of rings) ring.suspend();
    this.#guest = { memory, rings };
    this.#inflight = addon.memfdCreate('inflight', 1 << 20);
    this.#unsteady = addon.memfdCreate('unsteady', memory.size);
    const pair = new Int32Array(2);
    socketPair(pair);
    const files = ['/dev/null', '/dev/zero', '/proc/self/exe', '/tmp'].map((path) => openSync(path, 'r'));
    this.#oddFds.push(...files, ...pair, eventfd(), this.#inflight, this.#unsteady, memory.fd);
    this.#oddFds.push(addon.memfdCreate('small', 4096));
  }

  async record(): Promise<void> {
    const guest = this.#guest;
    const plays: ((frontend: Frontend) => Promise<unknown>)[] = [
      (frontend) => connectLikeQemu72(frontend, guest),
      (frontend) => connectLikeQemuNewer(frontend, guest),
      (frontend) => connectLikeCloudHypervisor(frontend, guest),
      (frontend) => connectLikeCrosvm(frontend, guest),
      async (frontend) => {
        await connectLikeQemu72(frontend, guest);
        await stopLikeQemu(frontend, guest, QUEUES);
        await restartLikeQemu(frontend, guest, QUEUES);
        for (const region of guest.memory.regions) await frontend.remMemReg(region);
      },
    ];
    for (const play of plays) {
      guest.memory.isShared = false;
      const { session, socket, host } = this.#open();
      const recorder = new Recorder(this.#addon, socket);
      await play(recorder);
      recorder.close();
      await session.ended;
      if (host.attached > 0 || this.#problem !== null) throw new Error(`recording: ${this.#problem}`);
      this.#scripts.push(
        recorder.steps.map((step) => ({ ...step, fds: step.fds.map((fd) => this.#lasting(fd)) })),
      );
    }
  }

  /** A descriptor that is still open when the script is played again, of the same kind. */
  #lasting(fd: number): number {
    const { memory, rings } = this.#guest;
    const known = [memory.fd, ...rings.flatMap(({ kickFd, callFd }) => [kickFd, callFd])];
    // The others are QEMU's eventfd of masked vectors, and the in-flight region.
    return known.includes(fd) ? fd : this.#inflight;
  }

  #open(): { session: VhostUserSession; socket: number; host: LocalHost } {
    const pair = new Int32Array(2);
    socketPair(pair);
    const host = new LocalHost(this.#addon, this.#tree.vfs);
    const quiet = () => {};
    const log: Logger = {
      debug: quiet,
      info: quiet,
      warn: quiet,
      error: (fields, message) => {
        this.#problem ??= `${message}: ${JSON.stringify(fields)}`;
      },
    };
    const options = { addon: this.#addon, host, log, queues: QUEUES, tag: 'fuzz', memoryTimeoutMs: 5 };
    const session = new VhostUserSession(pair[0]!, options);
    host.onFault = () => session.fail('a ring broke');
    return { session, socket: pair[1]!, host };
  }

  async iterate(random: Random, counts: Counts): Promise<void> {
    this.#restoreGuest();
    const { session, socket, host } = this.#open();
    let ended = false;
    void session.ended.then(() => {
      ended = true;
    });
    for (const step of this.#mutated(random)) {
      if (!this.#send(socket, step, random)) break;
      if (oneIn(random, 6)) await this.#turns(socket, 1);
      if (oneIn(random, 40)) ftruncateSync(this.#unsteady, pick(random, [0, 4096, 1 << 20]));
      if (oneIn(random, 20)) this.#drive(random, host);
    }
    await this.#turns(socket, TURNS);
    for (let n = random(4); n > 0 && !ended; n--) {
      this.#drive(random, host);
      await this.#turns(socket, 1);
    }
    if (ended) counts.refused++;
    else counts.accepted++;
    if (host.attached > 0) counts.served = (counts.served ?? 0) + 1;
    this.#addon.closeFd(socket);
    for (const end = Date.now() + END_MS; !ended; ) {
      if (Date.now() > end) throw new Error('the session does not end');
      this.#settle();
      await nextTurn();
    }
    this.#settle();
    if (host.attached > 0) throw new Error(`${host.attached} rings are served without a session`);
    if (this.#problem !== null) throw new Error(this.#problem);
    if (host.defect !== null) throw host.defect;
  }

  #restoreGuest(): void {
    const { memory, rings } = this.#guest;
    for (const ring of rings) {
      ring.reset();
      eventfdRead(ring.kickFd);
      eventfdRead(ring.callFd);
    }
    ftruncateSync(this.#unsteady, memory.size);
    // What sessions left in it would make a run depend on the one before.
    ftruncateSync(this.#inflight, 0);
    ftruncateSync(this.#inflight, 1 << 20);
  }

  /** A script with a few steps changed, left out, repeated, moved or brought in from another. */
  #mutated(random: Random): Step[] {
    const steps = [...pick(random, this.#scripts)];
    for (let n = random(6); n > 0; n--) {
      // The end of a script is where rings run: most mutations are there.
      const last = steps.length - 1;
      const at = oneIn(random, 2) ? random(steps.length) : Math.max(0, last - random(12));
      const step = steps[at]!;
      const kind = random(8);
      if (kind === 0) steps.splice(at, 1);
      else if (kind === 1) steps.splice(at, 0, step);
      else if (kind === 2) steps.splice(at, 0, pick(random, pick(random, this.#scripts)));
      else if (kind === 3) steps.splice(at, 0, this.#invented(random));
      else if (kind === 4) steps[at] = { ...step, fds: this.#otherFds(random, step.fds) };
      else if (kind === 5) steps[at] = { ...step, bytes: mutatedMessage(random, step.bytes, 0) };
      else steps[at] = { ...step, bytes: mutatedMessage(random, step.bytes, HEADER_BYTES) };
      if (steps.length === 0) return steps;
    }
    return steps;
  }

  #invented(random: Random): Step {
    const payload = new Uint8Array(pick(random, [0, 8, 8, 8, 16, 20, 24, 40, 72, 256, 300]));
    const view = new DataView(payload.buffer);
    for (let at = 0; at + 8 <= payload.length; at += 8) {
      if (oneIn(random, 2)) view.setUint32(at, random(4), true);
      else view.setBigUint64(at, BigInt.asUintN(64, random64(random)), true);
    }
    const flags = pick(random, [0, 0, 8, 8, 4, 0xffff]);
    const code = oneIn(random, 10) ? random(60) : pick(random, CODES);
    return { bytes: encodeMessage(code, flags, payload), fds: this.#otherFds(random, []) };
  }

  #otherFds(random: Random, fds: readonly number[]): number[] {
    const odd = () => pick(random, this.#oddFds);
    const kind = random(4);
    if (kind === 0) return [];
    if (kind === 1) return fds.length > 0 ? fds.map(odd) : [odd()];
    if (kind === 2) return [...fds, odd()];
    return Array.from({ length: random(34) }, odd);
  }

  /** False when the session has closed the connection. Descriptors go with the first piece, as the kernel has it. */
  #send(socket: number, { bytes, fds }: Step, random: Random): boolean {
    const cut = oneIn(random, 10) ? 1 + random(Math.max(1, bytes.length - 1)) : bytes.length;
    const first = bytes.subarray(0, cut);
    const sent = this.#addon.sendMsg(
      socket,
      first,
      first.length,
      fds.length > 0 ? Int32Array.from(fds) : null,
    );
    if (sent < 0) return sent === -11;
    if (cut === bytes.length) return true;
    const rest = bytes.subarray(cut);
    const late = oneIn(random, 20) ? Int32Array.of(pick(random, this.#oddFds)) : null;
    return this.#addon.sendMsg(socket, rest, rest.length, late) >= 0;
  }

  async #turns(socket: number, count: number): Promise<void> {
    const buffer = new Uint8Array(4096);
    const fds = new Int32Array(33);
    for (let turn = 0; turn < count; turn++) {
      await nextTurn();
      this.#settle();
      fds[0] = 0;
      while (this.#addon.recvMsg(socket, buffer, 0, buffer.length, fds) > 0) {
        for (const fd of fds.subarray(1, 1 + fds[0]!)) this.#addon.closeFd(fd);
        fds[0] = 0;
      }
    }
  }

  #settle(): void {
    for (const { done } of this.#tree.owed.splice(0)) done(-5, null);
  }

  /** The guest's driver offers a request, or nonsense, in its rings. */
  #drive(random: Random, host: LocalHost): void {
    const ring = pick(random, this.#guest.rings);
    const { memory } = ring;
    const { nodes } = this.#tree;
    const request = oneIn(random, 2) ? validRequest(random, nodes) : brokenRequest(random, nodes);
    const at = memory.size / 2 - 4096 * (1 + random(8));
    memory.bytes.set(request.subarray(0, 8192), at);
    const odd = oneIn(random, 8);
    const gpa = odd ? BigInt.asUintN(64, random64(random)) : memory.gpa(at);
    ring.writeDescriptor(ring.desc, 0, { gpa, length: request.length, flags: DescriptorFlag.next, next: 1 });
    const reply = {
      gpa: memory.gpa(at + 8192 < memory.size / 2 ? at + 8192 : 8192),
      flags: DescriptorFlag.write,
    };
    ring.writeDescriptor(ring.desc, 1, { ...reply, length: odd ? pick(random, INTERESTING) : 4096 });
    ring.setAvailIdx(oneIn(random, 12) ? random(65536) : memory.view.getUint16(ring.avail + 2, true) + 1);
    ring.kick();
    host.drain();
  }

  close(): void {
    for (const ring of this.#guest.rings) ring.close();
    this.#guest.memory.close();
    this.#tree.close();
    for (const fd of this.#oddFds.slice(0, 4)) closeSync(fd);
  }
}

/** Fields changed; behind a changed size the bytes may be missing or too many. */
function mutatedMessage(random: Random, original: Uint8Array, from: number): Uint8Array {
  const bytes = new Uint8Array(original);
  if (from === 0 && oneIn(random, 3)) return bytes.subarray(0, random(bytes.length + 1));
  mutateBytes(random, bytes, Math.max(0, Math.min(from, bytes.length - 1)), 2);
  return bytes;
}

export async function vhostTarget(addon: Addon): Promise<Target> {
  const target = new VhostTarget(addon);
  await target.record();
  return target;
}
