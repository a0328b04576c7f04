import type { Channel } from '../fuse/channel.ts';
import type { FuseServer } from '../fuse/server.ts';

/** A virtqueue on the thread that serves it (`RingChannel` of the native room). */
export interface Ring extends Channel {
  /** Slots that the last `pop` filled. */
  readonly popped: Int32Array;
  /** Number of requests popped, waiting at most `spinNs` for the first; or -errno when the ring or its memory is broken. */
  pop(max: number, spinNs: number): number;
  /** 1 when there is work after all, 0 when the driver will kick; or -errno. */
  arm(): number;
}

export interface RingServerOptions {
  /** How long to look for the next request before sleeping. It costs CPU time, and saves a wake-up of 20 to 50 µs. */
  readonly pollNs: number;
  /** The ring broke (-EPROTO) or guest memory vanished (-EFAULT). It is not served any more. */
  readonly onFault: (errno: number) => void;
}

/** A batch is what a driver may have in flight in practice; a larger one only delays the first reply. */
const BATCH = 32;
/** Batches after which messages, timers and the other rings of this thread get their turn. */
const BATCHES_PER_TURN = 16;

/** Joins one virtqueue with the FUSE server of its thread. */
export class RingServer {
  readonly #ring: Ring;
  readonly #server: FuseServer;
  readonly #options: RingServerOptions;
  readonly #again: () => void;
  #stopped = false;
  #scheduled = false;

  constructor(ring: Ring, server: FuseServer, options: RingServerOptions) {
    this.#ring = ring;
    this.#server = server;
    this.#options = options;
    this.#again = () => {
      this.#scheduled = false;
      this.drain();
    };
  }

  /** Serves what is there, then sleeps until the next kick. Called for each kick. */
  drain(): void {
    if (this.#scheduled) return;
    const ring = this.#ring;
    let spinNs = 0;
    for (let batch = 0; !this.#stopped; ) {
      const count = ring.pop(BATCH, spinNs);
      if (count > 0) {
        this.#serve(count);
        // Who waits for data is woken by this thread's event loop: do not spin before it.
        spinNs = this.#server.hasParked ? 0 : this.#options.pollNs;
        if (++batch === BATCHES_PER_TURN) {
          this.#scheduled = true;
          setImmediate(this.#again);
          return;
        }
        continue;
      }
      const more = count < 0 ? count : ring.arm();
      if (more === 0) return;
      if (more < 0) this.#fault(more);
      spinNs = 0;
    }
  }

  #serve(count: number): void {
    const ring = this.#ring;
    for (let i = 0; i < count; i++) this.#server.serve(ring, ring.popped[i]!);
    ring.flush();
  }

  #fault(errno: number): void {
    this.#stopped = true;
    this.#options.onFault(errno);
  }

  /** Nothing is served any more; the ring is about to be detached. */
  stop(): void {
    this.#stopped = true;
    this.#server.abandon(this.#ring);
  }
}
