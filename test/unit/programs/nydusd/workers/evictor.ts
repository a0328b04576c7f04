/** Evicts chunks of a cache file and puts them back at once, over and over, until it is told to stop. */
import { writeSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import type { CacheFile } from '../../../../../src/blob/cache-file.ts';
import { setReady } from '../../../../../src/blob/chunk-map.ts';
import { type CachedChunk, type EvictionCount, OpenCache } from '../../../../../src/blob/open-cache.ts';

/** What the thread is given. */
export interface EvictorTask {
  readonly fd: number;
  readonly ready: SharedArrayBuffer;
  readonly evictions: SharedArrayBuffer;
  readonly chunks: readonly (CachedChunk & { readonly bytes: Uint8Array })[];
  /** `[0]` not 0: stop; `[1]`: evictions so far. */
  readonly control: SharedArrayBuffer;
}

const task = workerData as EvictorTask;
const ready = new Uint8Array(task.ready);
const word = new Int32Array(task.evictions);
const control = new Int32Array(task.control);
const count = { raise: () => void Atomics.add(word, 0, 1) } as unknown as EvictionCount;
const cache = new OpenCache({ fd: task.fd } as CacheFile, null, count);
cache.join({ ready, isFetching: () => false });
for (let i = 0; Atomics.load(control, 0) === 0; i++) {
  const chunk = task.chunks[i % task.chunks.length]!;
  cache.evict([chunk]);
  writeSync(task.fd, chunk.bytes, 0, chunk.size, chunk.offset);
  setReady(ready, chunk.index);
  Atomics.add(control, 1, 1);
}
parentPort!.close();
