/** A guest without a VM: memory, rings and a FUSE session, connected to a running daemon as QEMU connects it. */
import type { Addon } from '../../src/native/addon.ts';
import { Driver, DriverRing, GuestMemory } from './driver.ts';
import { Frontend } from './frontend.ts';
import { FuseClient } from './fuse-client.ts';
import { connectLikeQemu72 } from './sequences.ts';

const MEMORY_BYTES = 64 << 20;

export class ConnectedGuest {
  /** One for each request queue: `clients[i]` sends on queue 1 + i. All are one FUSE session. */
  readonly clients: readonly FuseClient[];
  readonly #frontend: Frontend;
  readonly #memory: GuestMemory;
  readonly #rings: readonly DriverRing[];

  private constructor(frontend: Frontend, memory: GuestMemory, rings: readonly DriverRing[]) {
    this.#frontend = frontend;
    this.#memory = memory;
    this.#rings = rings;
    const driver = new Driver(rings);
    this.clients = rings.slice(1).map((_, index) => {
      const client = new FuseClient(driver);
      client.queue = 1 + index;
      return client;
    });
  }

  /** Connects and sends FUSE_INIT. */
  static async connect(addon: Addon, sock: string, requestQueues = 1): Promise<ConnectedGuest> {
    const frontend = Frontend.connect(addon, sock);
    const memory = new GuestMemory(addon, MEMORY_BYTES);
    const rings = Array.from({ length: 1 + requestQueues }, (_, i) => new DriverRing(addon, memory, i));
    const guest = new ConnectedGuest(frontend, memory, rings);
    await connectLikeQemu72(frontend, { memory, rings });
    await guest.client.init();
    return guest;
  }

  get client(): FuseClient {
    return this.clients[0]!;
  }

  /** The guest is gone at once, as when its VM is killed: what is in flight fails. */
  [Symbol.dispose](): void {
    this.#frontend.close();
    for (const ring of this.#rings) ring.close();
    this.#memory.close();
  }
}
