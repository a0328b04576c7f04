/** Rings on a real worker thread, whose requests for chunks the test answers when it likes. */
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { BlobView, ChunkAnswer, ChunkRequest } from '../../../../../src/blob/view.ts';
import { Attr } from '../../../../../src/fuse/filesystem.ts';
import { seal } from '../../../../../src/native/sealed.ts';
import type { MountSpec } from '../../../../../src/programs/nydusd/workers/messages.ts';
import { WorkerPool } from '../../../../../src/programs/nydusd/workers/pool.ts';
import { openBootstrap } from '../../../../../src/rafs/open-bootstrap.ts';
import { Opcode } from '../../../../../src/wire/fuse.ts';
import { addon } from '../../../../support/addon.ts';
import { fuseRequest } from '../../../../support/fake-channel.ts';
import type { Frontend } from '../../../../support/frontend.ts';
import {
  bootstrapBytes,
  emptyViews,
  FIXTURES,
  type Listed,
  list,
  openFileSystem,
} from '../../../../support/rafs-fixtures.ts';
import { CollectingSink } from '../../../../support/read-sink.ts';
import { connectLikeQemu72, type Guest, restartLikeQemu } from '../../../../support/sequences.ts';
import { readIn } from '../../../fuse/harness.ts';
import { Bench, waitFor } from '../../../vhost/harness.ts';

const SERIAL = 5;
const IMAGE = 'v5-none-blake3';

interface Fetch {
  readonly done: (result: number) => void;
}

let pool: WorkerPool;
let bench: Bench;
let guest: Guest;
let frontend: Frontend;
let views: BlobView[];
let fetches: Fetch[];
let bootstrapFd: number;

/** A regular file of the image that has content, and that content. */
function someFile(): { lo: number; content: Buffer } {
  const ready = views.map((view) => ({ ...view, ready: null }));
  const fs = openFileSystem(bootstrapBytes(FIXTURES, IMAGE), { blobs: ready });
  const directories = [fs.rootLo];
  for (const directory of directories) {
    const files: number[] = [];
    for (const { lo, type, name } of list(fs, directory) as Listed[]) {
      const attr = new Attr();
      fs.getattr(0, lo, attr);
      if (type === 4 && !/^\.\.?$/.test(name.toString())) directories.push(lo);
      if (type === 8 && attr.size > 0) files.push(lo);
    }
    const lo = files[0];
    if (lo === undefined) continue;
    const sink = new CollectingSink();
    fs.read(0, lo, 0, 4096, sink);
    return { lo, content: sink.bytes };
  }
  throw new Error('no file');
}

/** Every chunk is in its cache file from now on. */
function makeReady(): void {
  for (const { ready } of views) new Uint8Array(ready!).fill(0xff);
}

beforeEach(async () => {
  fetches = [];
  const bytes = bootstrapBytes(FIXTURES, IMAGE);
  const { blobs } = openBootstrap(bytes, IMAGE);
  views = emptyViews(openBootstrap(bytes, IMAGE)).map((view, i) => ({
    ...view,
    fd: openSync(join(FIXTURES, 'blobs', blobs[i]!.id), 'r'),
  }));
  bootstrapFd = await seal(addon, IMAGE, bytes.byteLength, (into) => into.set(new Uint8Array(bytes)));
  pool = new WorkerPool({
    log: { debug() {}, info() {}, warn() {}, error() {} },
    pollUs: 0,
    connectStorage: (port) =>
      port.on('message', ({ fetch }: ChunkRequest) => {
        fetches.push({
          done: (result) => port.postMessage({ fetch, result, pieces: null } satisfies ChunkAnswer),
        });
      }),
    fault: () => {},
    died: (cause) => {
      throw cause;
    },
  });
  bench = new Bench({ host: pool });
  guest = bench.guest();
  frontend = bench.connect();
  await connectLikeQemu72(frontend, guest);
  const spec: MountSpec = {
    serial: SERIAL,
    path: '/image',
    bootstrapFd,
    bootstrapSize: bytes.byteLength,
    blobs: views,
    uid: 0,
    gid: 0,
    xattrs: true,
    validate: false,
    account: { files: false, pattern: false, latest: false },
  };
  expect(await pool.mount(spec)).toBe(0);
});

afterEach(async () => {
  await bench.close();
  await pool.stop();
  for (const { fd } of views) closeSync(fd);
  addon.closeFd(bootstrapFd);
});

/** A READ that waits for its chunk. */
async function waitingRead(lo: number) {
  const request = fuseRequest({ opcode: Opcode.READ, hi: SERIAL, lo }, readIn(0n, 4096));
  const answer = guest.rings[1]!.request(request, 16 + 4096);
  answer.catch(() => {});
  await waitFor(() => fetches.length > 0, 'the worker to ask for a chunk');
  return { answer };
}

async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  const pending = Symbol('pending');
  return (await Promise.race([promise, sleep(50).then(() => pending)])) !== pending;
}

it('a paused guest gets what it had asked for, and goes on from there', async () => {
  const { lo, content } = someFile();
  const { answer } = await waitingRead(lo);
  const stopped = frontend.getVringBase(1);
  expect(await isSettled(stopped)).toBe(false);
  makeReady();
  for (const { done } of fetches) done(0);
  const { bytes, usedLen } = await answer;
  expect(Buffer.compare(bytes.subarray(16, usedLen), content)).toBe(0);
  expect(await stopped).toBe(1);
  guest.rings[1]!.base = 1;
  await frontend.getVringBase(0);
  await restartLikeQemu(frontend, guest, 3);
  const again = fuseRequest({ opcode: Opcode.READ, hi: SERIAL, lo }, readIn(0n, 4096));
  expect((await guest.rings[1]!.request(again, 16 + 4096)).usedLen).toBe(16 + content.length);
});

it('a guest that is gone waits for nothing, and what it asked for is answered to nobody', async () => {
  await waitingRead(someFile().lo);
  expect(await pool.inflight()).toMatchObject([[{ opcode: Opcode.READ }]]);
  frontend.close();
  await bench.idle();
  expect(await pool.inflight()).toEqual([[]]);
  for (const { done } of fetches) done(0);
  expect(await pool.inflight()).toEqual([[]]);
});

it('an unmount ends when the last request that uses the image was answered', async () => {
  const { lo, content } = someFile();
  const { answer } = await waitingRead(lo);
  const unmounted = pool.unmount(SERIAL);
  expect(await isSettled(unmounted)).toBe(false);
  makeReady();
  for (const { done } of fetches) done(0);
  expect((await answer).usedLen).toBe(16 + content.length);
  await unmounted;
  const late = fuseRequest({ opcode: Opcode.GETATTR, hi: SERIAL, lo });
  const { bytes } = await guest.rings[1]!.request(late, 120);
  expect(Buffer.from(bytes).readInt32LE(4)).toBe(-2);
});

it('a worker that stops does not wait for data', async () => {
  await waitingRead(someFile().lo);
  const started = performance.now();
  await pool.stop();
  expect(performance.now() - started).toBeLessThan(400);
});
