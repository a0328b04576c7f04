import { closeSync } from 'node:fs';
import type { BlobSpec } from '../wire/rafs/blob-spec.ts';
import type { BackendCounters, CacheCounters } from './counters.ts';
import type { Fetcher, FetchOptions } from './fetch.ts';
import type { CachedChunk, OpenCache } from './open-cache.ts';
import { type BlobSource, type ReadOptions, SourceError, UNHURRIED } from './source.ts';
import type { BlobView, ChunkRef } from './view.ts';

/** What an open blob owns. */
interface BlobParts {
  readonly spec: BlobSpec;
  readonly view: BlobView;
  /** Null: every chunk is ready (tarfs). */
  readonly fetcher: Fetcher | null;
  readonly cache: OpenCache | null;
  readonly counters: CacheCounters;
  readonly backend: BackendCounters;
}

/** An open blob of one or more mounts. Made by `BlobStore.open`. */
export class Blob {
  readonly #parts: BlobParts;

  constructor(parts: BlobParts) {
    this.#parts = parts;
  }

  /** Process-wide number, never used again in this process. */
  get handle(): number {
    return this.#parts.view.handle;
  }

  get id(): string {
    return this.#parts.spec.id;
  }

  get counters(): CacheCounters {
    return this.#parts.counters;
  }

  get backendCounters(): BackendCounters {
    return this.#parts.backend;
  }

  /** The files it is kept in; the store closes them. */
  get cache(): OpenCache | null {
    return this.#parts.cache;
  }

  /** Name of the cache file for metrics; null if nothing is kept. */
  get cachePath(): string | null {
    return this.#parts.cache?.file.path ?? null;
  }

  /** What queue workers need; may be sent to them as it is. */
  view(): BlobView {
    return this.#parts.view;
  }

  /**
   * Null: the chunks' bits are set. Otherwise each chunk's uncompressed bytes, in order. Rejects with BlobError or
   * SourceError.
   */
  async fetch(chunks: readonly ChunkRef[], options: FetchOptions = UNHURRIED): Promise<Uint8Array[] | null> {
    return this.#parts.fetcher ? this.#parts.fetcher.fetch(chunks, options) : null;
  }

  /**
   * Gives the room of chunks in an uncompressed cache file back to the disk, readers or not; the next read fetches
   * them anew. Answers how many bytes that were: chunks on their way stay. No other process may serve from the file.
   */
  evict(chunks: readonly CachedChunk[]): number {
    const { cache, view } = this.#parts;
    return cache !== null && view.ready !== null ? cache.evict(chunks) : 0;
  }

  /**
   * Ends what is on its way: queue workers must have dropped the view before. `BlobStore.close` calls this, and then
   * closes the cache.
   */
  async dispose(): Promise<void> {
    const { fetcher, cache, view } = this.#parts;
    await fetcher?.close();
    if (cache === null && view.fd >= 0) closeSync(view.fd);
  }
}

/** A mount's back end, and whether the mount is still there. */
interface SharingSource {
  readonly source: BlobSource;
  readonly gone: AbortController;
}

/**
 * The back ends of the mounts that share a blob: a mount may go while others read on, and one that fails yields to the
 * others.
 */
export class SharedSource {
  #sources: SharingSource[] = [];

  add(source: BlobSource): void {
    this.#sources.push({ source, gone: new AbortController() });
  }

  /** Reads through this source go on through another. */
  remove(source: BlobSource): void {
    const found = this.#sources.find((one) => one.source === source);
    this.#sources = this.#sources.filter((one) => one !== found);
    found?.gone.abort();
  }

  /** How many mounts there are to read through. */
  get count(): number {
    return this.#sources.length;
  }

  /**
   * Reads through one source. One that failed, or whose mount went, is last from then on: who tries again, with a
   * buffer that nobody writes to any more, reads through another.
   */
  async read(objectId: string, offset: number, into: Uint8Array, options: ReadOptions): Promise<void> {
    const first = this.#sources[0];
    if (first === undefined) throw new SourceError('SOURCE_IO', `no mount reads ${objectId} any more`);
    // By hand: what AbortSignal.any makes stays with its signals, and a mount's lives as long as the mount.
    const either = new AbortController();
    const end = () => either.abort();
    const signals = [first.gone.signal, ...(options.signal === null ? [] : [options.signal])];
    for (const signal of signals) {
      if (signal.aborted) end();
      signal.addEventListener('abort', end, { once: true });
    }
    try {
      await first.source.read(objectId, offset, into, { ...options, signal: either.signal });
    } catch (error) {
      if (this.#sources.includes(first)) {
        this.#sources = [...this.#sources.filter((one) => one !== first), first];
      }
      throw error;
    } finally {
      for (const signal of signals) signal.removeEventListener('abort', end);
    }
  }
}
