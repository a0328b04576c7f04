import { type ChildProcess, type SpawnOptions, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

/** The top of the repository. */
export const repository: string = fileURLToPath(new URL('..', import.meta.url));

/**
 * Starts a long-lived program that gets SIGTERM when this process ends, however it ends, so that a killed test
 * run leaves no guest and no daemon behind.
 */
export function start(program: string, args: readonly string[], options: SpawnOptions): ChildProcess {
  return spawn('setpriv', ['--pdeathsig', 'TERM', '--', program, ...args], options);
}

/** Runs a program to its end and returns its standard output. Throws with what it printed if it fails. */
export function run(program: string, args: readonly string[], cwd: string = repository): Buffer {
  const done = spawnSync(program, args, { cwd, maxBuffer: 1 << 28 });
  if (done.error) throw done.error;
  if (done.status === 0) return done.stdout;
  const said = `${done.stdout.toString()}${done.stderr.toString()}`.trim();
  throw new Error(`${program} ${args.join(' ')}: exit ${done.status ?? done.signal}\n${said}`);
}

/** Waits until a program has ended; after `timeoutMs` it is killed. */
export async function ended(child: ChildProcess, timeoutMs: number): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs);
  await once(child, 'exit');
  clearTimeout(timer);
}

/** Asks a program to end with SIGTERM, kills it if it has not after `timeoutMs`. */
export async function stop(child: ChildProcess, timeoutMs = 10_000): Promise<void> {
  child.kill('SIGTERM');
  await ended(child, timeoutMs);
}

/** Repeats `attempt` until it returns something, at most for `timeoutMs`. */
export async function until<T>(
  what: string,
  timeoutMs: number,
  attempt: () => Promise<T | undefined>,
): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const result = await attempt();
    if (result !== undefined) return result;
    if (Date.now() > deadline) throw new Error(`${what}: not within ${timeoutMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
