/**
 * Runs a target: iteration after iteration, each with its own randomness, watched for hangs and for what it does not
 * give back.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import type { Addon } from '../../src/native/addon.ts';
import { iterationRandom, type Random } from './random.ts';

/** What became of the mutated inputs; targets may count more. */
export interface Counts {
  accepted: number;
  refused: number;
  [what: string]: number;
}

/** What fuzzes one thing. `iterate` throws what it finds. */
export interface Target {
  iterate(random: Random, counts: Counts): void | Promise<void>;
  close(): void | Promise<void>;
}

export type MakeTarget = (addon: Addon) => Target | Promise<Target>;

export interface RunOptions {
  readonly seed: number;
  /** First iteration: to repeat one alone. */
  readonly from?: number;
  readonly iterations?: number;
  readonly seconds?: number;
  /** An iteration that takes longer hangs. */
  readonly hangMs?: number;
}

export interface RunResult extends Counts {
  iterations: number;
}

/** Iterations after which pools and caches have what they keep. */
const WARM_UP = 50;
const CHECK_EVERY = 500;
const RSS_GROWTH_MAX = 400 << 20;

/** What the process holds of the kernel's. */
interface Holdings {
  readonly fds: number;
  readonly mappings: number;
}

function holdings(): Holdings {
  const mappings = readFileSync('/proc/self/maps', 'latin1').split('\n');
  return {
    fds: readdirSync('/proc/self/fd').length,
    mappings: mappings.filter((line) => line.includes('/memfd:')).length,
  };
}

function openFiles(): string {
  const names = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return 'gone';
    }
  });
  const counts = new Map<string, number>();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  return [...counts].map(([name, count]) => `${count} × ${name}`).join(', ');
}

/** Throws when there is more than after the warm-up, also after pool threads and handles had time to end. */
async function checkHoldings(before: Holdings, rssBefore: number): Promise<void> {
  let now = holdings();
  for (let n = 0; n < 100 && (now.fds > before.fds || now.mappings > before.mappings); n++) {
    await sleep(20);
    now = holdings();
  }
  if (now.fds > before.fds) throw new Error(`${now.fds - before.fds} descriptors leaked: ${openFiles()}`);
  if (now.mappings > before.mappings) {
    throw new Error(`${now.mappings - before.mappings} mappings of guest memory leaked`);
  }
  const grown = process.memoryUsage.rss() - rssBefore;
  if (grown > RSS_GROWTH_MAX) throw new Error(`the process grew by ${grown >> 20} MiB`);
}

/** Runs until the iterations or seconds are over. Throws an Error that names seed and iteration of what was found. */
export async function run(
  name: string,
  make: MakeTarget,
  addon: Addon,
  options: RunOptions,
): Promise<RunResult> {
  const { seed, from = 0, iterations = Number.POSITIVE_INFINITY, hangMs = 20_000 } = options;
  const end = performance.now() + (options.seconds ?? Number.POSITIVE_INFINITY) * 1000;
  const beats = new Int32Array(new SharedArrayBuffer(12));
  const watchdog = new Worker(new URL('watchdog.ts', import.meta.url), {
    workerData: { beats, limitMs: hangMs, name },
    execArgv: [],
  });
  // It loads with this thread's help: it must watch before anything can hang.
  await new Promise((resolve, reject) => watchdog.once('message', resolve).once('error', reject));
  const target = await make(addon);
  const counts: Counts = { accepted: 0, refused: 0 };
  let done = 0;
  let before: Holdings | null = null;
  let rssBefore = 0;
  beats[1] = seed;
  try {
    for (; done < iterations && performance.now() < end; done++) {
      beats[2] = from + done;
      Atomics.add(beats, 0, 1);
      await target.iterate(iterationRandom(seed, from + done), counts);
      if (done === WARM_UP) {
        await sleep(20);
        before = holdings();
      }
      if (done === CHECK_EVERY) rssBefore = process.memoryUsage.rss();
      if (before !== null && done > CHECK_EVERY && done % CHECK_EVERY === 0)
        await checkHoldings(before, rssBefore);
    }
    if (before !== null) await checkHoldings(before, rssBefore || process.memoryUsage.rss());
  } catch (error) {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    throw new Error(`${name}: seed ${seed}, iteration ${from + done}: ${text}`, { cause: error });
  } finally {
    await target.close();
    await watchdog.terminate();
  }
  return { ...counts, iterations: done };
}
