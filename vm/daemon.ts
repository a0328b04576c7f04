import type { ChildProcess } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Agent, request } from 'undici';
import { repository, start, stop, until } from './process.ts';

const START_TIMEOUT_MS = 30_000;

/** Where the programs are: our launchers, unless `NYDUS_PROGRAMS` names a directory with others of the same names. */
export const programs: string = process.env.NYDUS_PROGRAMS ?? join(repository, 'bin');

/** Methods of the API. */
export type Method = 'DELETE' | 'GET' | 'POST' | 'PUT';

/** What the API answered. */
export interface Reply {
  readonly status: number;
  readonly body: string;
}

/** A nydusd that serves virtio-fs, started as a user would start it. */
export class Daemon {
  readonly sock: string;
  readonly apisock: string;
  readonly #child: ChildProcess;
  readonly #log: string;

  private constructor(child: ChildProcess, sock: string, apisock: string, log: string) {
    this.#child = child;
    this.sock = sock;
    this.apisock = apisock;
    this.#log = log;
  }

  /** Starts `nydusd virtiofs` with its sockets in `directory` and waits until both are there. */
  static async start(directory: string, args: readonly string[] = []): Promise<Daemon> {
    const sock = join(directory, 'vhost-user-fs.sock');
    const apisock = join(directory, 'api.sock');
    const log = join(directory, 'nydusd.log');
    const out = openSync(log, 'a');
    const child = start(
      join(programs, 'nydusd'),
      ['virtiofs', '--sock', sock, '--apisock', apisock, '--log-level', 'info', ...args],
      { stdio: ['ignore', out, out] },
    );
    closeSync(out);
    const daemon = new Daemon(child, sock, apisock, log);
    try {
      await until('nydusd opens its sockets', START_TIMEOUT_MS, async () => {
        if (child.exitCode !== null) throw new Error(`nydusd ended: exit ${child.exitCode}`);
        if (!existsSync(sock)) return undefined;
        const reply = await daemon.call('GET', '/api/v1/daemon').catch(() => undefined);
        return reply?.status === 200 ? reply : undefined;
      });
    } catch (error) {
      await stop(child);
      throw new Error(`${error instanceof Error ? error.message : error}\n${daemon.log()}`);
    }
    return daemon;
  }

  /** One request to the API socket. */
  async call(method: Method, path: string, body?: unknown): Promise<Reply> {
    const dispatcher = new Agent({ connect: { socketPath: this.apisock } });
    try {
      const response = await request(`http://localhost${path}`, {
        dispatcher,
        method,
        headers: body === undefined ? {} : { 'content-type': 'application/json' },
        body: body === undefined ? null : JSON.stringify(body),
      });
      return { status: response.statusCode, body: await response.body.text() };
    } finally {
      await dispatcher.close();
    }
  }

  /** A call that must be answered 2xx. */
  async must(method: Method, path: string, body?: unknown): Promise<Reply> {
    const reply = await this.call(method, path, body);
    if (reply.status >= 300)
      throw new Error(`${method} ${path}: ${reply.status} ${reply.body}\n${this.log()}`);
    return reply;
  }

  /** Mounts a RAFS image as today's clients do: the config is JSON text in the body. */
  async mount(mountpoint: string, bootstrap: string, config: object): Promise<void> {
    const query = `/api/v1/mount?mountpoint=${encodeURIComponent(mountpoint)}`;
    await this.must('POST', query, { source: bootstrap, fs_type: 'rafs', config: JSON.stringify(config) });
  }

  /** Unmounts what is mounted at `mountpoint`. */
  async unmount(mountpoint: string): Promise<void> {
    await this.must('DELETE', `/api/v1/mount?mountpoint=${encodeURIComponent(mountpoint)}`);
  }

  /** The process id of the daemon (`setpriv` replaces itself with it). */
  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** False once the process has ended. */
  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** The last lines that the daemon logged. */
  log(): string {
    return readFileSync(this.#log, 'utf8').split('\n').slice(-40).join('\n');
  }

  /** Stops the daemon with SIGTERM; returns its exit code, or null if a signal ended it. */
  async stop(): Promise<number | null> {
    await stop(this.#child);
    return this.#child.exitCode;
  }
}
