/** A real nydusd process with its API. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { request as httpRequest, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { stop } from '../../vm/process.ts';

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

/** A running daemon in a directory of its own. */
export class Nydusd {
  readonly directory: string;
  readonly sock: string;
  readonly apisock: string;
  readonly child: ChildProcess;
  stderr = '';

  constructor(more: readonly string[] = []) {
    this.directory = mkdtempSync(join(tmpdir(), 'nydusd-'));
    this.sock = join(this.directory, 'vhost.sock');
    this.apisock = join(this.directory, 'api.sock');
    const program = new URL('../../bin/nydusd', import.meta.url).pathname;
    this.child = spawn(program, ['virtiofs', '--sock', this.sock, '--apisock', this.apisock, ...more], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.child.stderr!.on('data', (chunk) => {
      this.stderr += String(chunk);
    });
  }

  /** Resolves with the milliseconds until the API answered that the daemon runs. */
  async ready(timeoutMs = 10_000): Promise<number> {
    const start = performance.now();
    while (performance.now() - start < timeoutMs) {
      if (this.child.exitCode !== null) break;
      const answer = await this.call('GET', '/api/v1/daemon').catch(() => null);
      if (answer?.text.includes('"RUNNING"')) return performance.now() - start;
      await sleep(5);
    }
    throw new Error(`nydusd does not answer: ${this.stderr}`);
  }

  async call(method: string, path: string, body?: string): Promise<Answer> {
    const request = httpRequest({ socketPath: this.apisock, method, path, agent: false });
    const answered = Promise.withResolvers<IncomingMessage>();
    request.once('response', answered.resolve).once('error', answered.reject);
    request.end(body);
    const response = await answered.promise;
    let text = '';
    for await (const chunk of response) text += String(chunk);
    return { status: response.statusCode!, headers: response.headers, text };
  }

  /** Waits for the end of the process. */
  async exit(timeoutMs: number): Promise<{ code: number | null; signal: string | null }> {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      await once(this.child, 'exit', { signal: AbortSignal.timeout(timeoutMs) });
    }
    return { code: this.child.exitCode, signal: this.child.signalCode };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Asked to end, and killed only if it does not: a killed process leaves no record of what it executed.
    await stop(this.child, 5000);
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** Folder with the small images of the repository. */
export const fixtures: string = new URL('../fixtures', import.meta.url).pathname;

/** Text of a version 1 configuration over the repository's blobs with its cache in `workDir`. */
export function configText(workDir: string): string {
  return JSON.stringify({
    device: {
      backend: { type: 'localfs', config: { dir: `${fixtures}/blobs` } },
      cache: { type: 'blobcache', config: { work_dir: workDir } },
    },
    mode: 'direct',
    enable_xattr: true,
  });
}
