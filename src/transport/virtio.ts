import { performance } from 'node:perf_hooks';
import type { Channel } from '../fuse/channel.ts';
import type { FuseServer } from '../fuse/server.ts';
import { Errno } from '../lib/errno.ts';

/** What is asked of a virtqueue on the thread that serves it, beside its slots. */
export interface Ring extends Channel {
  /** Publishes what was completed. A driver that sleeps is left asleep with `tell` false, until a flush with true. */
  flush(tell?: boolean): void;
  /** Slots that the last `pop` filled. */
  readonly popped: Int32Array;
  /** Number of requests popped, after waiting at most `spinNs` for the first; -errno of a ring that broke. */
  pop(max: number, spinNs: number): number;
  /** 1 when there is work after all, 0 when the driver will kick; -errno of a ring that broke. */
  arm(): number;
}

interface RingServerOptions {
  /** How long to look for the next request before sleeping. It costs CPU time, and saves a wake-up of 20 to 50 µs. */
  readonly pollNs: number;
  /** Whether the threads that serve rings, and a driver, are more than there are CPUs. */
  readonly isCrowded: () => boolean;
  /** The ring broke (-EPROTO) or guest memory vanished (-EFAULT). It is not served any more. */
  readonly onFault: (errno: number) => void;
}

/** What became of the requests in flight when a ring was to stop. */
export interface StopResult {
  /** Answered with EIO because their data did not come in time. */
  readonly failed: number;
  /** Not answered, and a pool thread may still write into their memory: a disk does not answer. */
  readonly stuck: number;
}

/** How long a pool thread's read is waited for once its ring is to go: it cannot be called back. */
const READ_TIMEOUT_MS = 5_000;
/** How often is looked whether a stopping ring is quiet. */
const POLL_MS = 1;

/** A batch is what a driver may have in flight in practice; a larger one only delays the first reply. */
const BATCH = 32;
/**
 * How many replies, and how long one, may wait to be published while the rest of their batch is served: two small
 * READs, or three lookups.
 */
const PUBLISH_EVERY = 3;
const PUBLISH_AFTER_MS = 0.0033;
/**
 * Waking a driver that has a CPU of its own, barely asleep, costs little: it is told of whatever is published. Where
 * it must share ours, that takes the CPU from us, and the rest of the batch from itself: then it is told more seldom.
 */
const TELL_EVERY_CROWDED = 5;
/** Batches after which messages, timers and the other rings of this thread get their turn. */
const BATCHES_PER_TURN = 16;

/** Joins one virtqueue with the FUSE server of its thread. */
export class RingServer {
  readonly #ring: Ring;
  readonly #server: FuseServer;
  readonly #options: RingServerOptions;
  readonly #again: () => void;
  #stopped = false;
  #faulted = false;
  /** Until when (performance.now) requests of a stopping ring may wait for their data; 0 = nobody waits for answers. */
  #drainUntilMs = 0;
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
    for (let batch = 0; !this.#stopped; batch++) {
      if (batch === BATCHES_PER_TURN) {
        this.#scheduled = true;
        setImmediate(this.#again);
        return;
      }
      const count = ring.pop(BATCH, spinNs);
      if (count > 0) {
        this.#serve(count);
        // Who waits for data is woken by this thread's event loop: do not spin before it.
        spinNs = this.#server.parked.size > 0 ? 0 : this.#options.pollNs;
        continue;
      }
      const more = count < 0 ? count : ring.arm();
      if (more === 0) return;
      if (more < 0) this.#fault(more);
      // Counted as a batch, too: a guest can offer malformed chains, which pop returns at once, without end.
      spinNs = 0;
    }
  }

  #serve(count: number): void {
    const ring = this.#ring;
    const server = this.#server;
    const tellEvery = this.#options.isCrowded() ? TELL_EVERY_CROWDED : 1;
    let published = 0;
    let waiting = 0;
    server.begin();
    let publishedMs = server.nowMs;
    for (let i = 0; i < count - 1; i++) {
      server.serve(ring, ring.popped[i]!);
      const { nowMs } = server;
      if (++waiting < PUBLISH_EVERY && nowMs - publishedMs < PUBLISH_AFTER_MS) continue;
      ring.flush(++published % tellEvery === 0);
      publishedMs = nowMs;
      waiting = 0;
    }
    server.serve(ring, ring.popped[count - 1]!);
    ring.flush(true);
  }

  #fault(errno: number): void {
    this.#stopped = true;
    this.#faulted = true;
    this.#options.onFault(errno);
  }

  /**
   * Takes no more requests, and resolves when the ring may be detached because nothing of it touches guest memory any
   * more.
   *
   * The driver of a ring that is stopped and started again (its VM is paused) does not send anew what was taken. So
   * for `drainMs` requests are served to their end, and those whose data has not come by then are answered with EIO.
   * 0: the guest is gone or was reset, nobody is answered; a second call with 0 ends the wait of a first one.
   */
  async quiesce(drainMs: number): Promise<StopResult> {
    const ring = this.#ring;
    const server = this.#server;
    this.#stopped = true;
    this.#drainUntilMs = drainMs > 0 && !this.#faulted ? performance.now() + drainMs : 0;
    await until(() => server.parked.countOn(ring) === 0 || performance.now() >= this.#drainUntilMs);
    const failed = server.parked.endWaiting(ring, this.#drainUntilMs > 0 ? -Errno.EIO : 0);
    const readUntilMs = performance.now() + READ_TIMEOUT_MS;
    await until(() => server.parked.countOn(ring) === 0 || performance.now() >= readUntilMs);
    const stuck = server.parked.countOn(ring);
    server.parked.abandon(ring);
    return { failed, stuck };
  }
}

async function until(isDone: () => boolean): Promise<void> {
  while (!isDone()) await new Promise((resolve) => setTimeout(resolve, POLL_MS));
}
