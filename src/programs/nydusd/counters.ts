/** Counters of a mount as its workers tell them, summed into the shapes of upstream (utils/src/metrics.rs). */
import { Counter, FileCounter } from '../../fuse/counters.ts';
import type { FsMetrics } from '../../service/nydusd/control.ts';
import type { CounterSnapshot } from './workers/snapshot.ts';

const FOPS = 15;
const BUCKETS = 8;
const OPEN = 2;
const READ = 4;

/** Upstream counts a failed operation as an error only; a worker counts it as a hit, too. */
function successes(hits: readonly number[], errors: readonly number[]): number[] {
  return hits.map((count, index) => count - errors[index]!);
}

/** GET /api/v1/metrics. */
export function sumFs(
  id: string,
  account: { readonly files: boolean; readonly pattern: boolean; readonly latest: boolean },
  snapshots: readonly CounterSnapshot[],
): FsMetrics {
  const sums = (at: number, length: number) =>
    Array.from({ length }, (_, index) => snapshots.reduce((all, one) => all + one.values[at + index]!, 0));
  const errors = sums(Counter.errors, FOPS);
  const hits = successes(sums(Counter.hits, FOPS), errors);
  return {
    files_account_enabled: account.files,
    access_pattern_enabled: account.pattern,
    record_latest_read_files_enabled: account.latest,
    measure_latency: true,
    id,
    nr_opens: hits[OPEN]!,
    data_read: sums(Counter.dataRead, 1)[0]!,
    block_count_read: sums(Counter.readSizes, BUCKETS),
    fop_hits: hits,
    fop_errors: errors,
    fop_cumulative_latency_total: sums(Counter.latencyUs, FOPS).map(Math.round),
    read_latency_dist: sums(Counter.readLatency, BUCKETS),
  };
}

/** GET /api/v1/metrics/files: by inode number. */
export function sumFiles(snapshots: readonly CounterSnapshot[]): Record<string, unknown> {
  const slice = (row: Float64Array, at: number, length: number) => [...row.subarray(at, at + length)];
  return Object.fromEntries(
    [...mergeFiles(snapshots)].map(([ino, row]) => {
      const errors = slice(row, FileCounter.errors, FOPS);
      return [
        ino,
        {
          total_fops: row[FileCounter.total],
          data_read: row[FileCounter.dataRead],
          block_count_read: slice(row, FileCounter.readSizes, BUCKETS),
          fop_hits: successes(slice(row, FileCounter.hits, FOPS), errors),
          fop_errors: errors,
        },
      ];
    }),
  );
}

/** GET /api/v1/metrics/pattern: the files that were read. */
export function sumPattern(snapshots: readonly CounterSnapshot[]): unknown[] {
  const files = [...mergeFiles(snapshots)];
  return files
    .filter(([, row]) => row[FileCounter.hits + READ]! > 0)
    .map(([ino, row]) => {
      const firstMs = row[FileCounter.firstMs]!;
      return {
        ino,
        nr_read: row[FileCounter.hits + READ]!,
        first_access_time_secs: Math.floor(firstMs / 1000),
        first_access_time_nanos: Math.floor((firstMs % 1000) * 1_000_000),
      };
    });
}

/** Rows of the same inode added up; `firstMs` becomes the earliest, in Unix time. */
function mergeFiles(snapshots: readonly CounterSnapshot[]): Map<number, Float64Array> {
  const merged = new Map<number, Float64Array>();
  for (const { files, originMs } of snapshots) {
    for (const [ino, row] of files ?? []) {
      const into = merged.get(ino);
      const firstMs = row[FileCounter.firstMs]! + originMs;
      if (into === undefined) {
        const copy = row.slice();
        copy[FileCounter.firstMs] = firstMs;
        merged.set(ino, copy);
        continue;
      }
      const earliest = Math.min(into[FileCounter.firstMs]!, firstMs);
      for (let index = 0; index < into.length; index++) into[index]! += row[index]!;
      into[FileCounter.firstMs] = earliest;
    }
  }
  return merged;
}

/** GET /api/v1/metrics/files?latest=true: inode numbers as ascending ranges, `[first, last]` or `[only]`. */
export function sumLatest(snapshots: readonly CounterSnapshot[]): number[][] {
  const inodes = [...new Set(snapshots.flatMap((one) => one.latest))].sort((a, b) => a - b);
  const ranges: number[][] = [];
  for (const ino of inodes) {
    const last = ranges.at(-1);
    if (last !== undefined && last.at(-1) === ino - 1) last[1] = ino;
    else ranges.push([ino]);
  }
  return ranges;
}
