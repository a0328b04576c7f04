import { Attr, type DirectorySink, Entry, Opened, type ReadSink, Statfs } from '../../src/fuse/filesystem.ts';
import { RafsFileSystem } from '../../src/imagefs/filesystem.ts';
import { ChunkDigests } from '../../src/rafs/chunk-digests.ts';
import { openBootstrap } from '../../src/rafs/open-bootstrap.ts';
import { RafsError } from '../../src/wire/rafs/error.ts';
import { bootstrapBytes, emptyViews, FIXTURES } from '../support/rafs-fixtures.ts';
import { generator } from './random.ts';
import type { Target } from './runner.ts';

/** What became of the mutated bootstraps: refused at open, or opened; and calls that answered -EIO. */
export interface FuzzResult {
  accepted: number;
  refused: number;
  eio: number;
}

const SEEDS = [
  'v5-merge3',
  'v6-merge3',
  'v6-dict',
  'v5-chunks64k-lz4_block',
  'v6-chunks64k-zstd',
  'v6-tarfs',
  'v5-zstd-sha256',
];
/** Calls a walk may make: an image of n bytes cannot honestly need more; a loop would. */
const INODES_MAX = 3000;
const ENTRIES_MAX = 100_000;

/**
 * Mutates valid bootstraps, opens them, and asks everything of everything that can be reached. Throws if a method
 * throws, if a directory does not end, or if an answer is out of its range. The same seed gives the same run.
 */
export function fuzzBootstrap(seed: number, iterations: number): FuzzResult {
  const random = generator(seed);
  const originals = seeds();
  const result: FuzzResult = { accepted: 0, refused: 0, eio: 0 };
  for (let i = 0; i < iterations; i++) {
    try {
      exploreOne(originals, random, result);
    } catch (error) {
      throw new Error(`seed ${seed}, iteration ${i}: ${(error as Error).message}`, { cause: error });
    }
  }
  return result;
}

function seeds(): Uint8Array[] {
  return SEEDS.map((name) => new Uint8Array(bootstrapBytes(FIXTURES, name)));
}

function exploreOne(
  originals: readonly Uint8Array[],
  random: (limit: number) => number,
  result: FuzzResult,
): void {
  const mutant = mutate(originals[random(originals.length)]!, random);
  // Without its extended blob table a v5 image takes the path of images of 2020.
  if (random(4) === 0 && mutant[0] === 0x53) mutant.fill(0, 68, 80);
  explore(mutant.buffer as ArrayBuffer, random, result);
}

/** The same as a target of `main.ts`. */
export function bootstrapTarget(): Target {
  const originals = seeds();
  return {
    iterate(random, counts) {
      const result: FuzzResult = { accepted: 0, refused: 0, eio: 0 };
      exploreOne(originals, random, result);
      counts.accepted += result.accepted;
      counts.refused += result.refused;
      counts.eio = (counts.eio ?? 0) + result.eio;
    },
    close() {},
  };
}

const INTERESTING = [
  0, 1, 2, 7, 8, 12, 0x7f, 0x80, 0xff, 0x100, 0x1ff, 0x3ff, 0x401, 0xfff, 0x1000, 0xffff, 0x7fffffff,
  0x80000000, 0xffffffff,
];

function mutate(original: Uint8Array, random: (limit: number) => number): Uint8Array {
  const cut = random(20) === 0 ? 8 * random(original.length / 8) : original.length;
  const bytes = new Uint8Array(original.subarray(0, cut));
  const view = new DataView(bytes.buffer);
  // Most mutations fall behind the superblocks, or nearly nothing would be accepted.
  const from = random(8) === 0 ? 0 : 8192;
  for (let n = 1 + random(12); n > 0 && bytes.length > from + 8; n--) {
    const at = from + random(bytes.length - from - 8);
    const value = INTERESTING[random(INTERESTING.length)]!;
    const kind = random(6);
    if (kind === 0) bytes[at] = random(256);
    else if (kind === 1) bytes[at]! ^= 1 << random(8);
    else if (kind === 2) view.setUint16(at & ~1, value, true);
    else if (kind === 3) view.setUint32(at & ~3, value, true);
    else if (kind === 4) bytes.copyWithin(at, from + random(bytes.length - from), bytes.length);
    else view.setUint32(at & ~7, value, true);
  }
  return bytes;
}

