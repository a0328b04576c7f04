import { firstAbove, firstNotBelow } from '../lib/buckets.ts';

const SIZE_LIMITS = [1, 4, 16, 64, 128, 512, 1024];
const LATENCY_LIMITS_MS = [1, 20, 50, 100, 500, 1000, 2000];

/** Reads of a back end, in the shape of `GET /api/v1/metrics/backend`. utils/src/metrics.rs. */
export class BackendCounters {
  readonly kind: string;
  readCount = 0;
  readErrors = 0;
  readBytes = 0;
  readMs = 0;
  readonly #latencies = new Array<number>(8).fill(0);
  readonly #sizes = new Array<number>(8).fill(0);
  readonly #both = Array.from({ length: 8 }, () => new Array<number>(8).fill(0));

  constructor(kind: string) {
    this.kind = kind;
  }

  /** A read of `bytes` that took `ms`. */
  add(bytes: number, ms: number, ok: boolean): void {
    this.readCount++;
    if (!ok) {
      this.readErrors++;
      return;
    }
    const latency = firstNotBelow(LATENCY_LIMITS_MS, ms);
    const size = firstAbove(SIZE_LIMITS, bytes / 1024);
    this.readBytes += bytes;
    this.readMs += ms;
    this.#latencies[latency]!++;
    this.#sizes[size]!++;
    this.#both[size]![latency]!++;
  }

  toJSON(): Record<string, unknown> {
    return {
      backend_type: this.kind,
      read_count: this.readCount,
      read_errors: this.readErrors,
      read_amount_total: this.readBytes,
      read_cumulative_latency_millis_total: Math.round(this.readMs),
      read_cumulative_latency_millis_dist: [...this.#latencies],
      read_count_block_size_dist: [...this.#sizes],
      read_latency_sizes_dist: this.#both.map((row) => [...row]),
    };
  }
}

/** Work of a cache, for `GET /api/v1/metrics/blobcache`. Hits on the queue workers' own path are not seen here. */
export class CacheCounters {
  /** Chunk requests that came to the fetcher, and what became of them. */
  chunksAsked = 0;
  chunksFromCache = 0;
  chunksFetched = 0;
  chunksAmplified = 0;
  chunksCorrupt = 0;
  writeErrors = 0;
  /** Bytes read from the back end and not written to the cache yet. */
  bufferedBytes = 0;
}
