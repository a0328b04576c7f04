/**
 * What serves guests: the vhost-user socket, the workers, the blobs and the mounts. Loaded after the API socket is
 * bound.
 */
import { readFile } from 'node:fs/promises';
import type { Config } from '../../config/config.ts';
import { addon } from '../../native/index.ts';
import type { QueueHost } from '../../vhost/host.ts';
import { VhostUserListener } from '../../vhost/listener.ts';
import { raiseOpenFiles } from '../common/limits.ts';
import type { Log } from '../common/logging.ts';
import type { EventLog } from './events.ts';
import { ImageOpener } from './image-opener.ts';
import { MountTable } from './mount-table.ts';
import type { NydusdOptions } from './options.ts';
import { StorageClient } from './storage/client.ts';
import { WorkerPool } from './workers/pool.ts';

/** The parts that serve guests, as the API and the start of the daemon need them. */
export interface DataPlane {
  readonly mounts: MountTable;
  readonly workers: WorkerPool;
  readonly storage: StorageClient;
  /** Mounts what the command line names. Rejects when it cannot. */
  mountAtStart(): Promise<void>;
  /** Ends connection, workers and socket. */
  stop(): Promise<void>;
}

/**
 * Starts serving. `end` is called with an exit code when the daemon must stop by itself. Throws when the socket cannot
 * be had.
 */
export async function startDataPlane(
  options: NydusdOptions,
  log: Log,
  events: EventLog,
  end: (code: number) => void,
): Promise<DataPlane> {
  await raiseOpenFiles(options.rlimitNofile, log);
  const died = (what: string) => (cause: unknown) => {
    log.error({ cause: cause instanceof Error ? cause.stack : String(cause) }, `${what} died: ending`);
    end(1);
  };
  const storage = new StorageClient({ log, died: died('the storage thread') });
  let listener: VhostUserListener | null = null;
  const workers = new WorkerPool({
    log,
    pollUs: options.pollUs,
    connectStorage: (port) => storage.connect(port),
    fault: (device, queue, errno) => {
      events.add(`device ${device} queue ${queue}: errno ${-errno}`);
      const session = listener?.session;
      if (session?.device === device)
        session.fail(`queue ${queue}: guest memory or ring is broken (${errno})`);
    },
    died: died('a queue worker'),
  });
  const ownConfig = () => loadOwnConfig(options);
  const images = new ImageOpener({ addon, storage, log, ownConfig });
  const mounts = new MountTable({ images, workers, log });
  listener = new VhostUserListener(options.sock, {
    addon,
    host: options.exitOnDisconnect ? endingHost(workers, () => listener?.session?.ended, end) : workers,
    log,
    queues: options.requestQueues + 1,
    ...(options.tag === null ? {} : { tag: options.tag }),
  });
  return {
    mounts,
    workers,
    storage,
    mountAtStart: () => mountAtStart(options, mounts),
    stop: async () => {
      await listener.close();
      await workers.stop();
      await storage.stop();
    },
  };
}

/** A host that ends the daemon when the connection which first had a ring served is over. */
function endingHost(
  host: QueueHost,
  sessionEnded: () => Promise<void> | undefined,
  end: (code: number) => void,
): QueueHost {
  let isWatching = false;
  return {
    attach: (device, queue) => {
      const ended = isWatching ? undefined : sessionEnded();
      if (ended !== undefined) {
        isWatching = true;
        void ended.then(() => end(0));
      }
      return host.attach(device, queue);
    },
    detach: (device, queue, drain) => host.detach(device, queue, drain),
    memoryChanged: (device) => host.memoryChanged(device),
    sessionReset: () => host.sessionReset(),
  };
}

async function loadOwnConfig(options: NydusdOptions): Promise<Config | null> {
  if (options.config === null && options.localfsDir === null) return null;
  const { loadConfig, localfsConfig } = await import('../../config/load.ts');
  return options.config === null ? localfsConfig(options.localfsDir!) : loadConfig(options.config);
}

async function mountAtStart(options: NydusdOptions, mounts: MountTable): Promise<void> {
  if (options.bootstrap === null) return;
  await mounts.mount({
    mountpoint: options.virtualMountpoint,
    fsType: 'rafs',
    source: options.bootstrap,
    prefetchFiles: await prefetchList(options.prefetchFiles),
  });
}

/**
 * One argument that names a file is a list of paths, a line each (today); otherwise the arguments are the paths (2020).
 */
async function prefetchList(given: readonly string[]): Promise<readonly string[]> {
  if (given.length !== 1) return given;
  try {
    const lines = (await readFile(given[0]!, 'utf8')).split('\n');
    return lines.map((line) => line.trim()).filter((line) => line !== '');
  } catch (error) {
    if (given[0]!.startsWith('/')) return given;
    throw new Error(`--prefetch-files ${given[0]}: ${(error as Error).message}`, { cause: error });
  }
}
