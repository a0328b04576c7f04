import { errnoName } from '../lib/errno.ts';
import type { MemoryCalls } from '../native/memory.ts';
import type { RingSetupCalls } from '../native/ring.ts';
import { type MemoryRegion, ProtocolError, type VringAddr } from '../wire/vhost-user.ts';
import { Avail, Descriptor, isQueueSize, QUEUE_SIZE_MAX, Used, VirtioFeature } from '../wire/virtio.ts';
import { MEMORY_SLOTS_MAX } from './features.ts';
import type { DeviceOptions, Logger, QueueHost } from './host.ts';
import type { MessageFds } from './message.ts';

/** The world, not the message, stands in the way: answered with a failure where the front-end wants to know. */
export class RefusedError extends ProtocolError {
  override readonly code: string = 'VHOST_REFUSED';
}

/** What is known of one queue. It is served while `isComplete` holds. */
interface Queue {
  num: number;
  addr: VringAddr | null;
  hasKick: boolean;
  enabled: boolean;
  attached: boolean;
}

const MEMORY_TIMEOUT_MS = 10_000;

/** A negative result of the addon becomes a RefusedError that names what was asked for. */
function checkResult(result: number, request: string, field: string): number {
  if (result < 0) {
    throw new RefusedError(request, field, `refused by the system with ${errnoName(result)}`);
  }
  return result;
}

function packRegions(regions: readonly MemoryRegion[]): BigUint64Array {
  const words = new BigUint64Array(regions.length * 4);
  regions.forEach(({ gpa, size, uva, mmapOffset }, i) => {
    words.set([gpa, size, uva, mmapOffset], i * 4);
  });
  return words;
}

/**
 * One connection's device: the state machine of its queues and its memory. A queue's ring is attached to the thread
 * that serves it exactly while it has a size, addresses, a kick descriptor and is enabled, in whatever order the
 * front-end provides them. What may only be changed while nobody serves is changed between a detach and an attach.
 */
export class Device {
  /** The addon's number of this device. */
  readonly id: number;
  readonly #addon: MemoryCalls & RingSetupCalls;
  readonly #host: QueueHost;
  readonly #log: Logger;
  readonly #memoryTimeoutMs: number;
  readonly #queues: Queue[];
  #features = 0n;
  #regionCount = 0;
  /** The queue being stopped, or -1. */
  #stopping = -1;
  #hurried = false;

