import { closeSync, statSync } from 'node:fs';
import type { DigestAlgorithm } from '../../lib/content-hash.ts';
import { openPipe } from '../../lib/file/pipe.ts';
import type { Turns } from '../../lib/turns.ts';
import { BlobFeature, UNKNOWN_BLOB_ID } from '../../wire/rafs/flags.ts';
import { FEATURES_V5, FEATURES_V6, type ImageBlob, PLAIN_BLOB } from '../model/blob.ts';
import type { StoredChunk } from '../model/chunk.ts';
import { ImageError, writeFailure } from '../model/error.ts';
import type { ImageNode } from '../model/node.ts';
import { Batcher } from './batch.ts';
import { CacheFiles } from './cache-files.ts';
import { chunkInfoV1, chunkInfoV2, digestArray } from './chunk-info.ts';
import { Chunker } from './chunker.ts';
import { type BlobCipher, newCipher } from './cipher.ts';
import type { BuildCompressor } from './compress.ts';
import type { EarlierChunks } from './earlier-chunks.ts';
import { type Destination, OutputFile } from './output-file.ts';
import { BlobSections } from './sections.ts';

/** What a blob is made of, and where it goes. */
export interface BlobBuildOptions {
  readonly fsVersion: 5 | 6;
  readonly compressor: BuildCompressor;
  readonly digester: DigestAlgorithm;
  /** A power of two from 4096 to 16 MiB. */
  readonly chunkSize: number;
  readonly blob: Destination;
  /** Null: the bootstrap goes to the end of the blob. */
  readonly bootstrap: Destination | null;
  /**
   * How the mount learns what to read ahead: from a list of files, or from the size of the
   * blob's head. By default `fs`.
   */
  readonly prefetchPolicy?: 'fs' | 'blob';
  /** Table of contents and digest array at the end of the blob; v6. */
  readonly blobToc?: boolean;
  /** Files below half of this are compressed together; a power of two; 0: none. v6. */
  readonly batchSize?: number;
  /** AES-128-XTS with a random key, which the bootstrap keeps. v6. */
  readonly encrypt?: boolean;
  /** v5: chunks begin at multiples of 4096 in the uncompressed image, as they always do in v6. */
  readonly alignedChunk?: boolean;
  /** Name of the blob instead of its SHA-256. */
  readonly blobId?: string | undefined;
  /** Directory for the cache files of the blob, as if nydusd had fetched all of it. */
  readonly cacheDir?: string | undefined;
  /** Where the blob will begin in a larger object. */
  readonly blobOffset?: number;
  readonly signal?: AbortSignal | undefined;
}

/** `s_readahead_size` of a v5 blob row has 32 bits. */
const READAHEAD_MAX = 0xffff_ffff;

/**
 * The data blob of a build, from its first chunk to its name. The file is made when it is first needed: a source that
 * is refused leaves no trace.
 */
export class BlobBuild {
  readonly #options: BlobBuildOptions;
  readonly #turns: Turns;
  readonly #onChunk: (bytes: number) => void;
  readonly #earlier: EarlierChunks;
  readonly #cipher: BlobCipher | null;
  readonly #batcher: Batcher | null;
  #opened: { readonly out: OutputFile; readonly chunker: Chunker } | null = null;
  #sections: BlobSections | null = null;
  #cache: CacheFiles | null = null;

  constructor(
    options: BlobBuildOptions,
    earlier: EarlierChunks,
    turns: Turns,
    onChunk: (bytes: number) => void,
  ) {
    this.#options = options;
    this.#earlier = earlier;
    this.#turns = turns;
    this.#onChunk = onChunk;
    this.#cipher = options.encrypt ? newCipher() : null;
    this.#batcher = options.batchSize ? new Batcher(options.batchSize) : null;
  }

  /** Opens a pipe that the blob goes into, once it has a reader. */
  async prepare(): Promise<void> {
    const { blob, signal } = this.#options;
    if (blob.kind !== 'file' || statSync(blob.path, { throwIfNoEntry: false })?.isFIFO() !== true) return;
    let held: number;
    try {
      held = await openPipe(blob.path, signal);
    } catch (cause) {
      throw writeFailure(blob.path, cause, signal);
    }
    try {
      this.#open();
    } finally {
      closeSync(held);
    }
  }

  /** Takes the data of files. */
  get chunker(): Chunker {
    return this.#open().chunker;
  }

  /**
   * Stores what is still in flight and the chunk info behind it. Returns the row of the blob, null if it has no data.
   * `early`: files whose data was stored first to be read ahead.
   */
  async finishData(early: readonly ImageNode[]): Promise<ImageBlob | null> {
    const { out, chunker } = this.#open();
    await chunker.finish();
    this.#turns.throwIfAborted();
    if (chunker.chunks.length === 0) return null;
    const { fsVersion, compressor, digester, prefetchPolicy } = this.#options;
    const features = this.#features(chunker);
    const sections = this.#startSections(features);
    sections.data(chunker.uncompressedSize);
    const chunkInfo = fsVersion === 6 ? await this.#writeChunkInfo(sections, chunker, features) : {};
    const { chunks } = chunker;
    this.#cache?.seal(chunker.uncompressedSize, chunks.length);
    return {
      ...PLAIN_BLOB,
      ...chunkInfo,
      id: UNKNOWN_BLOB_ID,
      features,
      chunkCount: chunks.length,
      compressedSize: out.size,
      uncompressedSize: chunker.uncompressedSize,
      readaheadSize:
        prefetchPolicy === 'blob' && fsVersion === 5 ? readaheadSize(early, chunks, out.base) : 0,
      compressor,
      digester,
      cipherKey: this.#cipher?.key ?? null,
      cipherIv: this.#cipher?.iv ?? null,
    };
  }

