/** The mounts: how an image gets into the tree of every worker, and out of it, leaving nothing behind. */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { getSystemErrorName } from 'node:util';
import type { Config } from '../../config/config.ts';
import { KeyedQueue } from '../../lib/keyed-queue.ts';
import type { DescriptorCalls } from '../../native/descriptor.ts';
import type { MappingCalls } from '../../native/mapping.ts';
import { type Bootstrap, openBootstrap } from '../../rafs/bootstrap.ts';
import type { BackendInfo, MountRequest } from '../../service/nydusd/control.ts';
import { ApiError, mountError } from '../../service/nydusd/errors.ts';
import { SuperFlag } from '../../wire/rafs/flags.ts';
import { isSuperblockV5 } from '../../wire/rafs/superblock-v5.ts';
import { isSuperblockV6 } from '../../wire/rafs/superblock-v6.ts';
import type { Log } from '../common/logging.ts';
import { BootstrapStore, type HeldBootstrap } from './bootstraps.ts';
import { normalizeMountpoint } from './mount-path.ts';
import type { BlobStorage, OpenBlobs } from './storage/storage.ts';
import type { MountSpec } from './workers/messages.ts';

/** Serials are the high word of nodeids: below 2^21, so that an inode number stays exact in a double. */
const SERIAL_LIMIT = 2 ** 21;
export const MOUNTS_MAX: number = 4096;
/** Enough to tell a bootstrap by its superblock: v5 at 0, v6 at 1024. */
const PROBE_BYTES = 8192;

const RAFS = 'RAFS failed to handle request';

/** Who tells the workers. */
export interface MountBroadcast {
  mount(spec: MountSpec): Promise<number>;
  unmount(serial: number): Promise<void>;
}

/** An image in the tree. */
export interface Mount {
  readonly spec: MountSpec;
  /** As the caller spelled it: the key in the API's answers. */
  readonly shownAs: string;
  readonly source: string;
  readonly config: Config;
  readonly superblock: unknown;
  readonly blobs: OpenBlobs;
  readonly bootstrap: HeldBootstrap;
  readonly mountedAt: Date;
}

export interface MountTableOptions {
  readonly addon: DescriptorCalls & MappingCalls;
  readonly storage: BlobStorage;
  readonly workers: MountBroadcast;
  readonly log: Log;
  /** The daemon's own configuration, for callers of 2020 who name none; null if it was started without. */
  readonly ownConfig: () => Promise<Config | null>;
}

/** All mounts of the daemon. Mounts at different paths run side by side, those at one path one after the other. */
export class MountTable {
  readonly #options: MountTableOptions;
  readonly #bootstraps: BootstrapStore;
  readonly #mounts: Map<string, Mount> = new Map();
  readonly #serials: Set<number> = new Set();
  readonly #queue: KeyedQueue = new KeyedQueue();
  /** Paths of mounts in progress, counted against the limit. */
  #pending = 0;
  #lastSerial = 0;

  constructor(options: MountTableOptions) {
    this.#options = options;
    this.#bootstraps = new BootstrapStore(options.addon);
  }

  get size(): number {
    return this.#mounts.size;
  }

  all(): Iterable<Mount> {
    return this.#mounts.values();
  }

  /** By any spelling of the mountpoint; undefined also for what is no path. */
  find(mountpoint: string): Mount | undefined {
    if (!mountpoint.startsWith('/')) return undefined;
    return this.#mounts.get(normalizeMountpoint(mountpoint));
  }

