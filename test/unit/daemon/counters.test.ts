import { expect, test } from 'vitest';
import { Fop, MountCounters, sumFiles, sumFs, sumLatest, sumPattern } from '../../../src/daemon/counters.ts';

function worker(reads: readonly [number, number, number][]): MountCounters {
  const counters = new MountCounters(true, true);
  for (const [ino, bytes, us] of reads) {
    counters.countRead(ino, bytes, us);
    counters.count(Fop.read, ino, bytes);
  }
  return counters;
}

const account = { files: true, pattern: true, latest: true };

test('workers are summed, sizes and latencies fall into the buckets of upstream', () => {
  const one = worker([
    [7, 1023, 200],
    [7, 1024, 201],
  ]);
  const two = worker([[9, 1 << 20, 3_000_000]]);
  two.count(Fop.lookup, 1, -2);
  const sum = sumFs('/m', account, [one.snapshot(1, false), two.snapshot(1, false)]);
  expect(sum.data_read).toBe(1023 + 1024 + (1 << 20));
  expect(sum.block_count_read).toEqual([1, 1, 0, 0, 0, 0, 0, 1]);
  expect(sum.read_latency_dist).toEqual([1, 1, 0, 0, 0, 0, 0, 1]);
  expect(sum.fop_hits[Fop.read]).toBe(3);
  expect(sum.fop_errors[Fop.lookup]).toBe(1);
  expect(sum.fop_cumulative_latency_total[Fop.read]).toBe(3_000_401);
});

test('the latest reads are ranges and are cleared when taken', () => {
  const one = worker([12, 5, 6, 7].map((ino) => [ino, 1, 1]));
  expect(sumLatest([one.snapshot(1, true), worker([[8, 1, 1]]).snapshot(1, true)])).toEqual([[5, 8], [12]]);
  expect(sumLatest([one.snapshot(1, true)])).toEqual([]);
});

test('files and patterns are merged by inode', () => {
  const snapshots = [worker([[5, 10, 1]]), worker([[5, 20, 1]])].map((one) => one.snapshot(1, false));
  expect(sumFiles(snapshots)).toMatchObject({ 5: { total_fops: 2, data_read: 30 } });
  expect(sumPattern(snapshots)).toMatchObject([{ ino: 5, nr_read: 2 }]);
});
