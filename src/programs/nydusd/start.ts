/** nydusd: joins the API, the vhost-user socket, the workers and the mounts; starts and ends them. */
import { lstatSync, unlinkSync } from 'node:fs';
import { flushCompileCache } from 'node:module';
import { listen } from '../../http/server.ts';
import { describeError } from '../../service/nydusd/errors.ts';
import { nydusdApi } from '../../service/nydusd/routes.ts';
import { Log } from '../common/logging.ts';
import { packageVersion } from '../common/version.ts';
import { DaemonControl } from './control.ts';
import type { DataPlane } from './data-plane.ts';
import { EventLog } from './events.ts';
import { LifeCycle } from './life-cycle.ts';
import type { NydusdOptions } from './options.ts';
import { RuntimeConfig } from './runtime-config.ts';

type ApiServer = Awaited<ReturnType<typeof listen>>;

/** Fields that describe a Rust build tell what stands in their place. */
const VERSION = {
  package_ver: packageVersion,
  git_commit: 'unknown',
  build_time: 'unknown',
  profile: 'release',
  rustc: `node ${process.version}`,
};

/** When compiled code is kept for the next start: once this one has nothing better to do. */
const COMPILE_CACHE_DELAY_MS = 1000;
/** A shutdown that hangs must not keep the process: whoever sent SIGTERM is waiting. */
const SHUTDOWN_TIMEOUT_MS = 1500;
/** How long Node's own end may take after that, in whole seconds. */
const EXIT_TIMEOUT_S = 1;

/** Runs until SIGTERM, SIGINT, the API's exit or a failure; answers the exit code. Throws when it cannot start. */
export async function runNydusd(options: NydusdOptions): Promise<number> {
  const log = new Log({
    program: 'nydusd',
    level: options.logLevel,
    file: options.logFile,
    rotationSizeMb: options.logRotationSizeMb,
  });
  const life = new LifeCycle();
  const events = new EventLog();
  const end = Promise.withResolvers<number>();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => end.resolve(0));
  process.on('uncaughtException', (error) => {
    log.error({ cause: error.stack }, 'defect: ending');
    end.resolve(1);
  });

  let dataPlane: DataPlane | null = null;
  const ready = Promise.withResolvers<DataPlane>();
  // Callers of the API wait for it; that nobody waits is no defect.
  ready.promise.catch(() => {});
  const control = new DaemonControl({
    id: options.id,
    version: VERSION,
    life,
    events,
    runtime: new RuntimeConfig(),
    log,
    ready: ready.promise,
    mounts: () => dataPlane?.mounts ?? null,
    storage: () => dataPlane?.storage ?? null,
    exit: () => end.resolve(0),
  });
  let server: ApiServer | null = null;
  try {
    if (options.apisock !== null) {
      server = await listenApi(options.apisock, control, (error, what) => {
        log.error(
          { request: what, cause: error instanceof Error ? error.stack : String(error) },
          'request failed',
        );
        events.add(`${what}: ${String(error)}`);
      });
    }
    await log.open();
    const { startDataPlane } = await import('./data-plane.ts');
    dataPlane = await startDataPlane(options, log, events, (code) => end.resolve(code));
    ready.resolve(dataPlane);
    life.step('Mount');
    life.step('Start');
    // A big image must not keep a SIGTERM waiting.
    await Promise.race([dataPlane.mountAtStart(), end.promise]);
    log.info({ sock: options.sock, apisock: options.apisock }, 'serving');
    // Who ends daemons with SIGKILL shall have fast starts, too.
    setTimeout(flushCompileCache, COMPILE_CACHE_DELAY_MS).unref();
  } catch (error) {
    ready.reject(error);
    await shutDown(server, options.apisock, dataPlane, log);
    // An image named at start is refused in the words in which the API would.
    throw new Error(describeError(error), { cause: error });
  }
  const code = await end.promise;
  life.step('Exit');
  const isDone = await shutDown(server, options.apisock, dataPlane, log);
  await leave(code, isDone);
  return code;
}

/**
 * Node waits for all pool threads when it exits, and one may hang in a system call for ever (a back end on a dead
 * network file system): whoever sent SIGTERM is waiting.
 */
async function leave(code: number, isDone: boolean): Promise<void> {
  const { exitNow, killAfter } = await import('../../native/libc.ts');
  if (!isDone) exitNow(code);
  killAfter(EXIT_TIMEOUT_S);
}

async function listenApi(
  path: string,
  control: DaemonControl,
  report: (error: unknown, what: string) => void,
): Promise<ApiServer> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found !== undefined) {
    if (!found.isSocket()) throw new Error(`--apisock ${path} exists and is not a socket; remove it`);
    unlinkSync(path);
  }
  try {
    return await listen(nydusdApi(control, report), { path });
  } catch (error) {
    throw new Error(`--apisock ${path}: ${(error as Error).message}`, { cause: error });
  }
}

/** Answers whether all has ended, or something that hangs was left behind. */
async function shutDown(
  server: ApiServer | null,
  apisock: string | null,
  dataPlane: DataPlane | null,
  log: Log,
): Promise<boolean> {
  const { promise: timeout, resolve: giveUp } = Promise.withResolvers<false>();
  setTimeout(() => giveUp(false), SHUTDOWN_TIMEOUT_MS).unref();
  // Closing unlinks the socket; answers on their way are finished.
  server?.close();
  server?.closeIdleConnections();
  const stopped = dataPlane?.stop().then(() => true) ?? true;
  const isDone = await Promise.race([stopped, timeout]).catch((error) => {
    log.error({ cause: String(error) }, 'shutdown');
    return true;
  });
  server?.closeAllConnections();
  if (apisock !== null && server !== null) {
    try {
      unlinkSync(apisock);
    } catch {
      // Closing the server has removed it.
    }
  }
  log.info({}, 'ended');
  log.flush();
  return isDone;
}
