/** A nydusd process under load, killed, out of space, and mounted and unmounted under a guest that reads. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { addon } from '../support/addon.ts';
import { ConnectedGuest } from '../support/connected-guest.ts';
import { type FuseClient, FuseError } from '../support/fuse-client.ts';
import { backendReads, chunksFetched, differences, mountImage } from '../support/images.ts';
import { Nydusd } from '../support/nydusd.ts';
import { FIXTURES } from '../support/rafs-fixtures.ts';

const IMAGE = 'v6-zstd-blake3';
const QUIET = ['--log-level', 'warn'];

async function running(...more: string[]): Promise<Nydusd> {
  const daemon = new Nydusd([...QUIET, ...more]);
  await daemon.ready();
  return daemon;
}

/** Seeded: a failure can be repeated. */
function* randoms(seed: number): Generator<number, never> {
  for (let state = seed; ; ) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    yield state / 2 ** 32;
  }
}

test.each([
  IMAGE,
  'v6-batch',
  'v5-zstd-sha256',
])('%s: two queues that want the same cold chunks bring each of them once', async (name) => {
  await using daemon = await running('--num-request-queues', '2');
  for (const mountpoint of ['/alone', '/both']) {
    const options = { workDir: join(daemon.directory, mountpoint), amplifyBytes: 0 };
    expect((await mountImage(daemon, FIXTURES, name, options, mountpoint)).text).toBe('');
  }
  using guest = await ConnectedGuest.connect(addon, daemon.sock, 2);
  expect(await differences(guest.client, FIXTURES, name, {}, '/alone')).toEqual([]);
  const both = guest.clients.map((client) => differences(client, FIXTURES, name, {}, '/both'));
  expect(await Promise.all(both)).toEqual([[], []]);

  const chunks = await chunksFetched(daemon, '/alone');
  expect(chunks).toBeGreaterThan(100);
  expect(await chunksFetched(daemon, '/both')).toBe(chunks);
  const once = await backendReads(daemon, '/alone');
  expect((await backendReads(daemon, '/both')).read_amount_total).toBe(once.read_amount_total);
});

/** Set bits of the one chunk map in the directory; 0 if there is none yet. */
function readyChunks(workDir: string): number {
  const file = readdirSync(workDir).find((name) => name.endsWith('.chunk_map'));
  if (file === undefined) return 0;
  let ready = 0;
  for (const byte of readFileSync(join(workDir, file)).subarray(4096)) {
    for (let bits = byte; bits !== 0; bits &= bits - 1) ready++;
  }
  return ready;
}

test.each([
  { name: IMAGE, compressed: false, chunks: 607 },
  { name: IMAGE, compressed: true, chunks: 607 },
  { name: 'v5-zstd-sha256', compressed: false, chunks: 607 },
  { name: 'v6-targz-ref', compressed: false, chunks: 607 },
])('$name, compressed $compressed: killed while it fills the cache, it serves no wrong byte from it', async (image) => {
  const { name, compressed, chunks } = image;
  const directory = mkdtempSync(join(tmpdir(), 'killed-'));
  const random = randoms(20);
  let partial = 0;
  try {
    for (let round = 0; round < 4; round++) {
      const workDir = join(directory, `cache${round}`);
      const options = { workDir, compressed, amplifyBytes: 0 };
      const killAt = Math.floor(random.next().value * chunks * 0.8);
      {
        await using daemon = await running();
        expect((await mountImage(daemon, FIXTURES, name, options, '/m')).text).toBe('');
        const guest = await ConnectedGuest.connect(addon, daemon.sock);
        // The walk does not end: the guest's requests fail when its rings are closed.
        const walk = differences(guest.client, FIXTURES, name, {}, '/m').catch(() => []);
        for (let waits = 0; readyChunks(workDir) < killAt && waits < 10_000; waits++) await sleep(1);
        await sleep(random.next().value * 2);
        daemon.child.kill('SIGKILL');
        await daemon.exit(2000);
        guest[Symbol.dispose]();
        expect(await walk).toEqual([]);
      }
      const kept = readyChunks(workDir);
      if (kept > 0 && kept < chunks) partial++;
      await using daemon = await running();
      expect((await mountImage(daemon, FIXTURES, name, options, '/m')).text).toBe('');
      using guest = await ConnectedGuest.connect(addon, daemon.sock);
      expect(await differences(guest.client, FIXTURES, name, {}, '/m')).toEqual([]);
      expect(await chunksFetched(daemon, '/m')).toBe(chunks - kept);
    }
    expect(partial).toBeGreaterThan(0);
  } finally {
    rmSync(directory, { recursive: true });
  }
}, 180_000);

