import { PATIENT, type Patience, within } from '../lib/deadline.ts';
import type { Gate } from '../lib/gate.ts';
import type { ByteLru } from '../lib/lru.ts';
import { BlobError } from '../wire/blob-error.ts';
import { amplified } from './amplify.ts';
import { isReady, setReady } from './chunk-map.ts';
import type { Chunk, ChunkTable } from './chunk-table.ts';
import type { CacheCounters } from './counters.ts';
import { Flight } from './flight.ts';
import { type Landed, type LandParts, landUnit } from './land.ts';
import type { CacheUser, OpenCache } from './open-cache.ts';
import { planRuns, type Run } from './plan.ts';
import { isMoreUrgent, type Priority, priorities, type ReadOptions } from './source.ts';
import type { ChunkRef } from './view.ts';

/** A read is merged up to this many bytes even where amplification is off. */
const MERGE_BYTES_MIN = 128 * 1024;
/** How long one read of a back end may take, whoever waits for it. */
const READ_MS_MAX = 60_000;

/** What a fetcher works with. */
interface FetchParts extends LandParts {
  readonly handle: number;
  readonly table: ChunkTable;
  /** A back-end read is extended over following chunks up to this many bytes; 0: never. */
  readonly amplifyBytes: number;
  /** Null: nothing is kept. */
  readonly cache: OpenCache | null;
  /** The cache holds stored (compressed) bytes. */
  readonly stored: boolean;
  /** Bits shared with queue workers; null in 'bytes' delivery. */
  readonly ready: Uint8Array | null;
  /** Decoded chunks of caches that have none, by handle and key. */
  readonly decoded: ByteLru;
  /** Units that are decoded at a time, over all blobs. */
  readonly landings: Readonly<Record<Priority, Gate>>;
  readonly counters: CacheCounters;
  readonly log: (message: string) => void;
  /** Reads the data object from whichever mount's back end is alive. */
  readonly read: (offset: number, into: Uint8Array, options: ReadOptions) => Promise<void>;
  /** How many mounts' back ends there are. */
  readonly sourceCount: () => number;
}

/** Who asks for chunks. */
export interface FetchOptions extends Patience {
  readonly priority: Priority;
}

/** Null: the chunk's bit is set and its bytes are in the cache file. */
type Outcome = Uint8Array | null;

interface Pending {
  readonly chunk: Chunk;
  priority: Priority;
  flight: Flight | null;
  readonly outcome: Promise<Outcome>;
  readonly resolve: (outcome: Outcome) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Gets chunks that are not ready: one flight per chunk, near chunks in one read. A failure rejects the requests that
 * wait for that chunk and nothing else; the next request tries again.
 */
export class Fetcher implements CacheUser {
  readonly #parts: FetchParts;
  readonly #pending = new Map<number, Pending>();
  readonly #flights = new Set<Flight>();
  #queue: Pending[] = [];
  #active = 0;
  #closed = false;
  #idle: (() => void) | null = null;
  #writeErrorLogged = false;

  constructor(parts: FetchParts) {
    this.#parts = parts;
    parts.cache?.join(this);
  }

  get ready(): Uint8Array | null {
    return this.#parts.ready;
  }

  isFetching(index: number): boolean {
    // Blobs whose chunks are known by another key than their index have no bits, and nothing is evicted of them.
    return this.#pending.has(index);
  }

