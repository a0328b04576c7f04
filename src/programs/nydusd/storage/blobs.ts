/** Blobs of mounts: the words of configurations and bootstraps put into those of the rooms `blob` and `source`. */
import { basename, dirname, resolve } from 'node:path';
import type { Blob } from '../../../blob/blob.ts';
import type { CacheConfig } from '../../../blob/cache-config.ts';
import { addonCodecs, type Codecs } from '../../../blob/codecs.ts';
import { BlobStore } from '../../../blob/store.ts';
import { extractBootstrap } from '../../../blob/toc.ts';
import type { ChunkRef } from '../../../blob/view.ts';
import type { Config } from '../../../config/config.ts';
import type { CodecCalls } from '../../../native/codec.ts';
import { blobSpec } from '../../../rafs/blob-spec.ts';
import type { BlobRow, Bootstrap } from '../../../rafs/bootstrap.ts';
import { ChunkDigests } from '../../../rafs/chunk-digests.ts';
import { LocalfsSource } from '../../../source/localfs.ts';
import { BlobFeature, SuperFlag } from '../../../wire/rafs/flags.ts';
import type { BlobStorage, OpenBlobs } from './storage.ts';

/** The part of the log that storage writes to. */
export interface StorageLog {
  warn(fields: Record<string, unknown>, message: string): void;
  error(fields: Record<string, unknown>, message: string): void;
}

const DIGEST_BYTES = 32;
const EIO = 5;

/** All open blobs of the daemon. */
export class DaemonBlobs implements BlobStorage {
  readonly #codecs: Codecs;
  readonly #store: BlobStore;
  readonly #log: StorageLog;
  /** By handle, for the workers' requests. */
  readonly #open: Map<number, { blob: Blob; users: number }> = new Map();

  constructor(addon: CodecCalls, log: StorageLog) {
    this.#codecs = addonCodecs(addon);
    this.#log = log;
    this.#store = new BlobStore(this.#codecs, (message) => log.warn({}, message));
  }

  async open(config: Config, bootstrap: Bootstrap, source: string): Promise<OpenBlobs> {
    if (config.rafs.validate && (bootstrap.flags & SuperFlag.tarfs) !== 0) {
      throw new Error('digest_validate cannot be used: a tarfs image has no digests; set it to false');
    }
    const backend = new LocalfsSource(config.backend.localfs!);
    const cache = cacheConfig(config);
    const digests = cache.validate ? new ChunkDigests(bootstrap) : null;
    const blobs: Blob[] = [];
    const undo = new AsyncDisposableStack();
    undo.defer(() => backend.close());
    try {
      for (const row of bootstrap.blobs) {
        const spec = blobSpec(row, bootstrap, source);
        // A blob that another mount has open is not looked for again, but this mount's own back end must have it, too.
        if ((row.features & BlobFeature.tarfs) === 0) await backend.size(spec.objectId);
        const blob = await this.#store.open(spec, cache, backend, digests && digestsOf(digests, row));
        undo.defer(() => this.#store.close(blob, backend));
        blobs.push(blob);
      }
    } catch (error) {
      await undo.disposeAsync();
      throw error;
    }
    for (const blob of blobs) this.#use(blob);
    return {
      views: blobs.map((blob) => blob.view()),
      backendMetrics: () => backendMetrics(blobs, config.backend.type),
      close: async () => {
        for (const blob of blobs) this.#drop(blob);
        await undo.disposeAsync();
      },
    };
  }

  async extractBootstrap(source: string): Promise<Uint8Array> {
    const file = new LocalfsSource({ blob_file: source });
    try {
      return await extractBootstrap(file, basename(source), this.#codecs);
    } finally {
      await file.close();
    }
  }

  cacheMetrics(of: readonly OpenBlobs[]): unknown {
    const handles = new Set(of.flatMap(({ views }) => views.map(({ handle }) => handle)));
    const cached = [...handles].flatMap((handle) => {
      const blob = this.#open.get(handle)?.blob;
      return blob?.cachePath == null ? [] : [blob];
    });
    return cached.length === 0 ? undefined : cacheMetrics(cached);
  }

  fetch(
    handle: number,
    chunks: readonly ChunkRef[],
    done: (result: number, pieces: readonly Uint8Array[] | null) => void,
  ): void {
    const open = this.#open.get(handle);
    if (open === undefined) {
      // The mount went while the request was on its way.
      done(-EIO, null);
      return;
    }
    open.blob.fetch(chunks).then(
      (pieces) => done(0, pieces),
      (error: Error) => {
        this.#log.error({ blob: open.blob.id, cause: error.message }, 'chunks cannot be read');
        done(-EIO, null);
      },
    );
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

/** The sum over a mount's blobs in upstream's shape. */
function backendMetrics(blobs: readonly Blob[], kind: string): unknown {
  const zeros = () => new Array<number>(8).fill(0);
  const sum = {
    backend_type: kind,
    read_count: 0,
    read_errors: 0,
    read_amount_total: 0,
    read_cumulative_latency_millis_total: 0,
    read_cumulative_latency_millis_dist: zeros(),
    read_count_block_size_dist: zeros(),
    read_latency_sizes_dist: Array.from({ length: 8 }, zeros),
  };
  for (const { backendCounters } of blobs) {
    const one = backendCounters.toJSON() as typeof sum;
    sum.read_count += one.read_count;
    sum.read_errors += one.read_errors;
    sum.read_amount_total += one.read_amount_total;
    sum.read_cumulative_latency_millis_total += one.read_cumulative_latency_millis_total;
    for (let i = 0; i < 8; i++) {
      sum.read_cumulative_latency_millis_dist[i]! += one.read_cumulative_latency_millis_dist[i]!;
      sum.read_count_block_size_dist[i]! += one.read_count_block_size_dist[i]!;
      for (let j = 0; j < 8; j++) sum.read_latency_sizes_dist[i]![j]! += one.read_latency_sizes_dist[i]![j]!;
    }
  }
  return sum;
}

/** GET /api/v1/metrics/blobcache. Chunks that workers read from the cache file by themselves are not seen here. */
function cacheMetrics(blobs: readonly Blob[]): unknown {
  const sum = (pick: (blob: Blob) => number) => blobs.reduce((all, blob) => all + pick(blob), 0);
  return {
    underlying_files: blobs.map((blob) => basename(blob.cachePath!)),
    store_path: dirname(blobs[0]!.cachePath!),
    partial_hits: sum((blob) => blob.counters.chunksFetched),
    whole_hits: sum((blob) => blob.counters.chunksFromCache),
    total: sum((blob) => blob.counters.chunksAsked),
    entries_count: sum((blob) => blob.counters.chunksFetched + blob.counters.chunksAmplified),
    prefetch_data_amount: 0,
    prefetch_requests_count: 0,
    prefetch_workers: 0,
    prefetch_unmerged_chunks: 0,
    prefetch_cumulative_time_millis: 0,
    prefetch_begin_time_secs: 0,
    prefetch_begin_time_millis: 0,
    prefetch_end_time_secs: 0,
    prefetch_end_time_millis: 0,
    buffered_backend_size: sum((blob) => blob.counters.bufferedBytes),
    data_all_ready: blobs.every(isComplete),
  };
}

function isComplete(blob: Blob): boolean {
  const { ready, chunkCount, delivery } = blob.view();
  if (delivery === 'bytes') return false;
  if (ready === null) return true;
  const bits = new Uint8Array(ready);
  for (let index = 0; index < chunkCount; index++) {
    if ((bits[index >> 3]! & (0x80 >> (index & 7))) === 0) return false;
  }
  return true;
}
