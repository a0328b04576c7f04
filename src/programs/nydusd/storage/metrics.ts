/** Counters of blobs in upstream's shapes (utils/src/metrics.rs). */
import { basename, dirname } from 'node:path';
import type { Blob } from '../../../blob/blob.ts';
import { isReady } from '../../../blob/chunk-map.ts';

/** The sum over a mount's blobs in upstream's shape. */
export function backendMetrics(blobs: readonly Blob[], kind: string): unknown {
  const zeros = () => new Array<number>(8).fill(0);
  const sum = {
    backend_type: kind,
    read_count: 0,
    read_errors: 0,
    read_amount_total: 0,
    read_cumulative_latency_millis_total: 0,
    read_cumulative_latency_millis_dist: zeros(),
    read_count_block_size_dist: zeros(),
    read_latency_sizes_dist: Array.from({ length: 8 }, zeros),
  };
  for (const { backendCounters } of blobs) {
    const one = backendCounters.toJSON() as typeof sum;
    sum.read_count += one.read_count;
    sum.read_errors += one.read_errors;
    sum.read_amount_total += one.read_amount_total;
    sum.read_cumulative_latency_millis_total += one.read_cumulative_latency_millis_total;
    for (let i = 0; i < 8; i++) {
      sum.read_cumulative_latency_millis_dist[i]! += one.read_cumulative_latency_millis_dist[i]!;
      sum.read_count_block_size_dist[i]! += one.read_count_block_size_dist[i]!;
      for (let j = 0; j < 8; j++) sum.read_latency_sizes_dist[i]![j]! += one.read_latency_sizes_dist[i]![j]!;
    }
  }
  return sum;
}

/**
 * GET /api/v1/metrics/blobcache over blobs that have a cache. Chunks that workers read from the cache file by
 * themselves are not seen here.
 */
export function cacheMetrics(blobs: readonly Blob[]): unknown {
  const sum = (pick: (blob: Blob) => number) => blobs.reduce((all, blob) => all + pick(blob), 0);
  return {
    underlying_files: blobs.map((blob) => basename(blob.cachePath!)),
    store_path: dirname(blobs[0]!.cachePath!),
    partial_hits: sum((blob) => blob.counters.chunksFetched),
    whole_hits: sum((blob) => blob.counters.chunksFromCache),
    total: sum((blob) => blob.counters.chunksAsked),
    entries_count: sum((blob) => blob.counters.chunksFetched + blob.counters.chunksAmplified),
    prefetch_data_amount: 0,
    prefetch_requests_count: 0,
    prefetch_workers: 0,
    prefetch_unmerged_chunks: 0,
    prefetch_cumulative_time_millis: 0,
    prefetch_begin_time_secs: 0,
    prefetch_begin_time_millis: 0,
    prefetch_end_time_secs: 0,
    prefetch_end_time_millis: 0,
    buffered_backend_size: sum((blob) => blob.counters.bufferedBytes),
    data_all_ready: blobs.every(isComplete),
  };
}

function isComplete(blob: Blob): boolean {
  const { ready, chunkCount, delivery } = blob.view();
  if (delivery === 'bytes') return false;
  if (ready === null) return true;
  const bits = new Uint8Array(ready);
  for (let index = 0; index < chunkCount; index++) {
    if (!isReady(bits, index)) return false;
  }
  return true;
}
