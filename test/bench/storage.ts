/**
 * `npm run bench -- storage`: what cold reads leave to others. While 64 cold reads of 1 MiB are under way (zstd,
 * indexed gzip and encrypted chunks in turn), another thread asks the API and a second queue reads cached data.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { addon } from '../../src/native/index.ts';
import { Driver, DriverRing, GuestMemory } from '../support/driver.ts';
import { Frontend } from '../support/frontend.ts';
import { FuseClient } from '../support/fuse-client.ts';
import { connectLikeQemu72 } from '../support/sequences.ts';
import { type Load, median, runLoad } from './load.ts';
import { random } from './random.ts';
import { Op, readRequest } from './requests.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const USAGE = `usage: npm run bench -- storage [--runs N] [--work DIR] [--compare PROGRAM]

  --runs N     rounds, whose medians are printed (default 5)
  --work DIR   where files and images are made (default build/bench-storage)
  --compare P  another nydusd program to measure beside ours`;

const MIB = 1 << 20;
const FILES = 96;
const HOT_BYTES = 64 * MIB;
const COLD_AT_A_TIME = 64;
const CACHED_DEPTH = 32;
const CACHED_BYTES = 4096;
const KINDS = ['zstd', 'gzip-ref', 'encrypted'] as const;

/** Content that compresses to about a third, as programs do. */
function fill(bytes: Buffer, next: () => number): void {
  for (let at = 0; at < bytes.length; at += 16) {
    bytes.writeUInt32LE(next(), at);
    bytes.writeUInt32LE(next() & 0xff, at + 4);
    bytes.writeBigUInt64LE(BigInt(at >> 6), at + 8);
  }
}

function makeFiles(work: string): void {
  if (existsSync(join(work, 'made'))) return;
  rmSync(work, { recursive: true, force: true });
  mkdirSync(join(work, 'cold'), { recursive: true });
  mkdirSync(join(work, 'hot'));
  mkdirSync(join(work, 'blobs'));
  const next = random(20211130);
  const bytes = Buffer.alloc(MIB);
  for (let i = 0; i < FILES; i++) {
    fill(bytes, next);
    writeFileSync(join(work, 'cold', `file-${i}`), bytes);
  }
  const hot = Buffer.alloc(HOT_BYTES);
  fill(hot, next);
  writeFileSync(join(work, 'hot', 'data'), hot);
  const create = (name: string, ...args: string[]): string => {
    const json = join(work, `${name}.json`);
    const all = ['create', '-B', join(work, `${name}.boot`), '-D', join(work, 'blobs'), '-J', json, ...args];
    execFileSync(join(ROOT, 'bin/nydus-image'), all, { stdio: ['ignore', 'ignore', 'inherit'] });
    return (JSON.parse(readFileSync(json, 'utf8')) as { blobs: string[] }).blobs.at(-1)!;
  };
  const cold = join(work, 'cold');
  create('hot', '--compressor', 'none', join(work, 'hot'));
  create('zstd', '--compressor', 'zstd', cold);
  create('encrypted', '--compressor', 'lz4_block', '--encrypt', cold);
  const archive = join(work, 'cold.tar.gz');
  execFileSync('tar', ['-C', cold, '-I', 'gzip -6', '-cf', archive, '.']);
  renameSync(archive, join(work, 'blobs', create('gzip-ref', '-t', 'targz-ref', archive)));
  writeFileSync(join(work, 'made'), '');
}

/** A daemon with a guest of two queues. */
interface Stand {
  readonly name: string;
  readonly child: ChildProcess;
  readonly apisock: string;
  readonly memory: GuestMemory;
  readonly rings: readonly DriverRing[];
  readonly frontend: Frontend;
  /** On the first queue; cached reads have the second one. */
  readonly client: FuseClient;
}

