import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { addon } from '../../src/native/index.ts';
import { DriverRing, GuestMemory } from '../support/driver.ts';
import { Frontend } from '../support/frontend.ts';
import { FuseClient } from '../support/fuse-client.ts';
import { connectLikeQemu72 } from '../support/sequences.ts';

const ROOT: string = resolve(import.meta.dirname, '../..');
const QUEUE_SIZE = 1024;
/** Twice what 32 requests of 1 MiB on two queues take: the load loop uses the lower half only. */
const GUEST_BYTES = 256 << 20;

/** How to start a back end that serves `tree` (or an image of it) on `socket`. */
export interface BackendKind {
  readonly name: string;
  readonly requestQueues: number;
  readonly command: (socket: string) => string[];
  /** Where the tree is below the mount's root. */
  readonly prefix: string;
}

/** Debian's virtiofsd (C, of QEMU 7.2), as its README recommends for read-mostly trees. */
export function virtiofsd(tree: string): BackendKind {
  return {
    name: 'virtiofsd',
    requestQueues: 1,
    prefix: '',
    command: (socket) => [
      '/usr/lib/qemu/virtiofsd',
      `--socket-path=${socket}`,
      '-o',
      `source=${tree},cache=always,sandbox=chroot`,
    ],
  };
}

/** Ours over a v6 image of the tree, compressor none. */
export function nydusd(
  work: string,
  requestQueues: number,
  program: string = join(ROOT, 'bin/nydusd'),
): BackendKind {
  return {
    name: requestQueues === 1 ? 'nydusd' : `nydusd, ${requestQueues} queues`,
    requestQueues,
    prefix: '',
    command: (socket) => [
      program,
      'virtiofs',
      '--sock',
      socket,
      '--bootstrap',
      join(work, 'image.boot'),
      '--config',
      join(work, 'config.json'),
      '--log-level',
      'error',
    ],
  };
}

/** Builds the image that nydusd serves; once per work directory. */
export function buildImage(work: string, tree: string): void {
  mkdirSync(join(work, 'blobs'), { recursive: true });
  if (!existsSync(join(work, 'image.boot'))) {
    const args = [
      'create',
      '--compressor',
      'none',
      '-B',
      join(work, 'image.boot'),
      '-D',
      join(work, 'blobs'),
      tree,
    ];
    execFileSync(join(ROOT, 'bin/nydus-image'), args, { stdio: ['ignore', 'ignore', 'inherit'] });
  }
  const backend = { type: 'localfs', config: { dir: join(work, 'blobs') } };
  const cache = { type: 'blobcache', config: { work_dir: join(work, 'cache') } };
  writeFileSync(
    join(work, 'config.json'),
    JSON.stringify({ device: { backend, cache }, mode: 'direct', enable_xattr: true }),
  );
}

/** A running back end with a guest connected to it. */
export class Bench {
  readonly kind: BackendKind;
  readonly memory: GuestMemory;
  readonly rings: readonly DriverRing[];
  readonly client: FuseClient;
  readonly #process: ChildProcess;
  readonly #frontend: Frontend;
  readonly #socket: string;
  #isRunning = true;

  private constructor(
    kind: BackendKind,
    process: ChildProcess,
    frontend: Frontend,
    memory: GuestMemory,
    rings: DriverRing[],
    socket: string,
  ) {
    this.kind = kind;
    this.#process = process;
    this.#frontend = frontend;
    this.memory = memory;
    this.rings = rings;
    this.#socket = socket;
    this.client = new FuseClient({
      request: (queue, readable, writable, layout) => rings[queue]!.request(readable, writable, layout),
    });
  }

  static async start(kind: BackendKind, work: string): Promise<Bench> {
    const socket = join(work, `bench-${process.pid}.sock`);
    rmSync(socket, { force: true });
    const [program, ...args] = kind.command(socket);
    const child = spawn(program!, args, { stdio: ['ignore', 'ignore', 'inherit'] });
    for (let tries = 0; !existsSync(socket); tries++) {
      if (tries > 500 || child.exitCode !== null) throw new Error(`${kind.name} did not make its socket`);
      await sleep(20);
    }
    await sleep(200);
    const memory = new GuestMemory(addon, GUEST_BYTES);
    const rings = Array.from(
      { length: 1 + kind.requestQueues },
      (_, i) => new DriverRing(addon, memory, i, QUEUE_SIZE),
    );
    const frontend = Frontend.connect(addon, socket);
    await connectLikeQemu72(frontend, { memory, rings });
    // virtiofsd's queue thread panics when its call descriptor is replaced while it answers: first let all messages
    // arrive.
    await frontend.getFeatures();
    child.once('exit', (code) => {
      if (bench.#isRunning) console.error(`${kind.name} ended with ${code}: the requests in flight are lost`);
      if (bench.#isRunning) process.exit(1);
    });
    const bench = new Bench(kind, child, frontend, memory, rings, socket);
    // Without NO_OPEN_SUPPORT (bit 17) and NO_OPENDIR_SUPPORT (bit 24): opens are served.
    await bench.client.init(0x7bfffffb & ~(1 << 17) & ~(1 << 24));
    return bench;
  }

  /** CPU time that the back end has used so far, all threads, in nanoseconds. */
  cpuNs(): number {
    let total = 0;
    for (const task of readdirSync(`/proc/${this.#process.pid}/task`)) {
      try {
        const text = readFileSync(`/proc/${this.#process.pid}/task/${task}/schedstat`, 'latin1');
        total += Number(text.split(' ')[0]);
      } catch {
        // The thread ended meanwhile.
      }
    }
    return total;
  }

  /** RssAnon of the back end in KiB. */
  rssAnonKib(): number {
    const status = readFileSync(`/proc/${this.#process.pid}/status`, 'latin1');
    return Number(/RssAnon:\s+(\d+)/.exec(status)?.[1] ?? 0);
  }

  async stop(): Promise<void> {
    this.#isRunning = false;
    this.#frontend.close();
    for (const ring of this.rings) ring.close();
    this.memory.close();
    const exited = new Promise((resolve) => this.#process.once('exit', resolve));
    this.#process.kill('SIGTERM');
    await Promise.race([exited, sleep(3000).then(() => this.#process.kill('SIGKILL'))]);
    rmSync(this.#socket, { force: true });
  }
}
