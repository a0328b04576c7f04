import { performance } from 'node:perf_hooks';
import { firstAbove } from '../lib/buckets.ts';
import { COUNTED_OPS, Opcode } from '../wire/fuse.ts';

const READ_INDEX = 4;
/** Operations that are answered without a look at their inode: a guest may name any number in them. */
const UNCHECKED_OPS = new Set(
  ['release', 'statfs', 'forget', 'batch_forget'].map((name) => COUNTED_OPS.indexOf(name)),
);
const SIZE_LIMITS = [1 << 10, 4 << 10, 16 << 10, 64 << 10, 128 << 10, 512 << 10, 1 << 20];
const LATENCY_LIMITS_US = [200, 1_000, 20_000, 50_000, 500_000, 1_000_000, 2_000_000];

function countedIndexes(): Int8Array {
  const indexes = new Int8Array(64).fill(-1);
  const codes = Opcode as Record<string, number>;
  COUNTED_OPS.forEach((name, i) => {
    indexes[codes[name.toUpperCase()]!] = i;
  });
  return indexes;
}

const INDEX_OF_OPCODE = countedIndexes();

/** Layout of a mount's counters within a Float64Array. */
export const Counter = {
  hits: 0,
  errors: 15,
  latencyUs: 30,
  dataRead: 45,
  readSizes: 46,
  readLatency: 54,
  length: 62,
} as const;

/** Counters of one mount on one thread. All numbers only grow. */
class MountCounters {
  readonly values: Float64Array = new Float64Array(Counter.length);
  /** Per inode (low word of its nodeid): totals as in `metrics/files`; null unless the mount asked for it. */
  readonly files: Map<number, Float64Array> | null;

  constructor(files: boolean) {
    this.files = files ? new Map() : null;
  }

  /** One finished request; `result` is a byte count or -errno. */
  count(opcode: number, lo: number, result: number, latencyUs: number): void {
    const op = opcode < INDEX_OF_OPCODE.length ? INDEX_OF_OPCODE[opcode]! : -1;
    if (op < 0) return;
    const { values } = this;
    values[Counter.hits + op]! += 1;
    values[Counter.latencyUs + op]! += latencyUs;
    if (result < 0) values[Counter.errors + op]! += 1;
    if (op === READ_INDEX && result >= 0) {
      values[Counter.dataRead]! += result;
      values[Counter.readSizes + firstAbove(SIZE_LIMITS, result)]! += 1;
      values[Counter.readLatency + firstAbove(LATENCY_LIMITS_US, latencyUs)]! += 1;
    }
    if (this.files !== null) this.#countFile(this.files, op, lo, result);
  }

  #countFile(files: Map<number, Float64Array>, op: number, lo: number, result: number): void {
    let row = files.get(lo);
    if (row === undefined) {
      // Only for inodes that exist, else a guest decides how much is remembered.
      if (result < 0 || UNCHECKED_OPS.has(op)) return;
      row = new Float64Array(FileCounter.length);
      row[FileCounter.firstMs] = performance.now();
      files.set(lo, row);
    }
    row[FileCounter.total]! += 1;
    row[FileCounter.hits + op]! += 1;
    if (result < 0) row[FileCounter.errors + op]! += 1;
    if (op === READ_INDEX && result >= 0) {
      row[FileCounter.dataRead]! += result;
      row[FileCounter.readSizes + firstAbove(SIZE_LIMITS, result)]! += 1;
      row[FileCounter.recent] = 1;
    }
  }
}

/** Layout of an inode's counters; `recent` is 1 when it was read since the list of latest files was asked for. */
export const FileCounter = {
  total: 0,
  dataRead: 1,
  readSizes: 2,
  hits: 10,
  errors: 25,
  firstMs: 40,
  recent: 41,
  length: 42,
} as const;

/** The counters of all mounts on this thread, by serial (high word of the nodeid). */
export class Counters {
  readonly #mounts = new Map<number, MountCounters>();
  /** Serial of the mount that answers for nodeids whose high word is 0, i.e. of the image at `/`; 0 = none. */
  rootSerial = 0;
  #lastSerial = -1;
  #last: MountCounters | null = null;

  /** Begins counting for a mount. Requests of unknown serials are not counted. */
  add(serial: number, files: boolean): void {
    this.#mounts.set(serial, new MountCounters(files));
    this.#lastSerial = -1;
  }

  /** Ends counting for a mount, and forgets its numbers. */
  remove(serial: number): void {
    this.#mounts.delete(serial);
    this.#lastSerial = -1;
  }

  /** A mount's counters; undefined for a serial that is not counted. */
  get(serial: number): MountCounters | undefined {
    return this.#mounts.get(serial);
  }

  /** As `MountCounters.count`, for the mount that the nodeid belongs to. */
  count(hi: number, lo: number, opcode: number, result: number, latencyUs: number): void {
    const serial = hi === 0 ? this.rootSerial : hi;
    if (serial !== this.#lastSerial) {
      this.#lastSerial = serial;
      this.#last = this.#mounts.get(serial) ?? null;
    }
    this.#last?.count(opcode, lo, result, latencyUs);
  }
}