  constructor(options: DeviceOptions) {
    this.#addon = options.addon;
    this.#host = options.host;
    this.#log = options.log;
    this.#memoryTimeoutMs = options.memoryTimeoutMs ?? MEMORY_TIMEOUT_MS;
    this.#queues = Array.from({ length: options.queues }, () => ({
      num: 0,
      addr: null,
      hasKick: false,
      enabled: false,
      attached: false,
    }));
    this.id = checkResult(this.#addon.deviceCreate(options.queues), 'connect', 'device');
  }

  /** Whether any ring is being served. */
  get #isServing(): boolean {
    return this.#queues.some((queue) => queue.attached);
  }

  #queue(request: string, index: number): Queue {
    const queue = this.#queues[index];
    if (queue === undefined) {
      throw new ProtocolError(request, 'index', `must be below ${this.#queues.length}, is ${index}`);
    }
    return queue;
  }

  async setFeatures(features: bigint): Promise<void> {
    const request = 'SET_FEATURES';
    if (features !== this.#features) {
      await this.#stopAll(request);
      const lo = Number(BigInt.asUintN(32, features));
      const hi = Number(features >> 32n);
      checkResult(this.#addon.deviceSetFeatures(this.id, lo, hi), request, 'features');
      this.#features = features;
    }
    if ((features & VirtioFeature.protocolFeatures) === 0n) {
      // Without the bit there is no SET_VRING_ENABLE: rings start enabled.
      for (const queue of this.#queues) queue.enabled = true;
    }
    await this.#settleAll(request);
  }

  async setNum(request: string, index: number, num: number): Promise<void> {
    const queue = this.#queue(request, index);
    if (!isQueueSize(num)) {
      throw new ProtocolError(request, 'num', `must be a power of two up to ${QUEUE_SIZE_MAX}, is ${num}`);
    }
    await this.#stop(request, index, queue);
    checkResult(this.#addon.ringSetNum(this.id, index, num), request, 'num');
    queue.num = num;
    await this.#settle(request, index, queue);
  }

  /** The addresses may change while the ring is served; nobody stops for it. */
  async setAddr(request: string, addr: VringAddr): Promise<void> {
    const queue = this.#queue(request, addr.index);
    const rules = [
      ['descriptor', addr.desc, Descriptor.align],
      ['used', addr.used, Used.align],
      ['available', addr.avail, Avail.align],
    ] as const;
    for (const [field, address, align] of rules) {
      if (address % BigInt(align) !== 0n) {
        throw new ProtocolError(
          request,
          field,
          `must be a multiple of ${align}, is 0x${address.toString(16)}`,
        );
      }
    }
    const result = this.#addon.ringSetAddr(this.id, addr.index, addr.desc, addr.used, addr.avail);
    checkResult(result, request, 'addresses');
    queue.addr = addr;
    await this.#settle(request, addr.index, queue);
  }

  async setBase(request: string, index: number, base: number): Promise<void> {
    const queue = this.#queue(request, index);
    if (base > 0xffff) throw new ProtocolError(request, 'num', `must be below 65536, is ${base}`);
    await this.#stop(request, index, queue);
    checkResult(this.#addon.ringSetBase(this.id, index, base), request, 'num');
    await this.#settle(request, index, queue);
  }

  /** Stops the ring and answers its base: the front-end may start it again from there. */
  async stopRing(request: string, index: number): Promise<number> {
    const queue = this.#queue(request, index);
    await this.#stop(request, index, queue);
    this.#addon.ringSetKick(this.id, index, -1);
    this.#addon.ringSetCall(this.id, index, -1);
    queue.hasKick = false;
    return checkResult(this.#addon.ringBase(this.id, index), request, 'index');
  }

  /** Takes the message's descriptor. */
  async setKick(request: string, index: number, fds: MessageFds): Promise<void> {
    const queue = this.#queue(request, index);
    await this.#stop(request, index, queue);
    checkResult(this.#addon.ringSetKick(this.id, index, fds.at(0)), request, 'descriptor');
    fds.take(0);
    queue.hasKick = true;
    await this.#settle(request, index, queue);
  }

  /** Takes the message's descriptor; none = the driver polls. */
  setCall(request: string, index: number, fds: MessageFds): void {
    this.#queue(request, index);
    checkResult(this.#addon.ringSetCall(this.id, index, fds.at(0)), request, 'descriptor');
    fds.take(0);
  }

  /** Takes the message's descriptor; none = errors are not signalled. */
  setErr(request: string, index: number, fds: MessageFds): void {
    this.#queue(request, index);
    checkResult(this.#addon.ringSetErr(this.id, index, fds.at(0)), request, 'descriptor');
    fds.take(0);
  }

  async setEnabled(request: string, index: number, enabled: boolean): Promise<void> {
    const queue = this.#queue(request, index);
    queue.enabled = enabled;
    if (!enabled) await this.#stop(request, index, queue);
    // A ring that its driver never set up is enabled like the others, and stays idle.
    else await this.#settle(request, index, queue);
  }

  async setMemory(request: string, regions: readonly MemoryRegion[], fds: Int32Array): Promise<void> {
    checkResult(this.#addon.memorySet(this.id, packRegions(regions), fds), request, 'regions');
    this.#regionCount = regions.length;
    await this.#memoryChanged(request);
  }

  async addMemory(request: string, region: MemoryRegion, fd: number): Promise<void> {
    if (this.#regionCount >= MEMORY_SLOTS_MAX) {
      throw new ProtocolError(request, 'region', `at most ${MEMORY_SLOTS_MAX} regions`);
    }
    checkResult(this.#addon.memoryAdd(this.id, packRegions([region]), fd), request, 'region');
    this.#regionCount++;
    await this.#memoryChanged(request);
  }

  async removeMemory(request: string, region: MemoryRegion): Promise<void> {
    checkResult(this.#addon.memoryRemove(this.id, packRegions([region])), request, 'region');
    this.#regionCount--;
    await this.#memoryChanged(request);
  }

  /**
   * The front-end may reuse the old memory once it has our answer, so requests which still write there come first. They
   * hold the mapping: a request that takes too long can hurt nobody but its guest.
   */
  async #memoryChanged(request: string): Promise<void> {
    if (!this.#isServing) return;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<boolean>((resolve) => {
      timer = setTimeout(() => resolve(true), this.#memoryTimeoutMs);
    });
    const done = this.#host.memoryChanged(this.id).then(() => false);
    try {
      if (await Promise.race([done, late])) {
        const stale = this.#addon.memoryStale(this.id);
        this.#log.warn({ request, stale }, 'requests still use memory that the front-end replaced');
      }
    } finally {
      clearTimeout(timer);
    }
    await this.#settleAll(request);
  }

  /** Maps the in-flight region for all its queues. No ring may be served meanwhile. */
  setInflight(request: string, fd: number, offset: number, size: number, queues: number, num: number): void {
    if (this.#isServing) throw new ProtocolError(request, 'queues', 'no ring may be running');
    checkResult(this.#addon.inflightSet(this.id, fd, offset, size, queues, num), request, 'region');
  }

  /**
   * RESET_DEVICE: rings as new and features forgotten. Memory stays, because QEMU sends only differences of it, and so
   * do call and err, which QEMU passes once when it connects.
   */
  async reset(request: string): Promise<void> {
    // A device that is reset owes no answers (VIRTIO 1.2, 2.1.2): its driver has forgotten the requests.
    await this.#stopAll(request, false);
    for (const [index, queue] of this.#queues.entries()) {
      this.#addon.ringSetKick(this.id, index, -1);
      this.#addon.ringSetBase(this.id, index, 0);
      Object.assign(queue, { num: 0, addr: null, hasKick: false, enabled: false });
    }
    checkResult(this.#addon.deviceSetFeatures(this.id, 0, 0), request, 'features');
    this.#features = 0n;
    await this.#host.sessionReset();
  }

  /** Disconnect: stops every ring, ends the FUSE session, gives memory and descriptors back. Never throws. */
  async destroy(): Promise<void> {
    for (const [index, queue] of this.#queues.entries()) {
      try {
        await this.#stop('disconnect', index, queue, false);
      } catch (error) {
        this.#log.error({ queue: index, error: String(error) }, 'ring did not stop');
      }
    }
    try {
      await this.#host.sessionReset();
    } catch (error) {
      this.#log.error({ error: String(error) }, 'session did not end');
    }
    for (const index of this.#queues.keys()) this.#addon.ringReset(this.id, index);
    this.#addon.deviceDestroy(this.id);
  }

  #isComplete(queue: Queue): boolean {
    return queue.num > 0 && queue.addr !== null && queue.hasKick && queue.enabled;
  }

  /** Starts serving a queue that has all it needs. */
  async #settle(request: string, index: number, queue: Queue): Promise<void> {
    if (queue.attached || !this.#isComplete(queue)) return;
    const result = await this.#host.attach(this.id, index);
    checkResult(result, request, `ring ${index}`);
    queue.attached = true;
  }

  async #settleAll(request: string): Promise<void> {
    for (const [index, queue] of this.#queues.entries()) await this.#settle(request, index, queue);
  }

  /** `drain`: requests in flight are answered first, because the ring may be started again. */
  async #stop(request: string, index: number, queue: Queue, drain = true): Promise<void> {
    if (!queue.attached) return;
    queue.attached = false;
    this.#stopping = index;
    try {
      checkResult(await this.#host.detach(this.id, index, drain && !this.#hurried), request, `ring ${index}`);
    } finally {
      this.#stopping = -1;
    }
  }

  async #stopAll(request: string, drain = true): Promise<void> {
    for (const [index, queue] of this.#queues.entries()) await this.#stop(request, index, queue, drain);
  }

  /** The front-end went or is to go: no ring waits any more for the answers of its requests. */
  hurry(): void {
    this.#hurried = true;
    if (this.#stopping >= 0) void this.#host.detach(this.id, this.#stopping, false);
  }
}
