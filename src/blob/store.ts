import { createHash } from 'node:crypto';
import { constants, fstatSync, lstatSync, mkdirSync, openSync, unlinkSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join, resolve } from 'node:path';
import { performance } from 'node:perf_hooks';
import { ByteLru } from '../lib/lru.ts';
import { BlobError, checkBlob } from '../wire/blob-error.ts';
import { chunkMapBytes } from '../wire/chunk-map.ts';
import { type BlobSpec, dataRegionSize, isUnindexed } from '../wire/rafs/blob-spec.ts';
import { BlobFeature } from '../wire/rafs/flags.ts';
import { Blob, SharedSource } from './blob.ts';
import { type CacheConfig, checkSpec } from './cache-config.ts';
import { CacheFile } from './cache-file.ts';
import { ChunkMapFile } from './chunk-map.ts';
import { type ChunkTable, IndexedChunks, RecordChunks } from './chunk-table.ts';
import type { Codecs } from './codecs.ts';
import { BackendCounters, CacheCounters } from './counters.ts';
import { Fetcher } from './fetch.ts';
import type { Lander } from './lander.ts';
import { gatesOf, Lanes } from './lanes.ts';
import { loadChunkInfo } from './meta.ts';
import { EvictionCount, OpenCache } from './open-cache.ts';
import { type BlobSource, type ReadOptions, UNHURRIED } from './source.ts';
import type { BlobView } from './view.ts';

/** Decoded chunks kept for caches without uncompressed files. */
const DECODED_BYTES_MAX = 32 << 20;
/** What a mount asks of a back end (sizes, chunk info) must come within this time. */
const OPEN_MS_MAX = 60_000;

interface Entry {
  readonly blob: Promise<Blob>;
  readonly sources: SharedSource;
  /** Sources of the mounts that share the blob, each behind the lanes of its place. */
  readonly led: Map<BlobSource, BlobSource[]>;
  users: number;
}

/**
 * All open blobs of the process. Mounts with the same cache directory, blob and rules share one. Storage thread only.
 */
