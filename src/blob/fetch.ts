import type { Semaphore } from '../lib/semaphore.ts';
import { BlobError } from '../wire/blob-error.ts';
import type { BlobSpec } from '../wire/rafs/blob-spec.ts';
import type { CacheFile } from './cache-file.ts';
import { type ChunkMapFile, isReady, setReady } from './chunk-map.ts';
import type { Chunk, ChunkTable } from './chunk-table.ts';
import type { Codecs } from './codecs.ts';
import type { CacheCounters } from './counters.ts';
import { decodeUnit, verifyChunk } from './decode.ts';
import type { DecodedCache } from './decoded-cache.ts';
import { isContiguous, type PlannedUnit, planRuns, type Run } from './plan.ts';
import type { ChunkRef } from './view.ts';

/** A read is merged up to this many bytes even where amplification is off. */
const MERGE_BYTES_MIN = 128 * 1024;

/** What a fetcher works with. */
export interface FetchParts {
  readonly handle: number;
  readonly spec: BlobSpec;
  readonly table: ChunkTable;
  readonly codecs: Codecs;
  readonly validate: boolean;
  readonly amplifyBytes: number;
  /** Null: nothing is kept. */
  readonly file: CacheFile | null;
  /** `file` holds stored (compressed) bytes. */
  readonly stored: boolean;
  /** Null: readiness is not kept on disk. */
  readonly map: ChunkMapFile | null;
  /** Bits shared with queue workers; null in 'bytes' delivery. */
  readonly ready: Uint8Array | null;
  readonly decoded: DecodedCache;
  readonly room: Semaphore;
  readonly counters: CacheCounters;
  readonly log: (message: string) => void;
  /** Reads the data object from whichever mount's back end is alive. */
  readonly read: (offset: number, into: Uint8Array) => Promise<void>;
}

/** Null: the chunk's bit is set and its bytes are in the cache file. */
type Outcome = Uint8Array | null;

interface Pending {
  readonly chunk: Chunk;
  readonly outcome: Promise<Outcome>;
  readonly resolve: (outcome: Outcome) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Gets chunks that are not ready: one flight per chunk, near chunks in one read. A failure rejects the requests that wait for that chunk
 * and nothing else; the next request tries again.
 */
export class Fetcher {
  readonly #parts: FetchParts;
  readonly #pending = new Map<number, Pending>();
  #queue: Pending[] = [];
  #active = 0;
  #closed = false;
  #idle: (() => void) | null = null;
  #writeErrorLogged = false;

  constructor(parts: FetchParts) {
    this.#parts = parts;
  }