async function start(program: string, name: string, work: string): Promise<Stand> {
  const sock = join(work, `${name}.sock`);
  const apisock = join(work, `${name}.api`);
  for (const path of [sock, apisock]) rmSync(path, { force: true });
  const args = ['virtiofs', '--sock', sock, '--apisock', apisock, '--log-level', 'error'];
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  for (let tries = 0; !existsSync(sock); tries++) {
    if (tries > 500) throw new Error(`${program} did not make its socket`);
    await sleep(20);
  }
  await sleep(300);
  const memory = new GuestMemory(addon, 512 * MIB);
  const rings = [0, 1, 2].map((i) => new DriverRing(addon, memory, i, 1024));
  const frontend = Frontend.connect(addon, sock);
  await connectLikeQemu72(frontend, { memory, rings });
  const client = new FuseClient(new Driver(rings));
  client.queue = 1;
  await client.init();
  return { name, child, apisock, memory, rings, frontend, client };
}

async function stop(stand: Stand): Promise<void> {
  stand.frontend.close();
  for (const ring of stand.rings) ring.close();
  stand.memory.close();
  stand.child.kill('SIGTERM');
  await new Promise((done) => stand.child.once('exit', done));
}

function call(apisock: string, method: string, path: string, body?: string): Promise<string> {
  return new Promise((done, fail) => {
    const asked = request({ socketPath: apisock, method, path, agent: false }, (answer) => {
      let text = '';
      answer.on('data', (part) => (text += String(part))).once('end', () => done(text));
    });
    asked.once('error', fail);
    asked.end(body);
  });
}

async function mount(stand: Stand, work: string, image: string, at: string, cache: string): Promise<void> {
  const backend = { type: 'localfs', config: { dir: join(work, 'blobs') } };
  const device = { backend, cache: { type: 'blobcache', config: { work_dir: cache } } };
  const config = JSON.stringify({ device, mode: 'direct', digest_validate: false });
  const body = JSON.stringify({ source: join(work, `${image}.boot`), fs_type: 'rafs', config });
  const text = await call(stand.apisock, 'POST', `/api/v1/mount?mountpoint=${at}`, body);
  if (text !== '') throw new Error(`mount ${at}: ${text}`);
}

/** Asks the API from a thread of its own until it is told to stop; answers with the milliseconds of each question. */
async function askApi(): Promise<void> {
  const { apisock } = workerData as { apisock: string };
  const took: number[] = [];
  let isOver = false;
  parentPort!.once('message', () => {
    isOver = true;
  });
  while (!isOver) {
    const begin = performance.now();
    await call(apisock, 'GET', '/api/v1/daemon');
    took.push(performance.now() - begin);
    await sleep(5);
  }
  parentPort!.postMessage(took);
  parentPort!.close();
}

async function cachedLoad(stand: Stand): Promise<Load> {
  const node = await stand.client.walk('/hot/data');
  const requests: Uint8Array[] = [];
  for (let offset = 0; offset < HOT_BYTES; offset += 64 << 10) {
    requests.push(readRequest(Op.read, node, 0n, offset, CACHED_BYTES));
  }
  await stand.client.readAll(node, HOT_BYTES, () => {});
  return { requests, writable: 16 + CACHED_BYTES };
}

async function cachedRate(stand: Stand, load: Load, count: number): Promise<number> {
  const { operations, elapsedNs } = await runLoad(stand.memory, stand.rings[2]!, load, {
    depth: CACHED_DEPTH,
    count,
  });
  return (operations / elapsedNs) * 1e9;
}

/**
 * Keeps 64 reads of 1 MiB under way until all files of the three images were read once, and `beside` going meanwhile.
 * Answers the seconds.
 */
