import { type Counters, FileCounter } from '../../../fuse/counters.ts';

/** What a worker tells of a mount: plain data. Layouts are `Counter` and `FileCounter`. */
export interface CounterSnapshot {
  readonly values: Float64Array;
  /** By inode; null unless the mount asked for it. */
  readonly files: ReadonlyMap<number, Float64Array> | null;
  /** Unix time in ms at which the worker's clock read 0. */
  readonly originMs: number;
  /** Inodes read since the last time it was asked for. */
  readonly latest: readonly number[];
}

/**
 * On the worker: the counters of a mount, null if it is not known. `takeLatest` clears the list of inodes read
 * lately.
 */
export function snapshotOf(counters: Counters, serial: number, takeLatest: boolean): CounterSnapshot | null {
  const mount = counters.get(serial);
  if (mount === undefined) return null;
  const latest: number[] = [];
  for (const [ino, row] of mount.files ?? []) {
    if (row[FileCounter.recent] === 0) continue;
    latest.push(ino);
    if (takeLatest) row[FileCounter.recent] = 0;
  }
  return { values: mount.values, files: mount.files, originMs: performance.timeOrigin, latest };
}
