import { closeSync } from 'node:fs';
import { gaveUp } from '../lib/deadline.ts';
import type { BlobSpec } from '../wire/rafs/blob-spec.ts';
import type { BackendCounters, CacheCounters } from './counters.ts';
import type { Fetcher, FetchOptions } from './fetch.ts';
import type { CachedChunk, OpenCache } from './open-cache.ts';
import { type BlobSource, type ReadOptions, UNHURRIED } from './source.ts';
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

/** The back ends of the mounts that share a blob: a mount may go while others read on. */
export class SharedSource {
  readonly #sources: BlobSource[] = [];

  add(source: BlobSource): void {
    this.#sources.push(source);
  }

  remove(source: BlobSource): void {
    const at = this.#sources.indexOf(source);
    if (at >= 0) this.#sources.splice(at, 1);
  }

  /** Reads through the first source; if it goes meanwhile (its mount was removed), through the next. */
  async read(objectId: string, offset: number, into: Uint8Array, options: ReadOptions): Promise<void> {
    for (;;) {
      const source = this.#sources[0];
      if (!source) throw new Error(`no mount reads ${objectId} any more`);
      try {
        return await source.read(objectId, offset, into, options);
      } catch (error) {
        const isOver = gaveUp(options) !== null;
        if (isOver || this.#sources.includes(source) || this.#sources.length === 0) throw error;
      }
    }
  }
}