async function readCold(
  stand: Stand,
  work: string,
  round: string,
  beside: (isReading: () => boolean) => Promise<void>,
): Promise<number> {
  const files: bigint[] = [];
  for (const kind of KINDS) {
    const cache = join(work, `cache-${stand.name}-${round}-${kind}`);
    await mount(stand, work, kind, `/${round}-${kind}`, cache);
    const parent = await stand.client.walk(`/${round}-${kind}`);
    for (let i = 0; i < FILES; i++) files.push((await stand.client.lookup(parent, `file-${i}`)).nodeid);
  }
  // Kinds in turn, so that all are under way at a time.
  const order = Array.from({ length: files.length }, (_, i) => files[(i % 3) * FILES + Math.floor(i / 3)]!);
  const requests = order.map((node) => readRequest(Op.read, node, 0n, 0, MIB));
  const load = { requests, writable: 16 + MIB, inOrder: true };
  let isReading = true;
  const besides = beside(() => isReading);
  const options = { depth: COLD_AT_A_TIME, count: order.length };
  const { elapsedNs } = await runLoad(stand.memory, stand.rings[1]!, load, options);
  isReading = false;
  await besides;
  for (const kind of KINDS) {
    await call(stand.apisock, 'DELETE', `/api/v1/mount?mountpoint=/${round}-${kind}`);
    rmSync(join(work, `cache-${stand.name}-${round}-${kind}`), { recursive: true, force: true });
  }
  return elapsedNs / 1e9;
}

interface Figures {
  readonly apiMs: number;
  readonly apiWorstMs: number;
  readonly alone: number;
  readonly during: number;
  /** Of the cold reads, with the API asked and with cached reads beside them. */
  readonly coldMibPerSecond: number;
}

async function measure(stand: Stand, work: string, load: Load, round: number): Promise<Figures> {
  const alone = await cachedRate(stand, load, 100_000);
  let took: number[] = [];
  await readCold(stand, work, `api-${round}`, async (isReading) => {
    const asking = new Worker(new URL(import.meta.url), { workerData: { apisock: stand.apisock } });
    const answered = new Promise<number[]>((done) => asking.once('message', done));
    while (isReading()) await sleep(5);
    asking.postMessage('stop');
    took = await answered;
  });
  const rates: number[] = [];
  const seconds = await readCold(stand, work, `cached-${round}`, async (isReading) => {
    while (isReading()) rates.push(await cachedRate(stand, load, Math.ceil(alone / 20)));
  });
  return {
    apiMs: median(took),
    apiWorstMs: Math.max(...took),
    alone,
    // The last piece may have gone on when the cold reads were over.
    during: median(rates.slice(0, -1)),
    coldMibPerSecond: (KINDS.length * FILES) / seconds,
  };
}

function print(name: string, all: readonly Figures[]): void {
  const of = (pick: (one: Figures) => number) => median(all.map(pick));
  const [alone, during] = [of((f) => f.alone), of((f) => f.during)];
  console.log(
    `${name}: GET /api/v1/daemon ${of((f) => f.apiMs).toFixed(1)} ms (worst ${of((f) => f.apiWorstMs).toFixed(0)} ms) beside ` +
      `${COLD_AT_A_TIME} cold reads; cached reads of 4 KiB at depth ${CACHED_DEPTH}: ${Math.round(alone).toLocaleString('en')} a second alone, ` +
      `${Math.round(during).toLocaleString('en')} beside them (${(during / alone).toFixed(2)}); cold ${of((f) => f.coldMibPerSecond).toFixed(0)} MiB/s`,
  );
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      runs: { type: 'string', default: '5' },
      work: { type: 'string', default: join(ROOT, 'build/bench-storage') },
      compare: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    console.log(USAGE);
    return;
  }
  makeFiles(values.work);
  const programs = [['ours', join(ROOT, 'bin/nydusd')]];
  if (values.compare !== undefined) programs.push(['compared', values.compare]);
  const stands: Stand[] = [];
  try {
    for (const [name, program] of programs) stands.push(await start(program!, name!, values.work));
    const figures = new Map(stands.map((stand) => [stand, [] as Figures[]]));
    const loads = new Map<Stand, Load>();
    for (const stand of stands) {
      await mount(stand, values.work, 'hot', '/hot', join(values.work, `cache-${stand.name}`));
      loads.set(stand, await cachedLoad(stand));
    }
    for (let round = 0; round < Number(values.runs); round++) {
      for (const stand of stands) {
        figures.get(stand)!.push(await measure(stand, values.work, loads.get(stand)!, round));
      }
    }
    for (const [stand, all] of figures) print(stand.name, all);
  } finally {
    for (const stand of stands) await stop(stand);
  }
}

if (isMainThread) await main();
else await askApi();