describe.skipIf(process.getuid!() !== 0)('a full disk (skipped: only root can mount a small tmpfs)', () => {
  test.each([
    { name: IMAGE, compressed: false, room: '256k' },
    { name: 'v5-zstd-sha256', compressed: false, room: '64k' },
    { name: IMAGE, compressed: true, room: '48k' },
  ])('$name, compressed $compressed: reads are answered, and what is marked as kept is kept', async (image) => {
    await using daemon = await running();
    const workDir = join(daemon.directory, 'cache');
    mkdirSync(workDir);
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${image.room}`, 'tmpfs', workDir]);
    try {
      const { name, compressed } = image;
      const options = { workDir, compressed, amplifyBytes: 0 };
      const mount = async () => {
        expect((await mountImage(daemon, FIXTURES, name, options, '/m')).text).toBe('');
      };
      const unmount = () => daemon.call('DELETE', '/api/v1/mount?mountpoint=/m');
      await mount();
      using guest = await ConnectedGuest.connect(addon, daemon.sock);
      const check = async () => expect(await differences(guest.client, FIXTURES, name, {}, '/m')).toEqual([]);
      await check();
      await check();
      const whole = { ...options, workDir: join(daemon.directory, 'whole') };
      expect((await mountImage(daemon, FIXTURES, name, whole, '/whole')).text).toBe('');
      expect(await differences(guest.client, FIXTURES, name, {}, '/whole')).toEqual([]);
      const chunks = await chunksFetched(daemon, '/whole');
      const some = readyChunks(workDir);
      expect(some).toBeLessThan(chunks);

      // What the files have is right, and no more is fetched than they lack, without what memory kept.
      await unmount();
      execFileSync('mount', ['-o', 'remount,size=16m', workDir]);
      await mount();
      await check();
      expect(await chunksFetched(daemon, '/m')).toBe(chunks - some);
      expect(readyChunks(workDir)).toBe(chunks);
      await unmount();
      await mount();
      await check();
      expect((await backendReads(daemon, '/m')).read_count).toBe(0);
    } finally {
      execFileSync('umount', ['-l', workDir]);
    }
  });

  test('a mount whose chunk map cannot be written is refused by its name, and mounts once there is room', async () => {
    await using daemon = await running();
    const workDir = join(daemon.directory, 'cache');
    mkdirSync(workDir);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', workDir]);
    try {
      const filler = join(workDir, 'filler');
      writeFileSync(filler, Buffer.alloc(64 << 10));
      const refused = await mountImage(daemon, FIXTURES, IMAGE, { workDir }, '/m');
      expect(refused.status).toBe(500);
      expect(refused.text).toMatch(/chunk_map: ENOSPC.*make room/);
      rmSync(filler);
      expect((await mountImage(daemon, FIXTURES, IMAGE, { workDir }, '/m')).text).toBe('');
    } finally {
      execFileSync('umount', ['-l', workDir]);
    }
  });

  test('a cache that gets room under a mount is filled', async () => {
    await using daemon = await running();
    const workDir = join(daemon.directory, 'cache');
    mkdirSync(workDir);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', workDir]);
    try {
      expect((await mountImage(daemon, FIXTURES, IMAGE, { workDir }, '/m')).text).toBe('');
      using guest = await ConnectedGuest.connect(addon, daemon.sock);
      expect(await differences(guest.client, FIXTURES, IMAGE, {}, '/m')).toEqual([]);
      execFileSync('mount', ['-o', 'remount,size=16m', workDir]);
      expect(await differences(guest.client, FIXTURES, IMAGE, {}, '/m')).toEqual([]);
      const { read_count } = await backendReads(daemon, '/m');
      expect(await differences(guest.client, FIXTURES, IMAGE, {}, '/m')).toEqual([]);
      expect((await backendReads(daemon, '/m')).read_count).toBe(read_count);
    } finally {
      execFileSync('umount', ['-l', workDir]);
    }
  });
});

interface File {
  readonly path: string;
  readonly nodeid: bigint;
  readonly size: number;
}

/** All regular files below `mountpoint` that are not empty. */
async function filesOf(client: FuseClient, mountpoint: string): Promise<File[]> {
  const files: File[] = [];
  const pending = [{ path: '', nodeid: await client.walk(mountpoint) }];
  for (let item = pending.pop(); item !== undefined; item = pending.pop()) {
    for (const { name, entry } of await client.readWholeDirectory(item.nodeid)) {
      if (name === '.' || name === '..' || entry === undefined) continue;
      const { nodeid, attr } = entry;
      const path = `${item.path}/${name}`;
      if (attr.mode >>> 12 === 4) pending.push({ path, nodeid });
      if (attr.mode >>> 12 === 8 && attr.size > 0) files.push({ path, nodeid, size: attr.size });
    }
  }
  return files;
}

async function readFile(client: FuseClient, { nodeid, size }: File): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  await client.readAll(nodeid, size, (bytes) => pieces.push(bytes.slice()));
  return Buffer.concat(pieces);
}

/** Reads all files at once; what is answered must be right. Returns the errno of each read that failed. */
async function readAllAtOnce(
  client: FuseClient,
  files: readonly File[],
  contents: ReadonlyMap<string, Buffer>,
): Promise<number[]> {
  const errors: number[] = [];
  const read = async (file: File): Promise<void> => {
    try {
      const bytes = await readFile(client, file);
      expect(bytes.equals(contents.get(file.path)!), file.path).toBe(true);
    } catch (error) {
      if (!(error instanceof FuseError)) throw error;
      errors.push(error.errno);
    }
  };
  await Promise.all(files.map(read));
  return errors;
}

test('every request in flight is answered when its image is unmounted or replaced, and none wrongly', async () => {
  await using daemon = await running();
  const random = randoms(7);
  using guest = await ConnectedGuest.connect(addon, daemon.sock);
  const { client } = guest;
  const known = { workDir: join(daemon.directory, 'known') };
  expect((await mountImage(daemon, FIXTURES, IMAGE, known, '/known')).text).toBe('');
  const contents = new Map<string, Buffer>();
  for (const file of await filesOf(client, '/known')) contents.set(file.path, await readFile(client, file));
  expect(await differences(client, FIXTURES, IMAGE, {}, '/known')).toEqual([]);

  let failures = 0;
  for (let round = 0; round < 12; round++) {
    const options = { workDir: join(daemon.directory, `cache${round}`), amplifyBytes: 0 };
    expect((await mountImage(daemon, FIXTURES, IMAGE, options, '/m')).text).toBe('');
    const reads = readAllAtOnce(client, await filesOf(client, '/m'), contents);
    await sleep(random.next().value * 12);
    if (round % 2 === 0) {
      const replaced = await mountImage(daemon, FIXTURES, IMAGE, options, '/m', 'PUT');
      expect(replaced.text).toBe('');
      expect(await differences(client, FIXTURES, IMAGE, {}, '/m')).toEqual([]);
    }
    expect((await daemon.call('DELETE', '/api/v1/mount?mountpoint=/m')).text).toBe('');
    failures += (await reads).length;
    await expect(client.walk('/m')).rejects.toThrow(FuseError);
  }
  // Otherwise nothing was in flight.
  expect(failures).toBeGreaterThan(0);
  expect(daemon.child.exitCode).toBeNull();
});

/** KiB. */
function memoryOf(daemon: Nydusd, field: string): number {
  const status = readFileSync(`/proc/${daemon.child.pid}/status`, 'utf8');
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(status)![1]);
}

test('1,000 mounts and unmounts under a guest that looks each time keep descriptors and memory', async () => {
  await using daemon = await running();
  using guest = await ConnectedGuest.connect(addon, daemon.sock);
  const { client } = guest;
  const workDir = join(daemon.directory, 'cache');
  const cycle = async (name: string): Promise<void> => {
    expect((await mountImage(daemon, FIXTURES, name, { workDir }, '/a/b')).text).toBe('');
    const root = await client.walk('/a/b');
    expect((await client.readWholeDirectory(root)).length).toBeGreaterThan(2);
    expect((await daemon.call('DELETE', '/api/v1/mount?mountpoint=/a/b')).status).toBe(204);
    await expect(client.lookup(1n, 'a')).rejects.toThrow(FuseError);
    await expect(client.getattr(root)).rejects.toThrow(FuseError);
    await client.forget(root);
  };
  const both = async (): Promise<void> => {
    await cycle(IMAGE);
    await cycle('v5-zstd-sha256');
  };
  // Until the JavaScript heaps have found their size.
  for (let i = 0; i < 500; i++) await both();
  const descriptors = readdirSync(`/proc/${daemon.child.pid}/fd`).length;
  const before = memoryOf(daemon, 'RssAnon');
  for (let i = 0; i < 500; i++) await both();
  expect(readdirSync(`/proc/${daemon.child.pid}/fd`).length).toBeLessThanOrEqual(descriptors + 3);
  expect(memoryOf(daemon, 'RssAnon')).toBeLessThan(before + 24 * 1024);
}, 180_000);

test('4,096 images are mounted at once; one more is refused', async () => {
  await using daemon = await running();
  const workDir = join(daemon.directory, 'cache');
  const start = performance.now();
  const batch = 16;
  for (let i = 0; i < 4096; i += batch) {
    const answers = await Promise.all(
      Array.from({ length: batch }, (_, k) =>
        mountImage(daemon, FIXTURES, 'v6-dict', { workDir }, `/m${i + k}`),
      ),
    );
    for (const { text } of answers) expect(text).toBe('');
  }
  const seconds = (performance.now() - start) / 1000;
  const idleMiB = memoryOf(daemon, 'RssAnon') >> 10;
  expect((await mountImage(daemon, FIXTURES, 'v6-dict', { workDir }, '/more')).text).toContain('4096');
  using guest = await ConnectedGuest.connect(addon, daemon.sock);
  for (const i of [0, 1, 2047, 4095]) {
    expect(await differences(guest.client, FIXTURES, 'v6-dict', {}, `/m${i}`)).toEqual([]);
  }
  const servedMiB = memoryOf(daemon, 'RssAnon') >> 10;
  console.info(
    `4,096 mounts: ${seconds.toFixed(1)} s, RssAnon ${idleMiB} MiB, with a guest ${servedMiB} MiB`,
  );
  expect((await guest.client.readWholeDirectory(1n)).length).toBe(4098);
}, 180_000);