export class BlobStore {
  readonly #codecs: Codecs;
  readonly #lander: Lander;
  readonly #log: (message: string) => void;
  readonly #lanes = new Lanes();
  /** Units that are decoded at a time: what prefetch takes of the processors, a guest's read does not wait for. */
  readonly #landings = gatesOf({
    demand: availableParallelism(),
    readahead: Math.ceil(availableParallelism() / 2),
    prefetch: Math.ceil(availableParallelism() / 2),
  });
  readonly #decoded = new ByteLru(DECODED_BYTES_MAX);
  readonly #evictions = new EvictionCount();
  readonly #entries = new Map<string, Entry>();
  readonly #keys = new Map<Blob, string>();
  /** Cache files by path and layout. */
  readonly #caches = new Map<string, { readonly cache: OpenCache; users: number }>();
  readonly #cacheKeys = new Map<OpenCache, string>();
  /** Blobs of one key are opened and closed one after the other: the files are the same. */
  readonly #closing = new Map<string, Promise<void>>();
  #handles = 0;

  constructor(codecs: Codecs, lander: Lander, log: (message: string) => void) {
    this.#codecs = codecs;
    this.#lander = lander;
    this.#log = log;
  }

  /**
   * Opens the blob or joins the mounts that have it. `digests`: 32 bytes for each chunk of a v6 blob, zero where
   * unknown; needed with `validate`. Each `open` needs its `close`. Rejects with BlobError, SourceError or the file
   * system's error.
   */
  async open(
    spec: BlobSpec,
    config: CacheConfig,
    source: BlobSource,
    digests: Uint8Array | null = null,
  ): Promise<Blob> {
    checkSpec(spec, config);
    const key = keyOf(spec, config, digests);
    await this.#closing.get(key);
    const led = this.#lanes.lead(source);
    let entry = this.#entries.get(key);
    const isJoining = entry !== undefined;
    if (!entry) {
      const sources = new SharedSource();
      const blob = this.#create(spec, config, led, sources, digests);
      entry = { sources, users: 0, blob, led: new Map() };
      this.#entries.set(key, entry);
    }
    entry.users++;
    entry.sources.add(led);
    entry.led.set(source, [...(entry.led.get(source) ?? []), led]);
    try {
      const blob = await entry.blob;
      this.#keys.set(blob, key);
      return blob;
    } catch (error) {
      await led.close();
      if (this.#entries.get(key) === entry) this.#entries.delete(key);
      // What failed was another mount's back end; this one's has not been asked.
      if (isJoining) return this.open(spec, config, source, digests);
      throw error;
    }
  }

  /** The source behind the lanes of its place: for what is read before a blob is open. */
  lead(source: BlobSource): BlobSource {
    return this.#lanes.lead(source);
  }

  /** Rejects when the back end does not have the blob; its size in bytes otherwise. */
  async look(spec: BlobSpec, source: BlobSource): Promise<number> {
    const led = this.#lanes.lead(source);
    try {
      return await led.size(spec.objectId, { ...UNHURRIED, deadlineMs: performance.now() + OPEN_MS_MAX });
    } finally {
      await led.close();
    }
  }

  /**
   * Gives back one `open` with this source; the last one closes the files. Queue workers must have dropped the view
   * before.
   */
  async close(blob: Blob, source: BlobSource): Promise<void> {
    const key = this.#keys.get(blob);
    const entry = key === undefined ? undefined : this.#entries.get(key);
    if (key === undefined || !entry) return;
    const led = entry.led.get(source)?.pop();
    if (entry.led.get(source)?.length === 0) entry.led.delete(source);
    const removeSource = async () => {
      if (led === undefined) return;
      entry.sources.remove(led);
      await led.close();
    };
    entry.users--;
    if (entry.users > 0) return removeSource();
    this.#entries.delete(key);
    this.#keys.delete(blob);
    const closing = blob.dispose().finally(async () => {
      this.#closeCache(blob.cache);
      this.#decoded.drop(`${blob.handle}:`);
      if (this.#closing.get(key) === closing) this.#closing.delete(key);
      await removeSource();
    });
    this.#closing.set(key, closing);
    await closing;
  }

  async #create(
    spec: BlobSpec,
    config: CacheConfig,
    source: BlobSource,
    sources: SharedSource,
    digests: Uint8Array | null,
  ): Promise<Blob> {
    const handle = ++this.#handles;
    const options = { ...UNHURRIED, deadlineMs: performance.now() + OPEN_MS_MAX };
    if (spec.features & BlobFeature.tarfs) return openTarfs(handle, spec, config, source, options);
    // A blob that is not there fails the mount, not its first reader.
    const found = await source.size(spec.objectId, options);
    const region = dataRegionSize(spec);
    checkBlob(
      region <= found,
      'BLOB_BAD_SPEC',
      `blob ${spec.objectId} size`,
      found,
      `at least ${region}, the bootstrap's data region`,
    );
    const directory = config.kind === 'file' ? config.workDir : null;
    if (directory !== null) mkdirSync(directory, { recursive: true });
    const validate = config.validate || mapless(spec, config);
    const table = await this.#openTable(spec, directory, source, options, validate ? digests : null);
    const cache = this.#openCache(spec, config);
    const bytesOnly = cache === null || config.compressed || isUnindexed(spec);
    const ready = bytesOnly ? null : new SharedArrayBuffer(chunkMapBytes(spec.chunkCount));
    if (ready && cache?.map && !validate) this.#load(cache, cache.map, new Uint8Array(ready));
    const counters = new CacheCounters();
    const backend = new BackendCounters(source.kind);
    const fetcher = new Fetcher({
      handle,
      spec,
      table,
      codecs: this.#codecs,
      lander: this.#lander,
      validate,
      amplifyBytes: config.amplifyBytes,
      cache,
      stored: config.compressed && cache !== null,
      ready: ready && new Uint8Array(ready),
      decoded: this.#decoded,
      landings: this.#landings,
      counters,
      log: this.#log,
      sourceCount: () => sources.count,
      read: (offset, into, how) =>
        measured(backend, into.length, how, (timed) => sources.read(spec.objectId, offset, into, timed)),
    });
    const view: BlobView = {
      handle,
      fd: bytesOnly ? -1 : cache.file.fd,
      delivery: bytesOnly ? 'bytes' : 'file',
      ready,
      evictions: ready && this.#evictions.shared,
      chunkCount: spec.chunkCount,
      size: spec.uncompressedSize,
    };
    return new Blob({ spec, view, fetcher, cache, counters, backend });
  }

  async #openTable(
    spec: BlobSpec,
    directory: string | null,
    source: BlobSource,
    options: ReadOptions,
    digests: Uint8Array | null,
  ): Promise<ChunkTable> {
    if (spec.version === 5) return new RecordChunks(spec);
    const path = directory === null ? null : join(directory, `${spec.id}.blob.meta`);
    const info = await loadChunkInfo(spec, path, source, this.#codecs, this.#log, options);
    return new IndexedChunks(spec, info, digests);
  }

  /**
   * The blob's files in the cache directory, or null where nothing is kept. A blob may be described by two bootstraps
   * that lay out its bytes differently (v5 with and without aligned chunks); the files then belong to whoever came
   * first, and the other is served without a cache.
   */
  #openCache(spec: BlobSpec, config: CacheConfig): OpenCache | null {
    if (config.kind === 'none') return null;
    const { path, mapPath, size } = cachePlace(spec, config);
    const hasMap = !mapless(spec, config);
    const key = JSON.stringify([path, size, spec.chunkCount, hasMap]);
    const known = this.#caches.get(key);
    if (known !== undefined) {
      known.users++;
      return known.cache;
    }
    const found = lstatSync(path, { throwIfNoEntry: false })?.size ?? 0;
    if (found === 0 && size > 0 && hasMap && ChunkMapFile.hasBits(mapPath)) {
      this.#log(`cache file ${path} is gone or empty, its chunk map is not: the map is begun anew`);
      unlinkSync(mapPath);
    }
    const differs = !isUnindexed(spec) && found !== 0 && found !== size;
    if (differs && (found > size || ChunkMapFile.hasBits(mapPath))) {
      const remedy = 'served without a cache; use another work_dir';
      this.#log(`cache file ${path} has ${found} bytes, this image needs ${size}: ${remedy}`);
      return null;
    }
    const file = CacheFile.open(path, isUnindexed(spec) ? null : size);
    try {
      const map = hasMap ? ChunkMapFile.open(mapPath, spec.chunkCount) : null;
      const cache = new OpenCache(file, map, this.#evictions);
      this.#caches.set(key, { cache, users: 1 });
      this.#cacheKeys.set(cache, key);
      return cache;
    } catch (error) {
      file.close();
      throw error;
    }
  }

  /** A map that cannot be read fails the mount, which then holds no cache. */
  #load(cache: OpenCache, map: ChunkMapFile, into: Uint8Array): void {
    try {
      map.load(into);
    } catch (error) {
      this.#closeCache(cache);
      throw error;
    }
  }

  #closeCache(cache: OpenCache | null): void {
    const key = cache === null ? undefined : this.#cacheKeys.get(cache);
    const known = key === undefined ? undefined : this.#caches.get(key);
    if (cache === null || key === undefined || known === undefined || --known.users > 0) return;
    this.#caches.delete(key);
    this.#cacheKeys.delete(cache);
    cache.close();
  }
}