  /** Null when all chunks' bits are set, otherwise the bytes of each chunk in order. */
  async fetch(refs: readonly ChunkRef[]): Promise<Uint8Array[] | null> {
    if (this.#closed) throw new BlobError('BLOB_CLOSED', `blob ${this.#parts.spec.id} is closed`);
    // All references are checked before the first flight starts.
    const chunks = refs.map((ref) => this.#parts.table.locate(ref));
    this.#parts.counters.chunksAsked += chunks.length;
    this.#active++;
    try {
      const outcomes = await Promise.all(chunks.map((chunk) => this.#want(chunk)));
      if (this.#parts.ready && outcomes.every((outcome) => outcome === null)) return null;
      return await Promise.all(outcomes.map((bytes, i) => bytes ?? this.#readBack(chunks[i]!)));
    } finally {
      this.#leave();
    }
  }

  /** Refuses new requests and waits for the flights. */
  async close(): Promise<void> {
    this.#closed = true;
    if (this.#active > 0) await new Promise<void>((resolve) => (this.#idle = resolve));
  }

  #leave(): void {
    this.#active--;
    if (this.#active === 0) this.#idle?.();
  }

  #want(chunk: Chunk): Promise<Outcome> {
    const { ready, decoded, handle } = this.#parts;
    if (ready && isReady(ready, chunk.index)) return Promise.resolve(null);
    const bytes = ready ? undefined : decoded.get(handle, chunk.key);
    // Without an index two different records may claim one place.
    if (bytes && bytes.length === chunk.uncompressedSize) return Promise.resolve(bytes);
    const pending = this.#pending.get(chunk.key);
    if (pending) return pending.outcome;
    const added = this.#add(chunk);
    this.#queue.push(added);
    // Requests of the same turn of the event loop are planned together.
    if (this.#queue.length === 1) queueMicrotask(() => void this.#flush());
    return added.outcome;
  }

  #add(chunk: Chunk): Pending {
    const { promise, resolve, reject } = Promise.withResolvers<Outcome>();
    promise.catch(() => {}); // Nobody waits for an amplified chunk.
    const pending = { chunk, outcome: promise, resolve, reject };
    this.#pending.set(chunk.key, pending);
    return pending;
  }

  async #flush(): Promise<void> {
    const queue = this.#queue;
    this.#queue = [];
    this.#active++;
    const missing: Chunk[] = [];
    try {
      await Promise.all(
        queue.map(async ({ chunk }) => {
          if (!(await this.#recover(chunk))) missing.push(chunk);
        }),
      );
      if (missing.length === 0) return;
      this.#amplify(missing);
      const mergeBytes = Math.max(MERGE_BYTES_MIN, this.#parts.amplifyBytes);
      const runs = planRuns(missing, mergeBytes);
      await Promise.all(runs.map((run) => this.#parts.room.run(() => this.#fly(run))));
    } catch (error) {
      for (const { chunk } of queue) this.#fail(chunk, error);
      for (const chunk of missing) this.#fail(chunk, error);
    } finally {
      this.#leave();
    }
  }

  /** Settles the chunk from the cache if it is there: this or another process may have written it. */
  async #recover(chunk: Chunk): Promise<boolean> {
    const { file, map, ready, validate, room } = this.#parts;
    if (!file) return false;
    // Without a map the cached bytes are tried, and believed if their digest is right.
    if (map && !map.has(chunk.index)) return false;
    if (ready && map && !validate) {
      this.#succeed(chunk, null, true);
      return true;
    }
    const bytes = await room.run(() => this.#readVerified(chunk));
    if (bytes) this.#succeed(chunk, ready ? null : bytes, true);
    return bytes !== null;
  }

  /** The chunk's bytes out of the cache file, or null if they are not what they should be. */
  async #readVerified(chunk: Chunk): Promise<Uint8Array | null> {
    const { spec, codecs, validate, map } = this.#parts;
    try {
      const bytes = await this.#readBack(chunk);
      verifyChunk(spec, codecs, chunk, bytes, validate);
      return bytes;
    } catch (error) {
      // Without a map the first look at a chunk finds a hole: nothing is wrong.
      if (map) this.#reportCorrupt(chunk, error);
      return null;
    }
  }

  #reportCorrupt(chunk: Chunk, error: unknown): void {
    this.#parts.counters.chunksCorrupt++;
    this.#parts.log(
      `cache of blob ${this.#parts.spec.id}, chunk ${chunk.index} is fetched anew: ${(error as Error).message}`,
    );
    try {
      this.#parts.map?.clear(chunk.index);
    } catch {
      // The bit stays; whoever validates finds the same.
    }
  }

  async #readBack(chunk: Chunk): Promise<Uint8Array> {
    const { file, stored, spec, codecs } = this.#parts;
    const place = stored ? chunk.unit.start : chunk.uncompressedOffset;
    const size = stored ? chunk.unit.size : chunk.uncompressedSize;
    const bytes = (await file?.read(place, size)) ?? null;
    if (!bytes)
      throw new BlobError('BLOB_CORRUPT', `cache of blob ${spec.id} ends before offset ${place + size}`);
    return stored ? cut(await decodeUnit(spec, codecs, chunk.unit, bytes), chunk) : bytes;
  }

  /** Extends `missing` by chunks that follow in the blob, are not there and come cheaply with the same read. */
  #amplify(missing: Chunk[]): void {
    for (const chunk of missing.slice()) if (chunk.context >= 0) this.#addSiblings(chunk, missing);
    if (this.#parts.amplifyBytes === 0 || this.#parts.file === null) return;
    const asked = missing.slice().sort((a, b) => a.index - b.index);
    for (const [i, chunk] of asked.entries()) {
      if (asked[i + 1]?.index === chunk.index + 1) continue;
      this.#extend(chunk, missing);
    }
  }

  /** The other members of a batch or slice: they are decoded anyway. */
  #addSiblings(chunk: Chunk, missing: Chunk[]): void {
    if (this.#parts.file === null) return;
    for (const step of [-1, 1]) {
      for (let index = chunk.index + step; ; index += step) {
        const sibling = this.#parts.table.at(index);
        if (!sibling || sibling.unit !== chunk.unit) break;
        if (this.#isWanted(sibling)) this.#take(sibling, missing);
      }
    }
  }

  #extend(from: Chunk, missing: Chunk[]): void {
    const { table, amplifyBytes } = this.#parts;
    const start = from.unit.start;
    let end = start + from.unit.size;
    for (let index = from.index + 1; end - start < amplifyBytes; index++) {
      const next = table.at(index);
      if (!next) return;
      const nextEnd = next.unit.start + next.unit.size;
      if (next.unit.start < start || nextEnd - start > amplifyBytes) return;
      if (!isContiguous(end, next.unit.start, end - start) || !this.#isWanted(next)) return;
      this.#take(next, missing);
      end = Math.max(end, nextEnd);
    }
  }

  #take(chunk: Chunk, missing: Chunk[]): void {
    this.#add(chunk);
    missing.push(chunk);
    this.#parts.counters.chunksAmplified++;
  }

  #isWanted(chunk: Chunk): boolean {
    const { ready, map, validate } = this.#parts;
    if (this.#pending.has(chunk.key) || (validate && chunk.digest === null)) return false;
    if (ready && isReady(ready, chunk.index)) return false;
    return !map?.has(chunk.index);
  }

  async #fly(run: Run): Promise<void> {
    const { counters, read } = this.#parts;
    const size = run.end - run.start;
    counters.bufferedBytes += size;
    try {
      const bytes = Buffer.allocUnsafeSlow(size);
      await read(run.start, bytes);
      await Promise.all(
        run.units.map((planned) => {
          const at = planned.unit.start - run.start;
          return this.#land(planned, bytes.subarray(at, at + planned.unit.size));
        }),
      );
    } catch (error) {
      for (const { chunks } of run.units) for (const chunk of chunks) this.#fail(chunk, error);
    } finally {
      counters.bufferedBytes -= size;
    }
  }

  /** Decodes one unit, keeps its chunks and settles them. */
  async #land({ unit, chunks }: PlannedUnit, bytes: Uint8Array): Promise<void> {
    const { spec, codecs, validate, stored, file, ready } = this.#parts;
    try {
      const plain = await decodeUnit(spec, codecs, unit, bytes);
      const good: Chunk[] = [];
      for (const chunk of chunks) {
        try {
          verifyChunk(spec, codecs, chunk, cut(plain, chunk), validate);
          good.push(chunk);
        } catch (error) {
          this.#fail(chunk, error);
        }
      }
      const kept = file !== null && stored && good.length > 0 ? await this.#keep(unit.start, bytes) : false;
      for (const chunk of good) {
        const piece = cut(plain, chunk);
        const done = file && !stored ? await this.#keep(chunk.uncompressedOffset, piece) : kept;
        if (done) this.#markOnDisk(chunk);
        this.#parts.counters.chunksFetched++;
        this.#succeed(chunk, ready && done ? null : owned(piece), done);
      }
    } catch (error) {
      for (const chunk of chunks) this.#fail(chunk, error);
    }
  }

  /** False when the cache cannot take the bytes (disk full): the request is answered all the same. */
  async #keep(offset: number, bytes: Uint8Array): Promise<boolean> {
    try {
      await this.#parts.file!.write(offset, bytes);
      return true;
    } catch (error) {
      this.#reportWriteError(error);
      return false;
    }
  }

  #markOnDisk(chunk: Chunk): void {
    try {
      this.#parts.map?.set(chunk.index);
    } catch (error) {
      this.#reportWriteError(error);
    }
  }

  #reportWriteError(error: unknown): void {
    this.#parts.counters.writeErrors++;
    if (this.#writeErrorLogged) return;
    this.#writeErrorLogged = true;
    const { spec, log } = this.#parts;
    log(
      `cache of blob ${spec.id}: ${(error as Error).message}; reads go on without the cache where it fails`,
    );
  }

  /** `cached`: the bytes are in the cache file, so the bit may be set. */
  #succeed(chunk: Chunk, outcome: Outcome, cached: boolean): void {
    const { ready, decoded, handle, counters } = this.#parts;
    if (ready && cached) setReady(ready, chunk.index);
    if (!ready && outcome) decoded.put(handle, chunk.key, outcome);
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
}

function cut(plain: Uint8Array, chunk: Pick<Chunk, 'unitPosition' | 'uncompressedSize'>): Uint8Array {
  return plain.subarray(chunk.unitPosition, chunk.unitPosition + chunk.uncompressedSize);
}

/** A copy if `bytes` is a part of a larger buffer which it would keep alive. */
function owned(bytes: Uint8Array): Uint8Array {
  return bytes.byteLength === bytes.buffer.byteLength ? bytes : bytes.slice();
}
