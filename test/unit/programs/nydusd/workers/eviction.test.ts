/** A queue worker that reads throughout, while chunks are evicted under it and fetched anew. */
import { mkdtempSync, readSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { Blob } from '../../../../../src/blob/blob.ts';
import { addonCodecs } from '../../../../../src/blob/codecs.ts';
import { addonLander } from '../../../../../src/blob/lander.ts';
import type { CachedChunk } from '../../../../../src/blob/open-cache.ts';
import { BlobStore } from '../../../../../src/blob/store.ts';
import type { ChunkAnswer, ChunkRecord, ChunkRequest } from '../../../../../src/blob/view.ts';
import { Attr } from '../../../../../src/fuse/filesystem.ts';
import { seal } from '../../../../../src/native/sealed.ts';
import { WorkerPool } from '../../../../../src/programs/nydusd/workers/pool.ts';
import { blobSpec } from '../../../../../src/rafs/blob-spec.ts';
import { openBootstrap } from '../../../../../src/rafs/open-bootstrap.ts';
import { LocalfsSource } from '../../../../../src/source/localfs.ts';
import { Opcode } from '../../../../../src/wire/fuse.ts';
import { addon } from '../../../../support/addon.ts';
import { fuseRequest } from '../../../../support/fake-channel.ts';
import { bootstrapBytes, FIXTURES, list, openFileSystem } from '../../../../support/rafs-fixtures.ts';
import { connectLikeQemu72, type Guest } from '../../../../support/sequences.ts';
import { readIn } from '../../../fuse/harness.ts';
import { Bench } from '../../../vhost/harness.ts';
import type { EvictorTask } from './evictor.ts';

const SERIAL = 5;
const IMAGE = 'v5-none-blake3';
const READ_BYTES = 64 << 10;
const ROUNDS = 500;
const READS = 4;

let dir: string;
let store: BlobStore;
let source: LocalfsSource;
let blobs: Blob[];
let pool: WorkerPool;
let bench: Bench;
let guest: Guest;
let bootstrapFd: number;
/** Chunks that were fetched, with the blob they are in. */
let fetched: Map<string, { blob: Blob; chunk: CachedChunk }>;
let fetches = 0;

function remember(blob: Blob, record: ChunkRecord): void {
  const { index, uncompressedOffset: offset, uncompressedSize: size } = record;
  fetched.set(`${blob.handle}:${index}`, { blob, chunk: { index, offset, size } });
}

async function answer({ fetch, blob: handle, chunks }: ChunkRequest): Promise<ChunkAnswer> {
  fetches++;
  const blob = blobs.find((one) => one.handle === handle)!;
  for (const { record } of chunks) remember(blob, record!);
  return { fetch, result: 0, pieces: await blob.fetch(chunks) };
}

/** Regular files with content, largest first. */
function largestFiles(count: number): { lo: number; size: number }[] {
  const fs = openFileSystem(bootstrapBytes(FIXTURES, IMAGE), {});
  const found: { lo: number; size: number }[] = [];
  const directories = [fs.rootLo];
  for (const directory of directories) {
    const entries = list(fs, directory);
    if (typeof entries === 'number') throw new Error(`readdir: ${entries}`);
    for (const { lo, type, name } of entries) {
      const attr = new Attr();
      fs.getattr(0, lo, attr);
      if (type === 4 && !/^\.\.?$/.test(name.toString())) directories.push(lo);
      if (type === 8) found.push({ lo, size: attr.size });
    }
  }
  return found.sort((a, b) => b.size - a.size).slice(0, count);
}

async function read(lo: number): Promise<Buffer> {
  const request = fuseRequest({ opcode: Opcode.READ, hi: SERIAL, lo }, readIn(0n, READ_BYTES));
  const { bytes, usedLen } = await guest.rings[1]!.request(request, 16 + READ_BYTES);
  const reply = Buffer.from(bytes.subarray(0, usedLen));
  if (reply.readInt32LE(4) !== 0) throw new Error(`READ: ${reply.readInt32LE(4)}`);
  return reply.subarray(16);
}

beforeEach(async () => {
  dir = mkdtempSync('/dev/shm/eviction-');
  fetched = new Map();
  const bytes = bootstrapBytes(FIXTURES, IMAGE);
  const bootstrap = openBootstrap(bytes, IMAGE);
  store = new BlobStore(addonCodecs(addon), addonLander(addon), () => {});
  source = new LocalfsSource({ dir: join(FIXTURES, 'blobs') });
  const cache = { kind: 'file', workDir: dir, compressed: false, validate: false } as const;
  const config = { ...cache, disableIndexedMap: false, amplifyBytes: 0 };
  blobs = await Promise.all(
    bootstrap.blobs.map((row) => store.open(blobSpec(row, bootstrap, IMAGE), config, source)),
  );
  bootstrapFd = await seal(addon, IMAGE, bytes.byteLength, (into) => into.set(new Uint8Array(bytes)));
  pool = new WorkerPool({
    log: { debug() {}, info() {}, warn() {}, error() {} },
    pollUs: 0,
    connectStorage: (port) =>
      port.on('message', (request: ChunkRequest) => {
        void answer(request).then((reply) => port.postMessage(reply));
      }),
    fault: () => {},
    died: (cause) => {
      throw cause;
    },
  });
  bench = new Bench({ host: pool });
  guest = bench.guest();
  await connectLikeQemu72(bench.connect(), guest);
  const views = blobs.map((blob) => blob.view());
  const account = { files: false, pattern: false, latest: false };
  const memory = { bootstrapFd, bootstrapSize: bytes.byteLength };
  const owner = { uid: 0, gid: 0, xattrs: true, validate: false };
  expect(
    await pool.mount({ serial: SERIAL, path: '/image', ...memory, blobs: views, ...owner, account }),
  ).toBe(0);
});

afterEach(async () => {
  await bench.close();
  await pool.stop();
  for (const blob of blobs) await store.close(blob, source);
  await source.close();
  addon.closeFd(bootstrapFd);
  rmSync(dir, { recursive: true });
});

it('fetches anew what was evicted', async () => {
  const [file] = largestFiles(1);
  const content = await read(file!.lo);
  for (let round = 0; round < 20; round++) {
    const before = fetches;
    for (const { blob, chunk } of fetched.values()) expect(blob.evict([chunk])).toBe(chunk.size);
    expect((await read(file!.lo)).equals(content)).toBe(true);
    expect(fetches).toBeGreaterThan(before);
  }
});

it('never gives a guest the zeros of a hole', async () => {
  const { lo } = largestFiles(1)[0]!;
  const content = await read(lo);
  const { blob } = [...fetched.values()][0]!;
  const { fd, ready, evictions } = blob.view();
  const chunks = [...fetched.values()].map(({ chunk }) => {
    const bytes = new Uint8Array(chunk.size);
    readSync(fd, bytes, 0, chunk.size, chunk.offset);
    return { ...chunk, bytes };
  });
  const control = new SharedArrayBuffer(8);
  const task: EvictorTask = { fd, ready: ready!, evictions: evictions!, chunks, control };
  const evictor = new Worker(new URL('./evictor.ts', import.meta.url), { workerData: task });
  const ended = new Promise((resolve) => evictor.once('exit', resolve));
  try {
    for (let round = 0; round < ROUNDS; round++) {
      const replies = await Promise.all(Array.from({ length: READS }, () => read(lo)));
      for (const bytes of replies) expect(bytes.equals(content), `round ${round}`).toBe(true);
    }
  } finally {
    Atomics.store(new Int32Array(control), 0, 1);
    await ended;
  }
  expect(new Int32Array(control)[1]).toBeGreaterThan(100);
}, 120_000);
