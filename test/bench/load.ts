import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import type { DriverRing, GuestMemory } from '../support/driver.ts';
import { pack } from './requests.ts';

/** What a run of the load loop found (addon/test/load.cc). */
export interface Outcome {
  readonly operations: number;
  readonly errors: number;
  readonly badLengths: number;
  readonly elapsedNs: number;
  readonly kicks: number;
  readonly sleeps: number;
  readonly replyBytes: number;
  readonly endIndex: number;
  readonly failure: string;
  /** A sample of latencies, unsorted. */
  readonly latencyNs: Uint32Array;
}

/** One operation of the benchmark: requests to choose from at random, and what the reply may need. */
export interface Load {
  readonly requests: readonly Uint8Array[];
  /** Writable bytes of every request, out header included. */
  readonly writable: number;
  readonly openRelease?: boolean;
  /** One request after the other, instead of any. */
  readonly inOrder?: boolean;
}

export interface LoadOptions {
  readonly depth: number;
  readonly count: number;
  /** The responder is a thread of the loop itself: its own ceiling. */
  readonly echo?: boolean;
}

const SLOT_OVERHEAD = 8192 + 4096 + 4096;

interface Runner {
  runLoad(plan: Record<string, unknown>): Promise<Outcome>;
}

let runner: Runner | null = null;

function load(): Runner {
  const path = join(resolve(import.meta.dirname, '../..'), 'build/nydus-test.node');
  runner ??= createRequire(import.meta.url)(path) as Runner;
  return runner;
}

/** Runs a load on one ring. Nobody else may use the ring meanwhile. Throws when a reply is missing or wrong. */
export async function runLoad(
  memory: GuestMemory,
  ring: DriverRing,
  what: Load,
  options: LoadOptions,
): Promise<Outcome> {
  const pages = Math.ceil(what.writable / 4096);
  const bytes = options.depth * (SLOT_OVERHEAD + pages * 4096) + 4096;
  const area = memory.allocate(bytes);
  const startIndex = ring.suspend();
  try {
    const outcome = await load().runLoad({
      memFd: memory.fd,
      memSize: memory.size / 2,
      kickFd: ring.kickFd,
      callFd: ring.callFd,
      descAt: ring.desc,
      availAt: ring.avail,
      usedAt: ring.used,
      areaAt: (area + 4095) & ~4095,
      queueSize: ring.num,
      depth: options.depth,
      writable: what.writable,
      spinNs: 0,
      startIndex,
      count: options.count,
      openRelease: what.openRelease === true,
      inOrder: what.inOrder === true,
      scatterPages: true,
      echo: options.echo === true,
      ...pack(what.requests),
    });
    if (outcome.failure !== '') throw new Error(outcome.failure);
    if (outcome.errors > 0 || outcome.badLengths > 0) {
      throw new Error(`${outcome.errors} replies with an error, ${outcome.badLengths} with a wrong used.len`);
    }
    ring.resume(outcome.endIndex);
    return outcome;
  } finally {
    memory.free(area, bytes);
  }
}

/** The middle value. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? Number.NaN;
}
