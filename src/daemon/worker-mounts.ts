import type { ChunkFetcher } from '../blob/view.ts';
import type { FileSystem } from '../fuse/filesystem.ts';
import type { Addon } from '../native/addon.ts';
import { openBootstrap } from '../rafs/bootstrap.ts';
import { RafsFileSystem } from '../rafs/filesystem.ts';
import { mapBootstrap } from '../rafs/memfd.ts';
import { type CounterSnapshot, MountCounters } from './counters.ts';
import type { FromWorker, MountSpec } from './messages.ts';
import { MeteredFileSystem } from './metered.ts';

/** A mount on a worker: its file system, which counts. */
export interface WorkerMount {
  readonly spec: MountSpec;
  readonly fileSystem: FileSystem;
  /** Nodeid low word of the image's root. */
  readonly rootLo: number;
  readonly counters: MountCounters;
  readonly memory: ArrayBuffer;
}

/** The mounts of one worker, by serial. */
export class WorkerMounts {
  readonly #addon: Addon;
  readonly #fetcher: ChunkFetcher;
  readonly #post: (message: FromWorker) => void;
  readonly #mounts: Map<number, WorkerMount> = new Map();

  constructor(addon: Addon, fetcher: ChunkFetcher, post: (message: FromWorker) => void) {
    this.#addon = addon;
    this.#fetcher = fetcher;
    this.#post = post;
  }

  /** Maps the bootstrap and builds the file system. Throws RafsError. */
  add(spec: MountSpec): WorkerMount {
    const memory = mapBootstrap(this.#addon, spec.bootstrapFd, spec.bootstrapSize);
    try {
      const bootstrap = openBootstrap(memory, spec.path);
      const { serial, blobs, uid, gid, xattrs, validate, account } = spec;
      const inner = new RafsFileSystem(bootstrap, {
        serial,
        blobs,
        fetcher: this.#fetcher,
        uid,
        gid,
        xattrs,
        validate,
        onBadInode: (lo, reason) => this.#warn(spec, lo, reason),
      });
      const counters = new MountCounters(account.files || account.pattern, account.latest);
      const fileSystem = new MeteredFileSystem(inner, counters);
      const mount = { spec, fileSystem, rootLo: inner.rootLo, counters, memory };
      this.#mounts.set(serial, mount);
      return mount;
    } catch (error) {
      this.#addon.unmap(memory);
      throw error;
    }
  }

  get(serial: number): WorkerMount | undefined {
    return this.#mounts.get(serial);
  }

  /** Unmaps the bootstrap; no request may use the file system any more. */
  remove(serial: number): void {
    const mount = this.#mounts.get(serial);
    if (mount === undefined) return;
    this.#mounts.delete(serial);
    this.#addon.unmap(mount.memory);
  }

  /** Null where the mount is not known. */
  snapshot(serial: number, takeLatest: boolean): CounterSnapshot | null {
    return this.#mounts.get(serial)?.counters.snapshot(serial, takeLatest) ?? null;
  }

  #warn(spec: MountSpec, lo: number, reason: string): void {
    const fields = { mount: spec.path, inode: lo, cause: reason };
    this.#post({ type: 'log', level: 'warn', fields, message: 'damaged inode: answering EIO' });
  }
}
