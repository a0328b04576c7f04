/** The daemon behind the API. */
import { withoutSecrets } from '../../config/without-secrets.ts';
import {
  type Control,
  ControlError,
  type DaemonInfo,
  type FsMetrics,
  type MetricsKind,
  type MountRequest,
} from '../../service/nydusd/control.ts';
import type { Log } from '../common/logging.ts';
import { sumFiles, sumFs, sumLatest, sumPattern } from './counters.ts';
import type { EventLog } from './events.ts';
import type { LifeCycle } from './life-cycle.ts';
import type { MountedImage, MountTable } from './mount-table.ts';
import type { RuntimeConfig } from './runtime-config.ts';
import type { BlobStorage } from './storage/storage.ts';
import type { WorkerPool } from './workers/pool.ts';
import type { CounterSnapshot } from './workers/snapshot.ts';

interface ControlParts {
  readonly id: string | null;
  readonly version: DaemonInfo['version'];
  readonly life: LifeCycle;
  readonly events: EventLog;
  readonly runtime: RuntimeConfig;
  readonly log: Log;
  /** What loads after the API socket is bound. Rejects when that failed. */
  readonly ready: Promise<{ readonly mounts: MountTable; readonly workers: WorkerPool }>;
  /** The mounts once they are there; null before. */
  readonly mounts: () => MountTable | null;
  readonly storage: () => BlobStorage | null;
  readonly exit: () => void;
}

/** Joins the API with the parts of the daemon. */
export class DaemonControl implements Control {
  readonly #parts: ControlParts;

  constructor(parts: ControlParts) {
    this.#parts = parts;
  }

  info(): DaemonInfo {
    const { id, version, life, mounts } = this.#parts;
    const collection = mounts()?.describe(withoutSecrets) ?? {};
    return { version, id, supervisor: null, state: life.state, backend_collection: collection };
  }

  setLogLevel(level: string): boolean {
    return this.#parts.log.setLevel(level);
  }

  events(): ReturnType<EventLog['show']> {
    return this.#parts.events.show();
  }

  start(): void {
    this.#parts.life.step('Start');
  }

  exit(): void {
    this.#parts.exit();
  }

  mount(request: MountRequest): Promise<void> {
    return this.#change((mounts) => mounts.mount(request));
  }

  mountOver(request: MountRequest): Promise<void> {
    return this.#change((mounts) => mounts.mountOver(request));
  }

  remount(request: MountRequest): Promise<void> {
    return this.#change((mounts) => mounts.remount(request));
  }

  unmount(mountpoint: string): Promise<void> {
    return this.#change((mounts) => mounts.unmount(mountpoint));
  }

  superblock(mountpoint: string): unknown {
    return this.#parts.mounts()?.find(mountpoint)?.superblock;
  }

  setRuntimeConfig(id: string | null, values: Readonly<Record<string, string>>): void {
    this.#parts.runtime.set(id, values);
  }

  runtimeConfig(id: string | null): Record<string, string> {
    return this.#parts.runtime.get(id);
  }

  async metrics(kind: MetricsKind, id: string | null): Promise<unknown> {
    if (kind === 'blobcache') return this.#cacheMetrics(id);
    const mount = this.#byId(id);
    if (mount === undefined) return undefined;
    if (kind === 'backend') return await mount.blobs.backendMetrics();
    const snapshots = await this.#snapshots(mount, kind === 'latest');
    const { account } = mount.spec;
    switch (kind) {
      case 'global':
        return sumFs(mount.shownAs, account, snapshots);
      case 'files':
        return account.files ? sumFiles(snapshots) : {};
      case 'latest':
        return account.latest ? sumLatest(snapshots) : [];
      case 'pattern':
        return account.pattern ? sumPattern(snapshots) : [];
      default:
        return kind satisfies never;
    }
  }

  async inflight(): Promise<unknown[]> {
    const { workers } = await this.#parts.ready;
    return (await workers.inflight()).flat();
  }

  async allMetrics(): Promise<FsMetrics[]> {
    const { mounts } = await this.#parts.ready;
    const all: FsMetrics[] = [];
    for (const mount of mounts.all()) {
      all.push(sumFs(mount.shownAs, mount.spec.account, await this.#snapshots(mount, false)));
    }
    return all;
  }

  async #change(job: (mounts: MountTable) => Promise<void>): Promise<void> {
    const { events, ready } = this.#parts;
    const { mounts } = await ready;
    if (this.#parts.life.state === 'STOPPED') {
      throw new ControlError('DAEMON_ENDING', null, 'the daemon is ending');
    }
    try {
      await job(mounts);
    } catch (error) {
      // What the caller got wrong is the caller's answer; what failed here is an event.
      if (!(error instanceof ControlError)) events.add(String(error));
      throw error;
    }
  }

  #byId(id: string | null): MountedImage | undefined {
    const mounts = this.#parts.mounts();
    if (mounts === null) return undefined;
    if (id === null) return mounts.size === 1 ? [...mounts.all()][0] : undefined;
    return mounts.find(id);
  }

  /**
   * Caches are counted under the id in the configuration, as upstream does; without one there must be exactly one such
   * id.
   */
  async #cacheMetrics(id: string | null): Promise<unknown> {
    const all = [...(this.#parts.mounts()?.all() ?? [])];
    const ids = new Set(all.map((mount) => mount.config.id));
    const wanted = id ?? (ids.size === 1 ? [...ids][0] : undefined);
    const chosen = all.filter((mount) => mount.config.id === wanted);
    return this.#parts.storage()?.cacheMetrics(chosen.map((mount) => mount.blobs));
  }

  async #snapshots(mount: MountedImage, takeLatest: boolean): Promise<CounterSnapshot[]> {
    const { workers } = await this.#parts.ready;
    const told = (await workers.metrics(mount.spec.serial, takeLatest)) as (CounterSnapshot | null)[];
    return told.filter((one) => one !== null);
  }
}