  mount(request: MountRequest): Promise<void> {
    return this.#at(request.mountpoint, async (path) => {
      if (this.#mounts.has(path)) {
        throw mountError(
          'object or filesystem already exists',
          `${path} is mounted; unmount it first, or PUT to replace it`,
        );
      }
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
      if (!this.#mounts.has(path)) throw notMounted(path, 'POST mounts it');
      return this.#swap(path, request);
    });
  }

  unmount(mountpoint: string): Promise<void> {
    return this.#at(mountpoint, async (path) => {
      const mount = this.#mounts.get(path);
      if (mount === undefined) throw notMounted(path, 'GET /api/v1/daemon lists what is');
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

  async #at(mountpoint: string, job: (path: string) => Promise<void>): Promise<void> {
    const path = normalizeMountpoint(mountpoint);
    await this.#queue.run(path, () => job(path));
  }

  #put(path: string, mount: Mount): void {
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

  async #dismantle(mount: Mount): Promise<void> {
    await this.#options.workers.unmount(mount.spec.serial);
    this.#serials.delete(mount.spec.serial);
    mount.bootstrap.release();
    await mount.blobs.close();
  }

  /** Everything up to the workers' acknowledgement; on failure all of it is undone. */
  async #prepare(path: string, request: MountRequest): Promise<Mount> {
    checkType(request.fsType);
    if (this.#mounts.size + this.#pending >= MOUNTS_MAX && !this.#mounts.has(path)) {
      throw mountError('vfs maximum mountpoints reached', `at most ${MOUNTS_MAX} mounts; unmount one first`);
    }
    this.#pending++;
    const undo = new AsyncDisposableStack();
    try {
      const mount = await this.#build(path, request, undo);
      undo.move();
      return mount;
    } catch (error) {
      if (!(error instanceof ApiError)) {
        this.#options.log.error({ mount: path, cause: String(error) }, 'mount failed');
      }
      throw error;
    } finally {
      this.#pending--;
      await undo.disposeAsync();
    }
  }

  async #build(path: string, request: MountRequest, undo: AsyncDisposableStack): Promise<Mount> {
    const config = await this.#config(request);
    const held = await this.#hold(request.source);
    undo.defer(() => held.release());
    const { bootstrap, spec } = this.#open(held, request.source, config);
    const blobs = await this.#options.storage
      .open(config, bootstrap, request.source)
      .catch((error: Error) => {
        throw mountError(
          `${RAFS}, Failed to create device: Input/output error (os error 5)\``,
          `${request.source}: ${error.message}`,
          error,
        );
      });
    undo.defer(() => blobs.close());
    const serial = this.#takeSerial();
    undo.defer(() => {
      this.#serials.delete(serial);
    });
    const full: MountSpec = { ...spec, serial, path, blobs: blobs.views };
    const result = await this.#options.workers.mount(full);
    if (result < 0) {
      throw mountError(
        `${RAFS}, Failed to fill superBlock: ${getSystemErrorName(result)}\``,
        `${request.source}: a queue worker cannot serve it; the log has the cause`,
      );
    }
    return {
      spec: full,
      shownAs: request.mountpoint,
      source: request.source,
      config,
      superblock: bootstrap.superMeta,
      blobs,
      bootstrap: held,
      mountedAt: new Date(),
    };
  }

  async #config(request: MountRequest): Promise<Config> {
    const { loadConfig, parseConfig, ConfigError } = await import('../../config/load.ts');
    const { notActiveYet, notSupportedYet } = await import('../../config/supported.ts');
    let config: Config | null;
    try {
      if (request.config !== undefined) config = await parseConfig(request.config);
      else if (request.configPath !== undefined) config = await loadConfig(request.configPath);
      else config = await this.#options.ownConfig();
      if (config === null) {
        throw new ConfigError(
          'failed to parse configuration information',
          'the request has no config and the daemon was started without --config',
        );
      }
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      throw mountError(
        `${RAFS}, Failed to load config: ${error.original}\``,
        `mount ${request.mountpoint}: ${error.message}`,
        error,
      );
    }
    const refused = notSupportedYet(config);
    if (refused !== null) throw new ApiError(501, 'Mount(MountFilesystem(Unsupported))', refused);
    const idle = notActiveYet(config, request.prefetchFiles);
    if (idle !== null) this.#options.log.warn({ mount: request.mountpoint }, idle);
    return config;
  }

  async #hold(source: string): Promise<HeldBootstrap> {
    try {
      if (await probe(source)) return await this.#bootstraps.hold(source);
      return await this.#bootstraps.hold(source, () => this.#options.storage.extractBootstrap(source));
    } catch (error) {
      throw superblockError(source, error as NodeJS.ErrnoException);
    }
  }

  /** Checks superblock and tables. The mapping goes before this returns. */
  #open(
    held: HeldBootstrap,
    source: string,
    config: Config,
  ): { bootstrap: Bootstrap; spec: Omit<MountSpec, 'serial' | 'path' | 'blobs'> } {
    const { addon } = this.#options;
    const memory = addon.map(held.fd, 0, held.size, false);
    if (typeof memory === 'number') {
      throw superblockError(source, new Error(`mmap: ${getSystemErrorName(memory)}`));
    }
    try {
      const bootstrap = openBootstrap(memory, source);
      const { rafs } = config;
      return {
        bootstrap,
        spec: {
          bootstrapFd: held.fd,
          bootstrapSize: held.size,
          uid: process.geteuid!(),
          gid: process.getegid!(),
          xattrs: rafs.enable_xattr || (bootstrap.flags & SuperFlag.hasXattr) !== 0,
          validate: rafs.validate,
          account: {
            files: rafs.iostats_files,
            pattern: rafs.access_pattern,
            latest: rafs.latest_read_files,
          },
        },
      };
    } catch (error) {
      throw superblockError(source, error as Error);
    }
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

function checkType(fsType: string): void {
  if (fsType === 'rafs') return;
  if (['passthrough', 'passthroughfs', 'passthrough_fs'].includes(fsType)) {
    throw new ApiError(
      501,
      'Mount(MountFilesystem(Unsupported))',
      `fs_type "${fsType}" is not supported yet; share a directory with virtiofsd`,
    );
  }
  throw mountError(
    `invalid argument \`only 'rafs' and 'passthrough_fs' are supported, but ${fsType.slice(0, 64)} was specified\``,
    'fs_type: must be "rafs"',
  );
}

function notMounted(path: string, remedy: string): ApiError {
  return mountError("object or filesystem doesn't exist", `nothing is mounted at ${path}; ${remedy}`);
}

/** Whether the file begins as a bootstrap does; otherwise it may be a blob with one at its end. Rejects for a file too short for either. */
async function probe(source: string): Promise<boolean> {
  await using file = await open(source, constants.O_RDONLY | constants.O_NONBLOCK);
  if (!(await file.stat()).isFile()) throw new Error(`${source} is not a regular file`);
  const bytes = new Uint8Array(PROBE_BYTES);
  const { bytesRead } = await file.read(bytes, 0, PROBE_BYTES, 0);
  const view = new DataView(bytes.buffer, 0, bytesRead);
  return isSuperblockV5(view) || isSuperblockV6(view);
}

/** What upstream says when it cannot read a superblock, and then why. */
function superblockError(source: string, error: NodeJS.ErrnoException): ApiError {
  const known: Readonly<Record<string, string>> = {
    ENOENT: 'No such file or directory (os error 2)',
    EACCES: 'Permission denied (os error 13)',
    EISDIR: 'Is a directory (os error 21)',
  };
  const original = known[error.code ?? ''] ?? 'failed to fill whole buffer';
  const detail = error.message.includes(source) ? error.message : `${source}: ${error.message}`;
  return mountError(`${RAFS}, Failed to fill superBlock: ${original}\``, detail, error);
}

/** The form upstream shows: `2026-01-02 3:04:05.678 +00:00:00`. */
function showTime(time: Date): string {
  const iso = time.toISOString();
  return `${iso.slice(0, 10)} ${time.getUTCHours()}${iso.slice(13, 23)}000000 +00:00:00`;
}