  /** Null when all chunks' bits are set, otherwise the bytes of each chunk in order. */
  async fetch(refs: readonly ChunkRef[], options: FetchOptions): Promise<Uint8Array[] | null> {
    if (this.#closed) throw this.#gone();
    // All references are checked before the first flight starts.
    const chunks = refs.map((ref) => this.#parts.table.locate(ref));
    this.#parts.counters.chunksAsked += chunks.length;
    const all = Promise.all(chunks.map((chunk) => this.#want(chunk, options.priority)));
    const outcomes = await within(all, options, (why) => this.#late(why));
    if (this.#parts.ready && outcomes.every((outcome) => outcome === null)) return null;
    return Promise.all(outcomes.map((bytes, i) => bytes ?? this.#readBack(chunks[i]!, options.priority)));
  }

  /**
   * Refuses new requests, fails those that wait, and waits until nothing touches the cache any more. A back end is
   * not waited for.
   */
  async close(): Promise<void> {
    this.#closed = true;
    for (const flight of this.#flights) flight.cancel();
    for (const { chunk } of [...this.#pending.values()]) this.#fail(chunk, this.#gone());
    if (this.#active > 0) await new Promise<void>((resolve) => (this.#idle = resolve));
    this.#parts.cache?.leave(this);
  }

  #gone(): BlobError {
    return new BlobError('BLOB_CLOSED', `blob ${this.#parts.spec.id} is closed`);
  }

  #late(why: 'deadline' | 'signal'): BlobError {
    const { id } = this.#parts.spec;
    return why === 'deadline'
      ? new BlobError('BLOB_TIMEOUT', `blob ${id}: chunks did not come before the deadline`)
      : new BlobError('BLOB_CLOSED', `blob ${id}: nobody waits for these chunks any more`);
  }

  /** Runs `work`, which uses the cache files: `close` waits for it. */
  async #using<T>(work: () => Promise<T>): Promise<T> {
    this.#active++;
    try {
      return await work();
    } finally {
      this.#active--;
      if (this.#active === 0) this.#idle?.();
    }
  }

  #want(chunk: Chunk, priority: Priority): Promise<Outcome> {
    const { ready, decoded } = this.#parts;
    if (ready && isReady(ready, chunk.index)) return Promise.resolve(null);
    const bytes = ready ? undefined : decoded.get(this.#name(chunk));
    // Without an index two different records may claim one place.
    if (bytes && bytes.length === chunk.uncompressedSize) return Promise.resolve(bytes);
    const pending = this.#pending.get(chunk.key);
    if (pending) {
      this.#promote(pending, priority);
      return pending.outcome;
    }
    const added = this.#add(chunk, priority);
    this.#queue.push(added);
    // Requests of the same turn of the event loop are planned together.
    if (this.#queue.length === 1) queueMicrotask(() => this.#flush());
    return added.outcome;
  }

  #promote(pending: Pending, priority: Priority): void {
    if (!isMoreUrgent(priority, pending.priority)) return;
    pending.priority = priority;
    pending.flight?.promote(priority);
  }

  #add(chunk: Chunk, priority: Priority): Pending {
    const { promise, resolve, reject } = Promise.withResolvers<Outcome>();
    promise.catch(() => {}); // Nobody waits for an amplified chunk.
    const pending: Pending = { chunk, priority, flight: null, outcome: promise, resolve, reject };
    this.#pending.set(chunk.key, pending);
    return pending;
  }

  /** Each priority by itself: demand does not wait for the look at what is read ahead. */
  #flush(): void {
    const queue = this.#queue;
    this.#queue = [];
    for (const priority of priorities) {
      const asked = queue.filter((one) => one.priority === priority);
      if (asked.length > 0) void this.#using(() => this.#gather(asked));
    }
  }

  async #gather(asked: readonly Pending[]): Promise<void> {
    const missing: Pending[] = [];
    try {
      await Promise.all(
        asked.map(async (pending) => {
          if (!(await this.#recover(pending))) missing.push(pending);
        }),
      );
      // The daemon may have let the blob go while its cache was read; somebody more urgent may have come.
      const wanted = missing.filter(({ chunk }) => this.#pending.has(chunk.key));
      for (const priority of priorities) {
        const chunks = wanted.filter((one) => one.priority === priority).map(({ chunk }) => chunk);
        if (chunks.length > 0) this.#launch(chunks, priority);
      }
    } catch (error) {
      for (const { chunk } of asked) this.#fail(chunk, error);
    }
  }

  #launch(chunks: Chunk[], priority: Priority): void {
    const { cache, table, amplifyBytes, counters } = this.#parts;
    const more = cache === null ? [] : amplified(chunks, table, amplifyBytes, (one) => this.#isWanted(one));
    for (const chunk of more) this.#add(chunk, priority);
    counters.chunksAmplified += more.length;
    const runs = planRuns([...chunks, ...more], Math.max(MERGE_BYTES_MIN, amplifyBytes));
    for (const run of runs) {
      // A flight reports its chunks itself; what it throws is a defect, and nobody must wait for it for ever.
      this.#using(() => this.#fly(run, priority)).catch((error: unknown) => {
        for (const { chunks: lost } of run.units) for (const chunk of lost) this.#fail(chunk, error);
      });
    }
  }

  async #fly(run: Run, priority: Priority): Promise<void> {
    const { cache, stored, counters, landings, read } = this.#parts;
    const size = run.end - run.start;
    const flight = new Flight(
      {
        ...this.#parts,
        landings,
        read,
        file: cache !== null && !stored ? cache.file : null,
        keepStored: cache !== null && stored ? (at, bytes) => this.#keepStored(at, bytes) : null,
        onLanded: (landed) => this.#landed(landed),
        onFailed: (chunk, error) => this.#fail(chunk, error),
      },
      run,
      priority,
      performance.now() + READ_MS_MAX,
    );
    for (const { chunks } of run.units) {
      for (const { key } of chunks) {
        const pending = this.#pending.get(key);
        if (pending) pending.flight = flight;
      }
    }
    this.#flights.add(flight);
    counters.bufferedBytes += size;
    try {
      await flight.fly();
    } finally {
      counters.bufferedBytes -= size;
      this.#flights.delete(flight);
    }
  }

  /** Settles the chunk from the cache if it is there: this or another process may have written it. */
  async #recover({ chunk, priority }: Pending): Promise<boolean> {
    const { cache, ready, validate } = this.#parts;
    if (!cache) return false;
    const { map } = cache;
    // Without a map the cached bytes are tried, and believed if their digest is right.
    if (map && !cache.has(chunk.index)) return false;
    if (ready && map && !validate) {
      this.#succeed(chunk, null, true);
      return true;
    }
    const bytes = await this.#readVerified(chunk, priority);
    if (bytes) this.#succeed(chunk, ready ? null : bytes, true);
    return bytes !== null;
  }

  /** The chunk's bytes out of the cache file, or null if they are not what they should be. */
  async #readVerified(chunk: Chunk, priority: Priority): Promise<Uint8Array | null> {
    try {
      return await this.#readBack(chunk, priority);
    } catch (error) {
      // Without a map the first look at a chunk finds a hole: nothing is wrong.
      if (this.#parts.cache?.map) this.#reportCorrupt(chunk, error);
      return null;
    }
  }

  #reportCorrupt(chunk: Chunk, error: unknown): void {
    const { counters, spec, log, cache } = this.#parts;
    counters.chunksCorrupt++;
    log(`cache of blob ${spec.id}, chunk ${chunk.index} is fetched anew: ${(error as Error).message}`);
    cache?.distrust(chunk.index);
  }

  /** Reads the chunk out of the cache file and verifies it. */
  #readBack(chunk: Chunk, priority: Priority): Promise<Uint8Array> {
    return this.#using(async () => {
      const { cache, stored, spec, landings } = this.#parts;
      const leave = await landings[priority].enter(PATIENT, (why) => this.#late(why));
      try {
        const place = stored ? chunk.unit.start : chunk.uncompressedOffset;
        const size = stored ? chunk.unit.size : chunk.uncompressedSize;
        const bytes = (await cache?.file.read(place, size)) ?? null;
        if (!bytes)
          throw new BlobError('BLOB_CORRUPT', `cache of blob ${spec.id} ends before offset ${place + size}`);
        const unit = stored ? chunk.unit : plainUnit(chunk);
        const [landed] = await landUnit(this.#parts, unit, [stored ? chunk : alone(chunk)], bytes, null);
        if (landed!.error) throw landed!.error;
        return landed!.bytes;
      } finally {
        leave();
      }
    });
  }

  /** Whether a chunk that nobody asked for may be read along. */
  #isWanted(chunk: Chunk): boolean {
    const { ready, cache, validate } = this.#parts;
    if (this.#pending.has(chunk.key) || (validate && chunk.digest === null)) return false;
    if (ready && isReady(ready, chunk.index)) return false;
    return !cache?.has(chunk.index);
  }

  /** The error of the file when the cache cannot take the bytes (disk full): the request is answered all the same. */
  async #keepStored(offset: number, bytes: Uint8Array): Promise<Error | null> {
    try {
      await this.#parts.cache!.file.write(offset, bytes);
      return null;
    } catch (error) {
      return error as Error;
    }
  }

  #landed({ chunk, bytes, error, writeError }: Landed): void {
    if (error) {
      this.#fail(chunk, error);
      return;
    }
    const { cache, ready, counters } = this.#parts;
    if (writeError) this.#reportWriteError(writeError);
    const isCached = cache !== null && writeError === null;
    if (isCached) this.#markOnDisk(chunk);
    counters.chunksFetched++;
    this.#succeed(chunk, ready && isCached ? null : owned(bytes), isCached);
  }

  #markOnDisk(chunk: Chunk): void {
    try {
      this.#parts.cache?.mark(chunk.index);
    } catch (error) {
      this.#reportWriteError(error as Error);
    }
  }

  #reportWriteError(error: Error): void {
    this.#parts.counters.writeErrors++;
    if (this.#writeErrorLogged) return;
    this.#writeErrorLogged = true;
    const { spec, log } = this.#parts;
    log(`cache of blob ${spec.id}: ${error.message}; reads go on without the cache where it fails`);
  }

  /** `cached`: the bytes are in the cache file, so the bit may be set. */
  #succeed(chunk: Chunk, outcome: Outcome, cached: boolean): void {
    const { ready, decoded, counters } = this.#parts;
    if (ready && cached) setReady(ready, chunk.index);
    if (!ready && outcome) decoded.put(this.#name(chunk), outcome);
    const pending = this.#pending.get(chunk.key);
    if (!pending) return;
    if (cached) counters.chunksFromCache++;
    this.#pending.delete(chunk.key);
    pending.resolve(outcome);
  }

  #fail(chunk: Chunk, error: unknown): void {
    const pending = this.#pending.get(chunk.key);
    if (!pending) return;
    this.#pending.delete(chunk.key);
    pending.reject(error);
  }

  #name(chunk: Chunk): string {
    return `${this.#parts.handle}:${chunk.key}`;
  }
}

/** The chunk as uncompressed caches have it: bytes in clear, a unit of its own. */
function plainUnit({ uncompressedSize }: Chunk): Chunk['unit'] {
  const plain = { compressed: false, encrypted: false, batch: false, zran: null };
  return { start: 0, size: uncompressedSize, uncompressedSize, ...plain };
}

function alone(chunk: Chunk): Chunk {
  return { ...chunk, unitPosition: 0 };
}

/** A copy if `bytes` is a part of a larger buffer which it would keep alive. */
function owned(bytes: Uint8Array): Uint8Array {
  return bytes.byteLength === bytes.buffer.byteLength ? bytes : bytes.slice();
}