  /** Puts the bootstrap behind the data, whatever data there is. */
  async inlineBootstrap(bytes: Buffer): Promise<void> {
    this.#open();
    const { fsVersion, blobToc } = this.#options;
    const isAlone = this.#sections === null;
    const sections = this.#sections ?? this.#startSections(this.#features(this.chunker));
    // At the start of the file, as the original leaves it, a v6 bootstrap is taken for the whole file
    // and refused for its size.
    if (isAlone && fsVersion === 6 && !blobToc) sections.data(0);
    await sections.bootstrap(bytes);
  }

  /** Ends the blob. Nothing may be added any more; it has no name yet. */
  seal(): {
    readonly id: string;
    readonly size: number;
    readonly tocSize: number;
    readonly tocDigest: Buffer;
  } {
    const { out } = this.#open();
    const toc = this.#sections!.toc();
    const id = this.#options.blobId ?? out.digestSoFar().toString('hex');
    return { id, size: out.size, ...toc };
  }

  /** Gives the blob its name. */
  finish(id: string): void {
    this.#open().out.finish(id);
    this.#cache?.finish(id);
  }

  /** Removes what has no name yet. */
  discard(): void {
    this.#opened?.out.discard();
    this.#cache?.discard();
  }

  #open(): { readonly out: OutputFile; readonly chunker: Chunker } {
    if (this.#opened === null) {
      const out = new OutputFile(this.#options.blob, this.#options.blobOffset ?? 0);
      const { cacheDir } = this.#options;
      if (cacheDir !== undefined) this.#cache = new CacheFiles(cacheDir);
      this.#opened = { out, chunker: this.#newChunker(out) };
    }
    return this.#opened;
  }

  #newChunker(out: OutputFile): Chunker {
    const { chunkSize, compressor, digester, fsVersion, alignedChunk } = this.#options;
    return new Chunker(out, {
      chunkSize,
      compressor,
      digester,
      alignment: fsVersion === 6 || alignedChunk ? 4096 : 1,
      earlier: this.#earlier,
      batcher: this.#batcher,
      cipher: this.#cipher,
      turns: this.#turns,
      onChunk: this.#onChunk,
      onStore: (chunk, bytes) => this.#cache?.addChunk(chunk, bytes),
    });
  }

  #startSections(features: number): BlobSections {
    this.#sections = new BlobSections(this.#open().out, {
      features,
      compressor: this.#options.compressor,
      cipher: this.#cipher,
      onChunkInfo: (bytes, header) => this.#cache?.addChunkInfo(bytes, header),
    });
    return this.#sections;
  }

  #features(chunker: Chunker): number {
    const { fsVersion, bootstrap, blobToc } = this.#options;
    let features = fsVersion === 6 ? FEATURES_V6 : FEATURES_V5;
    if (bootstrap === null) features |= BlobFeature.inlinedFsMeta | BlobFeature.hasTarHeader;
    if (blobToc) features |= BlobFeature.hasToc | BlobFeature.hasTarHeader;
    if (blobToc && chunker.chunks.length > 0) features |= BlobFeature.inlinedChunkDigest;
    if (this.#batcher !== null) features |= BlobFeature.batch | BlobFeature.chunkInfoV2;
    if (this.#cipher !== null) features |= BlobFeature.encrypted | BlobFeature.chunkInfoV2;
    return features;
  }

  #writeChunkInfo(
    sections: BlobSections,
    { chunks }: Chunker,
    features: number,
  ): ReturnType<BlobSections['chunkInfo']> {
    const v2 = (features & BlobFeature.chunkInfoV2) !== 0;
    const info = v2 ? chunkInfoV2(chunks, this.#batcher) : chunkInfoV1(chunks);
    return sections.chunkInfo(info, digestArray(chunks));
  }
}

/** Bytes up to the end of the last of `chunks` that one of `early` needs; others of its chunks are in other blobs. */
function readaheadSize(early: readonly ImageNode[], chunks: readonly StoredChunk[], base: number): number {
  let end = base;
  for (const node of early) {
    for (const chunk of node.chunks) {
      if (chunks[chunk.index] === chunk) end = Math.max(end, chunk.compressedOffset + chunk.compressedSize);
    }
  }
  if (end - base <= READAHEAD_MAX) return end - base;
  throw new ImageError(
    'IMAGE_TOO_LARGE',
    'more than 4 GiB to read ahead: name fewer files with --prefetch-policy blob',
  );
}
