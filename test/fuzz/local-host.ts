/** The product's own queue serving, on this thread: RingChannel, RingServer and FuseServer over a tree. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { FileSystem } from '../../src/fuse/filesystem.ts';
import { FuseServer } from '../../src/fuse/server.ts';
import type { Addon } from '../../src/native/addon.ts';
import { RingChannel } from '../../src/transport/ring-channel.ts';
import { RingServer } from '../../src/transport/virtio.ts';
import type { QueueHost } from '../../src/vhost/host.ts';

interface Served {
  readonly channel: RingChannel;
  readonly server: RingServer;
}

export class LocalHost implements QueueHost {
  readonly server: FuseServer;
  /** A ring broke. */
  onFault: (errno: number) => void = () => {};
  /** A handler of ours that threw. */
  defect: unknown = null;
  readonly #addon: Addon;
  readonly #served = new Map<string, Served>();

  constructor(addon: Addon, fs: FileSystem) {
    this.#addon = addon;
    this.server = new FuseServer(fs, {
      onInternalError: (error) => {
        this.defect ??= error;
      },
    });
  }

  get attached(): number {
    return this.#served.size;
  }

  attachNow(device: number, queue: number): number {
    const channel = RingChannel.attach(this.#addon, device, queue, () => server.drain());
    if (typeof channel === 'number') return channel;
    const server: RingServer = new RingServer(channel, this.server, {
      isCrowded: () => false,
      pollNs: 0,
      onFault: (errno) => this.onFault(errno),
    });
    this.#served.set(`${device}:${queue}`, { channel, server });
    server.drain();
    return 0;
  }

  detachNow(device: number, queue: number): number {
    const key = `${device}:${queue}`;
    const served = this.#served.get(key);
    this.#served.delete(key);
    if (served === undefined) return 0;
    // Takes no more requests from here on; what waits is not waited for.
    void served.server.quiesce(0);
    this.server.parked.abandon(served.channel);
    return served.channel.detach();
  }

  /** Serves what is there without a kick. */
  drain(): void {
    for (const { server } of this.#served.values()) server.drain();
  }

  async attach(device: number, queue: number): Promise<number> {
    return this.attachNow(device, queue);
  }

  async detach(device: number, queue: number): Promise<number> {
    return Math.min(0, this.detachNow(device, queue));
  }

  async memoryChanged(device: number): Promise<void> {
    while (this.#addon.memoryStale(device) > 0) await nextTurn();
  }

  async sessionReset(): Promise<void> {
    this.server.session.reset();
  }
}
