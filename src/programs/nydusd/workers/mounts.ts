import type { ChunkFetcher } from '../../../blob/view.ts';
import { RafsFileSystem } from '../../../imagefs/filesystem.ts';
import type { DescriptorCalls } from '../../../native/descriptor.ts';
import type { MappingCalls } from '../../../native/mapping.ts';
import { mapSealed } from '../../../native/sealed.ts';
import { openBootstrap } from '../../../rafs/open-bootstrap.ts';
import type { FromWorker, MountSpec } from './messages.ts';

/** A mount on a worker. */
interface WorkerMount {
  readonly spec: MountSpec;
  readonly fileSystem: RafsFileSystem;
  readonly memory: ArrayBuffer;
}

/** The mounts of one worker, by serial. */
export class WorkerMounts {
  readonly #addon: DescriptorCalls & MappingCalls;
  readonly #fetcher: ChunkFetcher;
  readonly #post: (message: FromWorker) => void;
  readonly #mounts: Map<number, WorkerMount> = new Map();

  constructor(
    addon: DescriptorCalls & MappingCalls,
    fetcher: ChunkFetcher,
    post: (message: FromWorker) => void,
  ) {
    this.#addon = addon;
    this.#fetcher = fetcher;
    this.#post = post;
  }

  /** Maps the bootstrap and builds the file system. Throws RafsError or SystemError. */
  add(spec: MountSpec): WorkerMount {
    const memory = mapSealed(this.#addon, spec.bootstrapFd, spec.bootstrapSize);
    try {
      const bootstrap = openBootstrap(memory, spec.path);
      const { serial, blobs, uid, gid, xattrs, validate } = spec;
      const fileSystem = new RafsFileSystem(bootstrap, {
        serial,
        blobs,
        fetcher: this.#fetcher,
        uid,
        gid,
        xattrs,
        validate,
        onBadInode: (lo, reason) => this.#warn(spec, lo, reason),
      });
      const mount = { spec, fileSystem, memory };
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

  #warn(spec: MountSpec, lo: number, reason: string): void {
    const fields = { mount: spec.path, inode: lo, cause: reason };
    this.#post({ type: 'log', level: 'warn', fields, message: 'damaged inode: answering EIO' });
  }
}
