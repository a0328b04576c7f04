/**
 * Blobs of mounts: the words of configurations and bootstraps put into those of the rooms `blob` and `source`.
 * Storage thread only.
 */
import { basename, resolve } from 'node:path';
import type { Blob } from '../../../blob/blob.ts';
import type { CacheConfig } from '../../../blob/cache-config.ts';
import { addonCodecs, type Codecs } from '../../../blob/codecs.ts';
import { addonLander } from '../../../blob/lander.ts';
import { type BlobSource, impatient } from '../../../blob/source.ts';
import { BlobStore } from '../../../blob/store.ts';
import { extractBootstrap } from '../../../blob/toc.ts';
import type { BlobView, ChunkAnswer, ChunkRef } from '../../../blob/view.ts';
import type { Config } from '../../../config/config.ts';
import { DIGEST_BYTES } from '../../../lib/content-hash.ts';
import { within } from '../../../lib/deadline.ts';
import { Errno } from '../../../lib/errno.ts';
import type { Addon } from '../../../native/addon.ts';
import { mapSealed } from '../../../native/sealed.ts';
import { blobSpec } from '../../../rafs/blob-spec.ts';
import type { BlobRow, Bootstrap } from '../../../rafs/bootstrap.ts';
import { ChunkDigests } from '../../../rafs/chunk-digests.ts';
import { openBootstrap } from '../../../rafs/open-bootstrap.ts';
import { openSource } from '../../../source/open.ts';
import { BlobFeature, SuperFlag } from '../../../wire/rafs/flags.ts';
import { backendMetrics, cacheMetrics } from './metrics.ts';
import { type BootstrapMemory, StorageError } from './storage.ts';

/** A guest's read is answered within this time, with an error if need be. */
const DEMAND_MS_MAX = 60_000;
/** What a mount reads before its blobs are open must come within this time. */
const MOUNT_MS_MAX = 60_000;

/** The part of the log that storage writes to. */
interface StorageLog {
  warn(fields: Record<string, unknown>, message: string): void;
  error(fields: Record<string, unknown>, message: string): void;
}

/** The blobs of a mount. */
interface BlobSet {
  readonly blobs: readonly Blob[];
  readonly backend: BlobSource;
}

/** All open blobs of the daemon. */
export class MountedBlobs {
  readonly #addon: Addon;
  readonly #codecs: Codecs;
  readonly #store: BlobStore;
  readonly #log: StorageLog;
  readonly #sets = new Map<number, BlobSet>();
  /** By handle, for the workers' requests. */
  readonly #open = new Map<number, { readonly blob: Blob; users: number }>();
  #lastSet = 0;

  constructor(addon: Addon, log: StorageLog) {
    this.#addon = addon;
    this.#codecs = addonCodecs(addon);
    this.#log = log;
    this.#store = new BlobStore(this.#codecs, addonLander(addon), (message) => log.warn({}, message));
  }

