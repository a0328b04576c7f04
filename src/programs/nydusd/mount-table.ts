/** The mounts: how an image gets into the tree of every worker, and out of it, leaving nothing behind. */
import { getSystemErrorName } from 'node:util';
import type { Config } from '../../config/config.ts';
import { KeyedQueue } from '../../lib/keyed-queue.ts';
import { type BackendInfo, ControlError, type MountRequest } from '../../service/nydusd/control.ts';
import type { Log } from '../common/logging.ts';
import type { ImageOpener, OpenImage } from './image-opener.ts';
import { normaliseMountpoint } from './mount-path.ts';
import type { MountSpec } from './workers/messages.ts';

/** Serials are the high word of nodeids: below 2^21, so that an inode number stays exact in a double. */
const SERIAL_LIMIT = 2 ** 21;
const MOUNTS_MAX = 4096;

/** An image in the tree. */
export interface MountedImage extends OpenImage {
  readonly spec: MountSpec;
  /** As the caller spelled it: the key in the API's answers. */
  readonly shownAs: string;
  readonly mountedAt: Date;
}

interface MountTableOptions {
  readonly images: ImageOpener;
  /** Who tells the workers. */
  readonly workers: {
    /** Resolves with 0 when all serve the mount, with -errno when none does. */
    mount(spec: MountSpec): Promise<number>;
    /** Resolves when none uses the mount's files any more. */
    unmount(serial: number): Promise<void>;
  };
  readonly log: Log;
}

/** All mounts of the daemon. Mounts at different paths run side by side, those at one path one after the other. */
export class MountTable {
  readonly #options: MountTableOptions;
  readonly #mounts: Map<string, MountedImage> = new Map();
  readonly #serials: Set<number> = new Set();
  readonly #queue: KeyedQueue = new KeyedQueue();
  /** Mounts in progress, counted against the limit. */
  #pending = 0;
  #lastSerial = 0;

  constructor(options: MountTableOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#mounts.size;
  }

  all(): Iterable<MountedImage> {
    return this.#mounts.values();
  }

  /**
   * By any spelling of the mountpoint; undefined also for a relative path. Throws MOUNT_BAD_PATH for what else is no
   * path.
   */
  find(mountpoint: string): MountedImage | undefined {
    if (!mountpoint.startsWith('/')) return undefined;
    return this.#mounts.get(normaliseMountpoint(mountpoint));
  }

  /** Rejects with a ControlError when the caller asked for what cannot be, as all that follow. */
  mount(request: MountRequest): Promise<void> {
    return this.#at(request.mountpoint, async (path) => {
      if (this.#mounts.has(path)) throw new ControlError('MOUNT_EXISTS', null, `${path} is mounted`);
      this.#put(path, await this.#prepare(path, request));
    });
  }

  /** Mounts, or swaps what is there (2020). */
  mountOver(request: MountRequest): Promise<void> {
    return this.#at(request.mountpoint, (path) => this.#swap(path, request));
  }

  /** Swaps what is there. */
  remount(request: MountRequest): Promise<void> {
    return this.#at(request.mountpoint, (path) => {
      this.#find(path, 'remount');
      return this.#swap(path, request);
    });
  }

  unmount(mountpoint: string): Promise<void> {
    return this.#at(mountpoint, async (path) => {
      const mount = this.#find(path, 'unmount');
      this.#mounts.delete(path);
      await this.#dismantle(mount);
      this.#options.log.info({ mount: path }, 'unmounted');
    });
  }

  /** GET /api/v1/daemon's `backend_collection`. */
  describe(show: (config: Config) => unknown): Record<string, BackendInfo> {
    const described: Record<string, BackendInfo> = {};
    for (const mount of this.#mounts.values()) {
      described[mount.shownAs] = {
        backend_type: 'Rafs',
        mountpoint: mount.shownAs,
        mounted_time: showTime(mount.mountedAt),
        config: show(mount.config),
      };
    }
    return described;
  }

  #find(path: string, operation: 'remount' | 'unmount'): MountedImage {
    const mount = this.#mounts.get(path);
    if (mount !== undefined) return mount;
    throw new ControlError('MOUNT_NOT_FOUND', operation, `nothing is mounted at ${path}`);
  }

  async #at(mountpoint: string, job: (path: string) => Promise<void>): Promise<void> {
    const path = normaliseMountpoint(mountpoint);
    await this.#queue.run(path, () => job(path));
  }

  #put(path: string, mount: MountedImage): void {
    this.#mounts.set(path, mount);
    const { serial } = mount.spec;
    this.#options.log.info({ mount: path, source: mount.source, serial }, 'mounted');
  }

  async #swap(path: string, request: MountRequest): Promise<void> {
    const old = this.#mounts.get(path);
    const fresh = await this.#prepare(path, request);
    this.#put(path, fresh);
    if (old !== undefined) await this.#dismantle(old);
  }

  async #dismantle(mount: MountedImage): Promise<void> {
    await this.#options.workers.unmount(mount.spec.serial);
    this.#serials.delete(mount.spec.serial);
    mount.bootstrap.release();
    await mount.blobs.close();
  }

  /** Everything up to the workers' acknowledgement; on failure all of it is undone. */
  async #prepare(path: string, request: MountRequest): Promise<MountedImage> {
    if (this.#mounts.size + this.#pending >= MOUNTS_MAX && !this.#mounts.has(path)) {
      throw new ControlError('MOUNT_LIMIT', null, `at most ${MOUNTS_MAX} mounts; unmount one first`);
    }
    this.#pending++;
    const undo = new AsyncDisposableStack();
    try {
      const image = await this.#options.images.open(request, undo);
      const spec = await this.#serve(path, image, undo);
      undo.move();
      return { ...image, spec, shownAs: request.mountpoint, mountedAt: new Date() };
    } catch (error) {
      if (!(error instanceof ControlError)) {
        this.#options.log.error({ mount: path, cause: String(error) }, 'mount failed');
      }
      throw error;
    } finally {
      this.#pending--;
      await undo.disposeAsync();
    }
  }

  /** Has all workers serve the image at `path`. */
  async #serve(path: string, image: OpenImage, undo: AsyncDisposableStack): Promise<MountSpec> {
    const serial = this.#takeSerial();
    undo.defer(() => {
      this.#serials.delete(serial);
    });
    const spec: MountSpec = { ...image.spec, serial, path };
    const result = await this.#options.workers.mount(spec);
    if (result === 0) return spec;
    throw new ControlError(
      'MOUNT_WORKER_FAILED',
      getSystemErrorName(result),
      `${image.source}: a queue worker cannot serve it; the log has the cause`,
    );
  }

  /** The next number that no mount has. All others come first, so that a guest has long forgotten a reused one. */
  #takeSerial(): number {
    do {
      this.#lastSerial = (this.#lastSerial % (SERIAL_LIMIT - 1)) + 1;
    } while (this.#serials.has(this.#lastSerial));
    this.#serials.add(this.#lastSerial);
    return this.#lastSerial;
  }
}

/** The form upstream shows: `2026-01-02 3:04:05.678 +00:00:00`. */
function showTime(time: Date): string {
  const iso = time.toISOString();
  return `${iso.slice(0, 10)} ${time.getUTCHours()}${iso.slice(13, 23)}000000 +00:00:00`;
}