const out = new Uint8Array(1 << 18);
const attr = new Attr();
const entry = new Entry();

function explore(buffer: ArrayBuffer, random: (limit: number) => number, result: FuzzResult): void {
  let bootstrap: ReturnType<typeof openBootstrap>;
  try {
    bootstrap = openBootstrap(buffer, 'mutant');
  } catch (error) {
    if (!(error instanceof RafsError)) throw error;
    result.refused++;
    return;
  }
  result.accepted++;
  const views = emptyViews(bootstrap).map((view) => ({ ...view, ready: null }));
  const fs = new RafsFileSystem(bootstrap, {
    serial: 1,
    blobs: views,
    fetcher: { fetch: (_blob, _chunks, done) => done(-5, null) },
    uid: 0,
    gid: 0,
    xattrs: true,
    validate: random(4) === 0,
    onBadInode: () => {},
  });
  new ChunkDigests(bootstrap).find(random(4), random(100));
  fs.statfs(1, fs.rootLo, new Statfs());
  const seen = new Set<number>([fs.rootLo, 0, 1, random(2 ** 32), random(10_000)]);
  for (const lo of seen) visit(fs, lo, seen, random, result);
}

function visit(
  fs: RafsFileSystem,
  lo: number,
  seen: Set<number>,
  random: (limit: number) => number,
  result: FuzzResult,
): void {
  const count = (answer: number) => {
    if (answer === -5) result.eio++;
    if (!Number.isSafeInteger(answer)) throw new Error(`inode ${lo}: answer ${answer}`);
    return answer;
  };
  count(fs.getattr(1, lo, attr));
  const name = Buffer.from(random(2) === 0 ? 'user.x' : 'security.capability');
  count(fs.listxattr(1, lo, out, 0, out.length));
  count(fs.getxattr(1, lo, name, 0, name.length, out, 0, random(3) * 100));
  if (count(fs.readlink(1, lo, out, 0)) > 4096)
    throw new Error(`inode ${lo}: link target of more than 4096 bytes`);
  count(fs.open(1, lo, 0, new Opened()));
  count(fs.lseek(1, lo, random(100), 3 + random(2)));
  const size = Number.isSafeInteger(attr.size) ? attr.size : 0;
  count(fs.read(1, lo, 0, 1 << 20, new CheckedSink()));
  count(fs.read(1, lo, Math.max(0, size - 10), 1 << 20, new CheckedSink()));
  let entries = 0;
  const add = (child: number, bytes: Uint8Array, start: number, end: number) => {
    if (++entries > ENTRIES_MAX) throw new Error(`inode ${lo}: a directory without end`);
    if (end <= start || end - start > 255 || end > bytes.length || bytes.subarray(start, end).includes(0x2f))
      throw new Error(`inode ${lo}: name`);
    if (seen.size < INODES_MAX) seen.add(child);
    return true;
  };
  const sink: DirectorySink = {
    add: (_hi, child, _cookie, _type, bytes, start, end) => add(child, bytes, start, end),
    addPlus: (plus, _cookie, _type, bytes, start, end) => {
      if (entries < 5) count(fs.lookup(1, lo, bytes, start, end, entry));
      return add(plus.attr.inoLo, bytes, start, end);
    },
  };
  count(fs.readdir(1, lo, 0, sink));
  entries = 0;
  count(fs.readdirplus(1, lo, random(10), sink));
}

/** Takes what it is given; refuses reads at impossible places. */
class CheckedSink implements ReadSink {
  readonly supplied = null;
  relyOn(): void {}
  fromFile(_fd: number, fileOffset: number, length: number): number {
    if (!(fileOffset >= 0 && length > 0 && length <= 1 << 20))
      throw new Error(`read of ${length} at ${fileOffset}`);
    return length;
  }
  fromBytes(_bytes: Uint8Array, _start: number, length: number): number {
    return length;
  }
  later(): () => void {
    return () => {};
  }
}
