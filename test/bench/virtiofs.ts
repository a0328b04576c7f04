/**
 * `npm run bench`: virtio-fs operations per second of nydusd beside Debian's virtiofsd over the same tree, both
 * driven through shared memory without a VM, in turns within one run. Compare ratios: the figures are the machine's.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { addon } from '../../src/native/index.ts';
import { DriverRing, GuestMemory } from '../support/driver.ts';
import { type BackendKind, Bench, buildImage, nydusd, virtiofsd } from './backend.ts';
import { type Load, median, runLoad } from './load.ts';
import { getattrRequest, lookupRequest, Op, openRequest, readRequest } from './requests.ts';
import { BIG_FILE_BYTES, bigFiles, makeTree, smallFiles } from './tree.ts';

interface Row {
  readonly name: string;
  /** Operations of one run at depth 32; a sixteenth of it at depth 1. */
  readonly count: number;
  make(bench: Bench): Promise<Load>;
}

const SMALL_FILES = 2000;

/** Directories' nodeids by path, looked up once per back end. */
async function directories(bench: Bench, paths: readonly string[]): Promise<Map<string, bigint>> {
  const found = new Map<string, bigint>();
  for (const path of new Set(paths)) found.set(path, await bench.client.walk(`${bench.kind.prefix}${path}`));
  return found;
}

async function smallNodes(bench: Bench): Promise<bigint[]> {
  const files = smallFiles().slice(0, SMALL_FILES);
  const parents = await directories(
    bench,
    files.map((f) => f.directory),
  );
  const nodes: bigint[] = [];
  for (const { directory, name } of files) {
    nodes.push((await bench.client.lookup(parents.get(directory)!, name)).nodeid);
  }
  return nodes;
}

async function reads(bench: Bench, size: number): Promise<Load> {
  const requests: Uint8Array[] = [];
  for (const name of bigFiles()) {
    const node = await bench.client.walk(`${bench.kind.prefix}${name}`);
    const handle = await bench.client.open(node);
    for (let offset = 0; offset < BIG_FILE_BYTES; offset += Math.max(size, 64 << 10)) {
      requests.push(readRequest(Op.read, node, handle, offset, size));
    }
  }
  return { requests, writable: 16 + size };
}

const rows: readonly Row[] = [
  {
    name: 'LOOKUP',
    count: 400_000,
    make: async (bench) => {
      const files = smallFiles().slice(0, SMALL_FILES);
      const parents = await directories(
        bench,
        files.map((f) => f.directory),
      );
      return { requests: files.map((f) => lookupRequest(parents.get(f.directory)!, f.name)), writable: 144 };
    },
  },
  {
    name: 'GETATTR',
    count: 400_000,
    make: async (bench) => ({ requests: (await smallNodes(bench)).map(getattrRequest), writable: 120 }),
  },
  {
    name: 'READDIRPLUS 4 KiB',
    count: 100_000,
    make: async (bench) => {
      const nodes = await directories(
        bench,
        smallFiles().map((f) => f.directory),
      );
      const requests: Uint8Array[] = [];
      for (const node of nodes.values()) {
        const handle = await bench.client.open(node, true);
        requests.push(readRequest(Op.readdirplus, node, handle, 0, 4096));
      }
      return { requests, writable: 16 + 4096 };
    },
  },
  {
    name: 'OPEN + RELEASE',
    count: 200_000,
    make: async (bench) => ({
      requests: (await smallNodes(bench)).map((node) => openRequest(Op.open, node)),
      writable: 32,
      openRelease: true,
    }),
  },
  { name: 'READ 4 KiB, random', count: 400_000, make: (bench) => reads(bench, 4096) },
  { name: 'READ 128 KiB', count: 60_000, make: (bench) => reads(bench, 128 << 10) },
  { name: 'READ 1 MiB', count: 10_000, make: (bench) => reads(bench, 1 << 20) },
];

interface Sample {
  readonly opsPerSecond: number;
  readonly cpuUsPerOp: number;
  readonly p50Us: number;
}

async function measure(bench: Bench, load: Load, depth: number, count: number): Promise<Sample> {
  const cpu = bench.cpuNs();
  const queues = bench.kind.requestQueues;
  const outcomes = await Promise.all(
    Array.from({ length: queues }, (_, q) =>
      runLoad(bench.memory, bench.rings[1 + q]!, load, { depth, count: Math.ceil(count / queues) }),
    ),
  );
  const operations = outcomes.reduce((n, o) => n + o.operations, 0);
  const elapsedNs = Math.max(...outcomes.map((o) => o.elapsedNs));
  const latency = outcomes[0]!.latencyNs.sort();
  return {
    opsPerSecond: (operations / elapsedNs) * 1e9,
    cpuUsPerOp: (bench.cpuNs() - cpu) / operations / 1000,
    p50Us: (latency[latency.length >> 1] ?? 0) / 1000,
  };
}

