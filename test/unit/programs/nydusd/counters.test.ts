import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Counters } from '../../../../src/fuse/counters.ts';
import { sumFiles, sumFs, sumLatest, sumPattern } from '../../../../src/programs/nydusd/counters.ts';
import { type CounterSnapshot, snapshotOf } from '../../../../src/programs/nydusd/workers/snapshot.ts';

const LOOKUP = 1;
const READ = 15;
const SERIAL = 3;
beforeEach(() => {
  vi.spyOn(performance, 'now').mockReturnValue(1500);
});
afterEach(() => {
  vi.restoreAllMocks();
});

const account = { files: true, pattern: true, latest: true };

function worker(reads: readonly (readonly [ino: number, bytes: number, us: number])[]): Counters {
  const counters = new Counters();
  counters.add(SERIAL, true);
  for (const [ino, bytes, us] of reads) counters.count(SERIAL, ino, READ, bytes, us);
  return counters;
}

const told = (counters: Counters, takeLatest = false): CounterSnapshot =>
  snapshotOf(counters, SERIAL, takeLatest)!;

test('workers are summed, and a failure is no hit', () => {
  const two = worker([[9, 1 << 20, 3_000_000]]);
  two.count(SERIAL, 1, LOOKUP, -2, 1);
  const sum = sumFs('/m', account, [told(worker([[7, 1023, 100]])), told(two)]);
  expect(sum).toMatchObject({ id: '/m', data_read: 1023 + (1 << 20) });
  expect(sum.block_count_read).toEqual([1, 0, 0, 0, 0, 0, 0, 1]);
  expect([sum.fop_hits[4], sum.fop_hits[9], sum.fop_errors[9]]).toEqual([2, 0, 1]);
  expect(sum.fop_cumulative_latency_total[4]).toBe(3_000_100);
});

test('the latest reads are ranges and are cleared when taken', () => {
  const one = worker([12, 5, 6, 7].map((ino) => [ino, 1, 1] as const));
  expect(sumLatest([told(one, true), told(worker([[8, 1, 1]]), true)])).toEqual([[5, 8], [12]]);
  expect(sumLatest([told(one, true)])).toEqual([]);
});

test('files and patterns are merged by inode, the first access is the earliest', () => {
  const snapshots = [10, 20].map((bytes, i) => ({ ...told(worker([[5, bytes, 1]])), originMs: 9000 + i }));
  expect(sumFiles(snapshots)).toMatchObject({ 5: { total_fops: 2, data_read: 30 } });
  expect(sumPattern(snapshots)).toEqual([
    { ino: 5, nr_read: 2, first_access_time_secs: 10, first_access_time_nanos: 500_000_000 },
  ]);
});

test('a worker that does not know the mount tells nothing', () => {
  expect(snapshotOf(worker([]), SERIAL + 1, false)).toBeNull();
});
