import { closeSync } from 'node:fs';
import type { BlobSpec } from '../wire/rafs/blob-spec.ts';
import type { CacheFile } from './cache-file.ts';
import type { ChunkMapFile } from './chunk-map.ts';
import type { BackendCounters, CacheCounters } from './counters.ts';
import type { Fetcher } from './fetch.ts';
import type { BlobSource } from './source.ts';
import type { BlobView, ChunkRef } from './view.ts';

/** What an open blob owns. */
export interface BlobParts {
  readonly spec: BlobSpec;
  readonly view: BlobView;
  /** Null: every chunk is ready (tarfs). */
  readonly fetcher: Fetcher | null;
  readonly file: CacheFile | null;
  readonly map: ChunkMapFile | null;
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

  /** Name of the cache file for metrics; null if nothing is kept. */
  get cachePath(): string | null {
    return this.#parts.file?.path ?? null;
  }

  /** What queue workers need; may be sent to them as it is. */
  view(): BlobView {
    return this.#parts.view;
  }

  /** Null: the chunks' bits are set. Otherwise each chunk's uncompressed bytes, in order. Rejects with BlobError or SourceError. */
  async fetch(chunks: readonly ChunkRef[]): Promise<Uint8Array[] | null> {
    return this.#parts.fetcher ? this.#parts.fetcher.fetch(chunks) : null;
  }

  /** Waits for flights, then closes the files: queue workers must have dropped the view before. `BlobStore.close` calls this. */
  async dispose(): Promise<void> {
    await this.#parts.fetcher?.close();
    this.#parts.map?.close();
    if (this.#parts.file) this.#parts.file.close();
    else if (this.#parts.view.fd >= 0) closeSync(this.#parts.view.fd);
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
  async read(objectId: string, offset: number, into: Uint8Array): Promise<void> {
    for (;;) {
      const source = this.#sources[0];
      if (!source) throw new Error(`no mount reads ${objectId} any more`);
      try {
        return await source.read(objectId, offset, into);
      } catch (error) {
        if (this.#sources.includes(source) || this.#sources.length === 0) throw error;
      }
    }
  }
}
