import { createHash } from 'node:crypto';
import { constants, fstatSync, lstatSync, mkdirSync, openSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { performance } from 'node:perf_hooks';
import { Semaphore } from '../lib/semaphore.ts';
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
import { DecodedCache } from './decoded-cache.ts';
import { Fetcher } from './fetch.ts';
import { loadChunkInfo } from './meta.ts';
import type { BlobSource } from './source.ts';
import type { BlobView } from './view.ts';

/** Reads of back ends at a time, over all blobs. */
const READS_MAX = 8;
/** Decoded chunks kept for caches without uncompressed files. */
const DECODED_BYTES_MAX = 32 << 20;

interface Entry {
  readonly blob: Promise<Blob>;
  readonly sources: SharedSource;
  users: number;
}

/** All open blobs of the process. Mounts with the same cache directory, blob and rules share one. Control thread only. */
export class BlobStore {
  readonly #codecs: Codecs;
  readonly #log: (message: string) => void;
  readonly #room = new Semaphore(READS_MAX);
  readonly #decoded = new DecodedCache(DECODED_BYTES_MAX);
  readonly #entries = new Map<string, Entry>();
  readonly #keys = new Map<Blob, string>();
  /** Blobs of one key are opened and closed one after the other: the files are the same. */
  readonly #closing = new Map<string, Promise<void>>();
  #handles = 0;

  constructor(codecs: Codecs, log: (message: string) => void) {
    this.#codecs = codecs;
    this.#log = log;
  }

  /**
   * Opens the blob or joins the mounts that have it. `digests`: 32 bytes for each chunk of a v6 blob, zero where unknown; needed with
   * `validate`. Each `open` needs its `close`. Rejects with BlobError, SourceError or the file system's error.
   */
  async open(
    spec: BlobSpec,
    cache: CacheConfig,
    source: BlobSource,
    digests: Uint8Array | null = null,
  ): Promise<Blob> {
    checkSpec(spec, cache);
    const key = keyOf(spec, cache, digests);
    await this.#closing.get(key);
    let entry = this.#entries.get(key);
    if (!entry) {
      const sources = new SharedSource();
      entry = { sources, users: 0, blob: this.#create(spec, cache, source, sources, digests) };
      this.#entries.set(key, entry);
    }
    entry.users++;
    entry.sources.add(source);
    try {
      const blob = await entry.blob;
      this.#keys.set(blob, key);
      return blob;
    } catch (error) {
      if (this.#entries.get(key) === entry) this.#entries.delete(key);
      throw error;
    }
  }

  /** Gives back one `open` with this source; the last one closes the files. Queue workers must have dropped the view before. */
  async close(blob: Blob, source: BlobSource): Promise<void> {
    const key = this.#keys.get(blob);
    const entry = key === undefined ? undefined : this.#entries.get(key);
    if (key === undefined || !entry) return;
    entry.users--;
    if (entry.users > 0) return entry.sources.remove(source);
    this.#entries.delete(key);
    this.#keys.delete(blob);
    const closing = blob.dispose().finally(() => {
      entry.sources.remove(source);
      this.#decoded.drop(blob.handle);
      if (this.#closing.get(key) === closing) this.#closing.delete(key);
    });
    this.#closing.set(key, closing);
    await closing;
  }

  async #create(
    spec: BlobSpec,
    cache: CacheConfig,
    source: BlobSource,
    sources: SharedSource,
    digests: Uint8Array | null,
  ): Promise<Blob> {
    const handle = ++this.#handles;
    if (spec.features & BlobFeature.tarfs) return openTarfs(handle, spec, cache, source);
    const found = await source.size(spec.objectId); // A blob that is not there fails the mount, not its first reader.
    const region = dataRegionSize(spec);
    checkBlob(
      region <= found,
      'BLOB_BAD_SPEC',
      `blob ${spec.objectId} size`,
      found,
      `at least ${region}, the bootstrap's data region`,
    );
    const directory = cache.kind === 'file' ? cache.workDir : null;
    if (directory !== null) mkdirSync(directory, { recursive: true });
    const validate = cache.validate || mapless(spec, cache);
    const table = await this.#openTable(spec, directory, source, validate ? digests : null);
    const files = openFiles(spec, cache, this.#log);
    const bytesOnly = files.file === null || cache.compressed || isUnindexed(spec);
    const ready = bytesOnly ? null : new SharedArrayBuffer(chunkMapBytes(spec.chunkCount));
    if (ready && files.map && !validate) files.map.load(new Uint8Array(ready));
    const counters = new CacheCounters();
    const backend = new BackendCounters(source.kind);
    const fetcher = new Fetcher({
      ...files,
      handle,
      spec,
      table,
      codecs: this.#codecs,
      validate,
      amplifyBytes: cache.amplifyBytes,
      stored: cache.compressed && files.file !== null,
      ready: ready && new Uint8Array(ready),
      decoded: this.#decoded,
      room: this.#room,
      counters,
      log: this.#log,
      read: (offset, into) => measured(backend, into.length, () => sources.read(spec.objectId, offset, into)),
    });
    const view: BlobView = {
      handle,
      fd: bytesOnly ? -1 : files.file!.fd,
      delivery: bytesOnly ? 'bytes' : 'file',
      ready,
      chunkCount: spec.chunkCount,
      size: spec.uncompressedSize,
    };
    return new Blob({ spec, view, fetcher, ...files, counters, backend });
  }

  async #openTable(
    spec: BlobSpec,
    directory: string | null,
    source: BlobSource,
    digests: Uint8Array | null,
  ): Promise<ChunkTable> {
    if (spec.version === 5) return new RecordChunks(spec);
    const path = directory === null ? null : join(directory, `${spec.id}.blob.meta`);
    const info = await loadChunkInfo(spec, path, source, this.#codecs, this.#log);
    return new IndexedChunks(spec, info, digests);
  }
}

/** v5 without a map on disk: cached bytes are believed by their digest only. */
function mapless(spec: BlobSpec, cache: CacheConfig): boolean {
  return spec.version === 5 && (isUnindexed(spec) || cache.disableIndexedMap);
}

interface CacheFiles {
  readonly file: CacheFile | null;
  readonly map: ChunkMapFile | null;
}

const NO_FILES: CacheFiles = { file: null, map: null };

/**
 * The blob's files in the cache directory. A blob may be described by two bootstraps that lay out its bytes differently (v5 with and without
 * aligned chunks); the files then belong to whoever came first, and the other is served without a cache.
 */
function openFiles(spec: BlobSpec, cache: CacheConfig, log: (message: string) => void): CacheFiles {
  if (cache.kind === 'none') return NO_FILES;
  const prefix = join(cache.workDir, spec.id);
  const path = cache.compressed ? `${prefix}.blob.raw` : `${prefix}.blob.data`;
  const size = cache.compressed ? dataRegionSize(spec) : spec.uncompressedSize;
  const mapPath = `${prefix}.blob.data.chunk_map`;
  const found = lstatSync(path, { throwIfNoEntry: false })?.size ?? 0;
  const differs = !isUnindexed(spec) && found !== 0 && found !== size;
  if (differs && (found > size || ChunkMapFile.hasBits(mapPath))) {
    log(
      `cache file ${path} has ${found} bytes, this image needs ${size}: served without a cache; use another work_dir`,
    );
    return NO_FILES;
  }
  const file = CacheFile.open(path, isUnindexed(spec) ? null : size);
  if (mapless(spec, cache)) return { file, map: null };
  try {
    return { file, map: ChunkMapFile.open(mapPath, spec.chunkCount) };
  } catch (error) {
    file.close();
    throw error;
  }
}

/** The tar itself is the data: from the cache directory, or where the back end has it as a file. */
async function openTarfs(
  handle: number,
  spec: BlobSpec,
  cache: CacheConfig,
  source: BlobSource,
): Promise<Blob> {
  const fd = openReadOnly(join(cache.workDir, spec.id)) ?? (await source.openLocal(spec.objectId));
  if (fd === null) {
    const rule = `put the tar into ${cache.workDir} under this name`;
    throw new BlobError('BLOB_NOT_SUPPORTED', `tarfs blob ${spec.id} is not a local file: ${rule}`);
  }
  const size = Math.min(fstatSync(fd).size, spec.uncompressedSize);
  const view: BlobView = { handle, fd, delivery: 'file', ready: null, chunkCount: spec.chunkCount, size };
  const backend = new BackendCounters(source.kind);
  return new Blob({
    spec,
    view,
    fetcher: null,
    file: null,
    map: null,
    counters: new CacheCounters(),
    backend,
  });
}

function openReadOnly(path: string): number | null {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

async function measured(counters: BackendCounters, bytes: number, read: () => Promise<void>): Promise<void> {
  const start = performance.now();
  try {
    await read();
    counters.add(bytes, performance.now() - start, true);
  } catch (error) {
    counters.add(bytes, performance.now() - start, false);
    throw error;
  }
}

/**
 * Two bootstraps that describe a blob differently, or know other digests of it, do not share state in memory: one of them may be
 * hostile. They meet in the cache files only.
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
