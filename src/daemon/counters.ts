/**
 * Counters of one mount on one queue worker, and their sum over all workers. The arrays and their buckets are those of upstream
 * (utils/src/metrics.rs).
 */
import type { FsMetrics } from '../service/control.ts';

/** Positions of operations in arrays of 15. */
export const Fop = {
  getattr: 0,
  readlink: 1,
  open: 2,
  release: 3,
  read: 4,
  statfs: 5,
  getxattr: 6,
  listxattr: 7,
  opendir: 8,
  lookup: 9,
  readdir: 10,
  readdirplus: 11,
  access: 12,
  forget: 13,
  batchForget: 14,
} as const;

const FOPS = 15;
const BUCKETS = 8;
/** Upper bounds of the read size buckets in bytes, exclusive. */
const SIZE_BOUNDS: readonly number[] = [1 << 10, 4 << 10, 16 << 10, 64 << 10, 128 << 10, 512 << 10, 1 << 20];
/** Upper bounds of the read latency buckets in microseconds, inclusive. */
const LATENCY_BOUNDS_US: readonly number[] = [200, 1000, 20_000, 50_000, 500_000, 1_000_000, 2_000_000];

/** One file's counters, kept when `iostats_files` or `access_pattern` asks for them. */
export class FileCounters {
  dataRead = 0;
  firstReadMs = 0;
  readonly sizes: number[] = new Array(BUCKETS).fill(0);
  readonly hits: number[] = new Array(FOPS).fill(0);
  readonly errors: number[] = new Array(FOPS).fill(0);
}

/** What a worker tells of a mount: plain data. */
export interface CounterSnapshot {
  readonly serial: number;
  readonly opens: number;
  readonly dataRead: number;
  readonly hits: readonly number[];
  readonly errors: readonly number[];
  readonly sizes: readonly number[];
  readonly latencies: readonly number[];
  readonly readUs: number;
  readonly files: ReadonlyMap<number, FileCounters>;
  /** Inodes read since the last time it was asked for. */
  readonly latest: readonly number[];
}

/** Counts on the worker's thread. */
export class MountCounters {
  opens = 0;
  dataRead = 0;
  readUs = 0;
  readonly hits: number[] = new Array(FOPS).fill(0);
  readonly errors: number[] = new Array(FOPS).fill(0);
  readonly sizes: number[] = new Array(BUCKETS).fill(0);
  readonly latencies: number[] = new Array(BUCKETS).fill(0);
  readonly files: Map<number, FileCounters> = new Map();
  readonly latest: Set<number> = new Set();
  readonly #perFile: boolean;
  readonly #latest: boolean;

  constructor(perFile: boolean, latest: boolean) {
    this.#perFile = perFile;
    this.#latest = latest;
  }