/** v5 without a map on disk: cached bytes are believed by their digest only. */
function mapless(spec: BlobSpec, cache: CacheConfig): boolean {
  return spec.version === 5 && (isUnindexed(spec) || cache.disableIndexedMap);
}

/** Where a blob is kept, and how large its file is. */
function cachePlace(spec: BlobSpec, config: CacheConfig): { path: string; mapPath: string; size: number } {
  const prefix = join(resolve(config.workDir), spec.id);
  return {
    path: config.compressed ? `${prefix}.blob.raw` : `${prefix}.blob.data`,
    mapPath: `${prefix}.blob.data.chunk_map`,
    size: config.compressed ? dataRegionSize(spec) : spec.uncompressedSize,
  };
}

/** The tar itself is the data: from the cache directory, or where the back end has it as a file. */
async function openTarfs(
  handle: number,
  spec: BlobSpec,
  config: CacheConfig,
  source: BlobSource,
  options: ReadOptions,
): Promise<Blob> {
  const fd = openReadOnly(join(config.workDir, spec.id)) ?? (await source.openLocal(spec.objectId, options));
  if (fd === null) {
    const rule = `put the tar into ${config.workDir} under this name`;
    throw new BlobError('BLOB_NOT_SUPPORTED', `tarfs blob ${spec.id} is not a local file: ${rule}`);
  }
  const size = Math.min(fstatSync(fd).size, spec.uncompressedSize);
  const { chunkCount } = spec;
  const view: BlobView = { handle, fd, delivery: 'file', ready: null, evictions: null, chunkCount, size };
  const counters = new CacheCounters();
  const backend = new BackendCounters(source.kind);
  return new Blob({ spec, view, fetcher: null, cache: null, counters, backend });
}

function openReadOnly(path: string): number | null {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

/** Counts a read, from when the back end has it. */
async function measured(
  counters: BackendCounters,
  bytes: number,
  options: ReadOptions,
  read: (timed: ReadOptions) => Promise<void>,
): Promise<void> {
  let start = -1;
  const onStart = () => {
    start = performance.now();
    options.onStart?.();
  };
  let ok = false;
  try {
    await read({ ...options, onStart });
    ok = true;
  } finally {
    // What never left the queue (a faster lane was taken, the mount went) was no read.
    if (start >= 0) counters.add(bytes, performance.now() - start, ok);
  }
}

/**
 * Two bootstraps that describe a blob differently, or know other digests of it, do not share state in memory: one of
 * them may be hostile. They meet in the cache files only.
 */
function keyOf(spec: BlobSpec, cache: CacheConfig, digests: Uint8Array | null): string {
  const { id, objectId, metaObjectId, version, features, compressor, digester, chunkCount, compressedSize } =
    spec;
  const { uncompressedSize, ciCompressor, ciOffset, ciCompressedSize, ciUncompressedSize, cipher } = spec;
  const names = [id, objectId, metaObjectId, version, features, compressor, digester, ciCompressor];
  const sizes = [
    chunkCount,
    compressedSize,
    uncompressedSize,
    ciOffset,
    ciCompressedSize,
    ciUncompressedSize,
  ];
  const hex = cipher && [Buffer.from(cipher.key).toString('hex'), Buffer.from(cipher.iv).toString('hex')];
  const known = cache.validate && digests ? createHash('sha256').update(digests).digest('hex') : '';
  return JSON.stringify([names, sizes, hex, { ...cache, workDir: resolve(cache.workDir) }, known]);
}
