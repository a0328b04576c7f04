/** Images as they are mounted: configuration, bootstrap and blobs checked and opened. */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import type { Config } from '../../config/config.ts';
import { ConfigError } from '../../config/error.ts';
import type { Addon } from '../../native/addon.ts';
import { mapSealed } from '../../native/sealed.ts';
import type { Bootstrap } from '../../rafs/bootstrap.ts';
import { openBootstrap } from '../../rafs/open-bootstrap.ts';
import { ControlError, type MountRequest } from '../../service/nydusd/control.ts';
import { SuperFlag } from '../../wire/rafs/flags.ts';
import { isSuperblockV5 } from '../../wire/rafs/superblock-v5.ts';
import { isSuperblockV6 } from '../../wire/rafs/superblock-v6.ts';
import type { Log } from '../common/logging.ts';
import { BootstrapStore, type HeldBootstrap } from './bootstraps.ts';
import type { BlobStorage, OpenBlobs } from './storage/storage.ts';
import type { MountSpec } from './workers/messages.ts';

/** Enough to tell a bootstrap by its superblock: v5 at 0, v6 at 1024. */
const PROBE_BYTES = 8192;

const configCodes = { parsing: 'MOUNT_CONFIG_UNPARSED', checking: 'MOUNT_CONFIG_INVALID' } as const;

/** What a worker is told of an image, its place in the tree aside. */
type ImageSpec = Omit<MountSpec, 'serial' | 'path'>;

/** An image that can be mounted. Whoever has it must release bootstrap and blobs when no worker uses them any more. */
export interface OpenImage {
  readonly spec: ImageSpec;
  readonly source: string;
  readonly config: Config;
  readonly superblock: unknown;
  readonly blobs: OpenBlobs;
  readonly bootstrap: HeldBootstrap;
}

interface ImageOpenerOptions {
  readonly addon: Addon;
  readonly storage: BlobStorage;
  readonly log: Log;
  /** The daemon's own configuration, for callers of 2020 who name none; null if it was started without. */
  readonly ownConfig: () => Promise<Config | null>;
}

/** Opens images for mounts. Errors that are the caller's are ControlErrors. */
export class ImageOpener {
  readonly #options: ImageOpenerOptions;
  readonly #bootstraps: BootstrapStore;

  constructor(options: ImageOpenerOptions) {
    this.#options = options;
    this.#bootstraps = new BootstrapStore(options.addon);
  }

  /** What was opened is put on `undo`, whether this succeeds or not. */
  async open(request: MountRequest, undo: AsyncDisposableStack): Promise<OpenImage> {
    checkType(request.fsType);
    const config = await this.#config(request);
    const held = await this.#hold(request.source);
    undo.defer(() => held.release());
    const { bootstrap, spec } = this.#open(held, request.source, config);
    const blobs = await this.#options.storage
      .open(config, { fd: held.fd, size: held.size }, request.source)
      .catch((error: Error) => {
        const reason = `${request.source}: ${error.message}`;
        throw new ControlError('MOUNT_BAD_BLOBS', null, reason, { cause: error });
      });
    undo.defer(() => blobs.close());
    return {
      spec: { ...spec, blobs: blobs.views },
      source: request.source,
      config,
      superblock: bootstrap.superMeta,
      blobs,
      bootstrap: held,
    };
  }

  async #config(request: MountRequest): Promise<Config> {
    const { loadConfig, parseConfig } = await import('../../config/load.ts');
    const { notActiveYet, notSupportedYet } = await import('../../config/supported.ts');
    let config: Config | null;
    try {
      if (request.config !== undefined) config = await parseConfig(request.config);
      else if (request.configPath !== undefined) config = await loadConfig(request.configPath);
      else config = await this.#options.ownConfig();
      if (config === null) {
        throw new ConfigError(
          'parsing',
          'the request has no config and the daemon was started without --config',
        );
      }
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      const message = `mount ${request.mountpoint}: ${error.message}`;
      throw new ControlError(configCodes[error.stage], null, message, { cause: error });
    }
    const refused = notSupportedYet(config);
    if (refused !== null) throw new ControlError('MOUNT_NOT_SUPPORTED', null, refused);
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

  /** Checks superblock and tables. The mapping lives as long as the bootstrap does. */
  #open(
    held: HeldBootstrap,
    source: string,
    config: Config,
  ): { bootstrap: Bootstrap; spec: Omit<ImageSpec, 'blobs'> } {
    try {
      const bootstrap = openBootstrap(mapSealed(this.#options.addon, held.fd, held.size), source);
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
}

function checkType(fsType: string): void {
  if (fsType === 'rafs') return;
  if (['passthrough', 'passthroughfs', 'passthrough_fs'].includes(fsType)) {
    const reason = `fs_type "${fsType}" is not supported yet; share a directory with virtiofsd`;
    throw new ControlError('MOUNT_NOT_SUPPORTED', null, reason);
  }
  throw new ControlError('MOUNT_BAD_TYPE', fsType, 'fs_type: must be "rafs"');
}

/**
 * Whether the file begins as a bootstrap does; otherwise it may be a blob with one at its end. Rejects for a file too
 * short for either.
 */
async function probe(source: string): Promise<boolean> {
  await using file = await open(source, constants.O_RDONLY | constants.O_NONBLOCK);
  if (!(await file.stat()).isFile()) throw new Error(`${source} is not a regular file`);
  const bytes = new Uint8Array(PROBE_BYTES);
  const { bytesRead } = await file.read(bytes, 0, PROBE_BYTES, 0);
  const view = new DataView(bytes.buffer, 0, bytesRead);
  return isSuperblockV5(view) || isSuperblockV6(view);
}

function superblockError(source: string, error: NodeJS.ErrnoException): ControlError {
  const message = error.message.includes(source) ? error.message : `${source}: ${error.message}`;
  return new ControlError('MOUNT_BAD_SUPERBLOCK', error.code, message, { cause: error });
}