  /** One operation ended with `result`, ≥ 0 or `-errno`. */
  count(fop: number, lo: number, result: number): void {
    if (result < 0) this.errors[fop]!++;
    else this.hits[fop]!++;
    if (this.#perFile) this.#countFile(fop, lo, result);
  }

  /** A READ of `bytes` ended after `us` microseconds. */
  countRead(lo: number, bytes: number, us: number): void {
    this.dataRead += bytes;
    this.sizes[bucket(SIZE_BOUNDS, bytes + 1)]!++;
    this.readUs += us;
    this.latencies[bucket(LATENCY_BOUNDS_US, us)]!++;
    if (this.#latest) this.latest.add(lo);
    if (!this.#perFile) return;
    const file = this.#file(lo);
    if (file.firstReadMs === 0) file.firstReadMs = Date.now();
    file.dataRead += bytes;
    file.sizes[bucket(SIZE_BOUNDS, bytes + 1)]!++;
  }

  snapshot(serial: number, takeLatest: boolean): CounterSnapshot {
    const { opens, dataRead, hits, errors, sizes, latencies, readUs, files } = this;
    const latest = [...this.latest];
    if (takeLatest) this.latest.clear();
    return { serial, opens, dataRead, hits, errors, sizes, latencies, readUs, files, latest };
  }

  #countFile(fop: number, lo: number, result: number): void {
    const file = this.#file(lo);
    if (result < 0) file.errors[fop]!++;
    else file.hits[fop]!++;
  }

  #file(lo: number): FileCounters {
    let file = this.files.get(lo);
    if (file === undefined) {
      file = new FileCounters();
      this.files.set(lo, file);
    }
    return file;
  }
}

function bucket(bounds: readonly number[], value: number): number {
  let index = 0;
  while (index < bounds.length && value > bounds[index]!) index++;
  return index;
}

/** The sum of what the workers told of one mount. */
export function sumFs(
  id: string,
  account: { readonly files: boolean; readonly pattern: boolean; readonly latest: boolean },
  snapshots: readonly CounterSnapshot[],
): FsMetrics {
  const sum = (pick: (one: CounterSnapshot) => number) => snapshots.reduce((all, one) => all + pick(one), 0);
  const sums = (length: number, pick: (one: CounterSnapshot) => readonly number[]) =>
    Array.from({ length }, (_, index) => sum((one) => pick(one)[index]!));
  const latency = new Array<number>(FOPS).fill(0);
  latency[Fop.read] = Math.round(sum((one) => one.readUs));
  return {
    files_account_enabled: account.files,
    access_pattern_enabled: account.pattern,
    record_latest_read_files_enabled: account.latest,
    measure_latency: true,
    id,
    nr_opens: sum((one) => one.opens),
    data_read: sum((one) => one.dataRead),
    block_count_read: sums(BUCKETS, (one) => one.sizes),
    fop_hits: sums(FOPS, (one) => one.hits),
    fop_errors: sums(FOPS, (one) => one.errors),
    fop_cumulative_latency_total: latency,
    read_latency_dist: sums(BUCKETS, (one) => one.latencies),
  };
}

/** GET /api/v1/metrics/files: by inode number. */
export function sumFiles(snapshots: readonly CounterSnapshot[]): Record<string, unknown> {
  const merged = mergeFiles(snapshots);
  return Object.fromEntries(
    [...merged].map(([ino, file]) => [
      ino,
      {
        total_fops: file.hits.reduce((a, b) => a + b, 0),
        data_read: file.dataRead,
        block_count_read: file.sizes,
        fop_hits: file.hits,
        fop_errors: file.errors,
      },
    ]),
  );
}

/** GET /api/v1/metrics/pattern: the files that were read. */
export function sumPattern(snapshots: readonly CounterSnapshot[]): unknown[] {
  const read = [...mergeFiles(snapshots)].filter(([, file]) => file.hits[Fop.read]! > 0);
  return read.map(([ino, file]) => ({
    ino,
    nr_read: file.hits[Fop.read]!,
    first_access_time_secs: Math.floor(file.firstReadMs / 1000),
    first_access_time_nanos: (file.firstReadMs % 1000) * 1_000_000,
  }));
}

function mergeFiles(snapshots: readonly CounterSnapshot[]): Map<number, FileCounters> {
  const merged = new Map<number, FileCounters>();
  for (const { files } of snapshots) {
    for (const [ino, file] of files) {
      const into = merged.get(ino) ?? new FileCounters();
      merged.set(ino, into);
      into.dataRead += file.dataRead;
      const first = [into.firstReadMs, file.firstReadMs].filter((ms) => ms > 0);
      into.firstReadMs = first.length === 0 ? 0 : Math.min(...first);
      addInto(into.sizes, file.sizes);
      addInto(into.hits, file.hits);
      addInto(into.errors, file.errors);
    }
  }
  return merged;
}

function addInto(into: number[], from: readonly number[]): void {
  for (let index = 0; index < into.length; index++) into[index]! += from[index]!;
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