function summary(samples: readonly Sample[]): Sample {
  return {
    opsPerSecond: median(samples.map((s) => s.opsPerSecond)),
    cpuUsPerOp: median(samples.map((s) => s.cpuUsPerOp)),
    p50Us: median(samples.map((s) => s.p50Us)),
  };
}

/** Runs one row on every back end in turns, `runs` times, and prints a line per back end. */
async function compare(row: Row, benches: readonly Bench[], depth: number, runs: number): Promise<void> {
  const count = depth === 1 ? row.count >> 4 : row.count;
  const loads = new Map<Bench, Load>();
  const samples = new Map<Bench, Sample[]>();
  for (const bench of benches) {
    const load = await row.make(bench);
    loads.set(bench, load);
    samples.set(bench, []);
    await measure(bench, load, depth, Math.max(depth, count >> 3));
  }
  for (let run = 0; run < runs; run++) {
    for (const bench of benches)
      samples.get(bench)!.push(await measure(bench, loads.get(bench)!, depth, count));
  }
  const reference = summary(samples.get(benches[0]!)!);
  for (const bench of benches) {
    const s = summary(samples.get(bench)!);
    const ratio = depth === 1 ? s.p50Us / reference.p50Us : s.opsPerSecond / reference.opsPerSecond;
    const cells = [
      row.name.padEnd(20),
      String(depth).padStart(3),
      bench.kind.name.padEnd(18),
      Math.round(s.opsPerSecond).toLocaleString('en').padStart(10),
      s.p50Us.toFixed(1).padStart(8),
      s.cpuUsPerOp.toFixed(2).padStart(7),
      ratio.toFixed(2).padStart(6),
    ];
    console.log(cells.join('  '));
  }
}

/** On a ring of its own, which no back end serves. */
async function printCeiling(): Promise<void> {
  const memory = new GuestMemory(addon);
  const ring = new DriverRing(addon, memory, 0, 1024);
  const requests = Array.from({ length: SMALL_FILES }, (_, i) => getattrRequest(BigInt(i)));
  const outcome = await runLoad(
    memory,
    ring,
    { requests, writable: 120 },
    { depth: 32, count: 1_000_000, echo: true },
  );
  const perSecond = Math.round((outcome.operations / outcome.elapsedNs) * 1e9).toLocaleString('en');
  console.log(`ceiling of the load loop, GETATTR at depth 32: ${perSecond} op/s`);
  ring.close();
  memory.close();
}

/** Ten million GETATTRs: how much memory they cost. */
async function soak(bench: Bench): Promise<void> {
  const load = await rows[1]!.make(bench);
  for (let million = 1; million <= 10; million++) {
    await measure(bench, load, 32, 1_000_000);
    if (million === 1 || million === 10)
      console.log(`RssAnon after ${million} million: ${bench.rssAnonKib()} KiB`);
  }
}

const USAGE = `usage: npm run bench -- [--runs N] [--depths 1,32] [--rows TEXT] [--work DIR] [--soak] [--compare PROGRAM]

  --runs N       alternating runs per row (default 5)
  --depths LIST  requests in flight (default 32,1)
  --rows TEXT    only rows whose name contains TEXT
  --work DIR     where the tree, image and cache are made (default build/bench)
  --soak         ten million requests, memory printed
  --compare P    another nydusd program to measure beside ours`;

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      runs: { type: 'string', default: '5' },
      depths: { type: 'string', default: '32,1' },
      rows: { type: 'string', default: '' },
      work: { type: 'string', default: resolve(import.meta.dirname, '../../build/bench') },
      soak: { type: 'boolean', default: false },
      compare: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    console.log(USAGE);
    return 0;
  }
  const tree = join(values.work, 'tree');
  mkdirSync(values.work, { recursive: true });
  makeTree(tree);
  buildImage(values.work, tree);
  const kinds: BackendKind[] = [virtiofsd(tree), nydusd(values.work, 1), nydusd(values.work, 2)];
  if (values.compare !== undefined)
    kinds.push({ ...nydusd(values.work, 1, values.compare), name: values.compare.slice(-18) });
  const benches: Bench[] = [];
  try {
    for (const kind of kinds) benches.push(await Bench.start(kind, values.work));
    console.log(
      `${execFileSync('uname', ['-srm'], { encoding: 'utf8' }).trim()}, ${(await import('node:os')).cpus().length} CPUs`,
    );
    await printCeiling();
    console.log(
      'operation             depth  back end                 op/s  p50 us  CPU us  ratio (op/s at depth 32, p50 at 1)',
    );
    for (const depth of values.depths.split(',').map(Number)) {
      for (const row of rows) {
        if (row.name.includes(values.rows)) await compare(row, benches, depth, Number(values.runs));
      }
    }
    if (values.soak) await soak(benches[1]!);
    return 0;
  } finally {
    for (const bench of benches) await bench.stop();
  }
}

process.exitCode = await main();