  /** Opens the blobs of a mount, or none of them. */
  async open(
    config: Config,
    memory: BootstrapMemory,
    source: string,
  ): Promise<{ set: number; views: readonly BlobView[] }> {
    const mapped = mapSealed(this.#addon, memory.fd, memory.size);
    try {
      const bootstrap = openBootstrap(mapped, source);
      if (config.rafs.validate && (bootstrap.flags & SuperFlag.tarfs) !== 0) {
        const rule = 'a tarfs image has no digests; set it to false';
        throw new StorageError('BLOB_NOT_SUPPORTED', `digest_validate cannot be used: ${rule}`);
      }
      const opened = await this.#openAll(config, bootstrap, source);
      for (const blob of opened.blobs) this.#use(blob);
      const set = ++this.#lastSet;
      this.#sets.set(set, opened);
      return { set, views: opened.blobs.map((blob) => blob.view()) };
    } finally {
      this.#addon.unmap(mapped);
    }
  }

  async close(set: number): Promise<null> {
    const found = this.#sets.get(set);
    if (found === undefined) return null;
    this.#sets.delete(set);
    for (const blob of found.blobs) this.#drop(blob);
    await this.#closeAll(found);
    return null;
  }

  /** The bootstrap at the end of a blob file. Rejects when there is none. */
  async extractBootstrap(path: string): Promise<Uint8Array> {
    const file = openSource({ type: 'localfs', localfs: { blob_file: path } });
    const led = this.#store.lead(file);
    const patience = { deadlineMs: performance.now() + MOUNT_MS_MAX, signal: null };
    const extracting = extractBootstrap(led, basename(path), this.#codecs);
    try {
      return await within(extracting, patience, impatient(`bootstrap in ${path}`));
    } finally {
      await led.close();
      await file.close();
    }
  }

  /** Counters of the back end of a mount, in the shape of upstream. */
  backendMetrics(set: number): unknown {
    const found = this.#sets.get(set);
    return found && backendMetrics(found.blobs, found.backend.kind);
  }

  /** Counters of the caches of mounts, shared ones once; undefined when none of them has a cache. */
  cacheMetrics(sets: readonly number[]): unknown {
    const blobs = new Set(sets.flatMap((set) => this.#sets.get(set)?.blobs ?? []));
    const cached = [...blobs].filter(({ cachePath }) => cachePath !== null);
    return cached.length === 0 ? undefined : cacheMetrics(cached);
  }

  /** Answers a worker's request for chunks; never rejects. */
  async fetch(handle: number, chunks: readonly ChunkRef[]): Promise<Omit<ChunkAnswer, 'fetch'>> {
    const open = this.#open.get(handle);
    // The mount went while the request was on its way.
    if (open === undefined) return { result: -Errno.EIO, pieces: null };
    const deadlineMs = performance.now() + DEMAND_MS_MAX;
    try {
      const pieces = await open.blob.fetch(chunks, { priority: 'demand', deadlineMs, signal: null });
      return { result: 0, pieces };
    } catch (error) {
      this.#log.error({ blob: open.blob.id, cause: (error as Error).message }, 'chunks cannot be read');
      return { result: -Errno.EIO, pieces: null };
    }
  }

  async #openAll(config: Config, bootstrap: Bootstrap, source: string): Promise<BlobSet> {
    const backend = openSource({ type: 'localfs', localfs: config.backend.localfs! });
    const cache = cacheConfig(config);
    const digests = cache.validate ? new ChunkDigests(bootstrap) : null;
    const blobs: Blob[] = [];
    try {
      for (const row of bootstrap.blobs) {
        const spec = blobSpec(row, bootstrap, source);
        // A blob that another mount has open is not looked for again, but this mount's own back end must have it, too.
        if ((row.features & BlobFeature.tarfs) === 0) await this.#store.look(spec, backend);
        blobs.push(await this.#store.open(spec, cache, backend, digests && digestsOf(digests, row)));
      }
      return { blobs, backend };
    } catch (error) {
      await this.#closeAll({ blobs, backend });
      throw error;
    }
  }

  async #closeAll({ blobs, backend }: BlobSet): Promise<void> {
    for (const blob of blobs) await this.#store.close(blob, backend);
    await backend.close();
  }

  #use(blob: Blob): void {
    const open = this.#open.get(blob.handle);
    if (open === undefined) this.#open.set(blob.handle, { blob, users: 1 });
    else open.users++;
  }

  #drop(blob: Blob): void {
    const open = this.#open.get(blob.handle);
    if (open !== undefined && --open.users === 0) this.#open.delete(blob.handle);
  }
}

function cacheConfig({ cache, rafs }: Config): CacheConfig {
  const file = cache.filecache;
  return {
    kind: file === null ? 'none' : 'file',
    workDir: file === null ? '.' : resolve(file.work_dir),
    compressed: cache.compressed,
    validate: cache.validate || rafs.validate,
    disableIndexedMap: file?.disable_indexed_map ?? false,
    amplifyBytes: rafs.batch_size,
  };
}

/** 32 bytes for each chunk, zero where the bootstrap has none. */
function digestsOf(digests: ChunkDigests, row: BlobRow): Uint8Array {
  const bytes = new Uint8Array(row.chunkCount * DIGEST_BYTES);
  for (let index = 0; index < row.chunkCount; index++) {
    const found = digests.find(row.index, index);
    if (found !== null) bytes.set(found.digest, index * DIGEST_BYTES);
  }
  return bytes;
}
