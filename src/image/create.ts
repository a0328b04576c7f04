import { resolve } from 'node:path';
import type { DigestAlgorithm } from '../lib/digest.ts';
import { FEATURES_V5, FEATURES_V6, type ImageBlob, PLAIN_BLOB, writeChunkInfo } from './blob.ts';
import { type Destination, OutputFile } from './blob-writer.ts';
import { Chunker } from './chunker.ts';
import type { BuildCompressor } from './compress.ts';
import { assignInodes, type ImageNode, isRegular, type NumberedTree } from './node.ts';
import { matchPrefetch, type PrefetchMatch } from './prefetch.ts';
import type { TreeSource } from './tree-source.ts';
import { Turns } from './turns.ts';
import type { WhiteoutSpec } from './walk.ts';
import { writeBootstrapV5 } from './write-v5.ts';
import { type BootstrapOptions, writeBootstrapV6 } from './write-v6.ts';

/** What `create` builds and where it goes. */
export interface CreateOptions {
  readonly source: TreeSource;
  readonly fsVersion: 5 | 6;
  readonly compressor: BuildCompressor;
  readonly digester: DigestAlgorithm;
  /** A power of two from 4096 to 16 MiB. */
  readonly chunkSize: number;
  readonly bootstrap: Destination;
  readonly blob: Destination;
  /** Keep owners. */
  readonly explicitUidGid: boolean;
  readonly whiteoutSpec: WhiteoutSpec;
  /** Absolute paths within the tree whose data is read ahead at mount; it is also stored first. */
  readonly prefetchPatterns: readonly string[];
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

/** How far a build is. */
export interface Progress {
  entries: number;
  bytes: number;
  bytesTotal: number;
}

/** What was built. */
export interface CreateResult {
  readonly bootstrapPath: string;
  readonly bootstrapSize: number;
  /** In blob table order; empty if the tree has no data. */
  readonly blobIds: readonly string[];
  readonly blobSize: number;
  /** Directory entries. */
  readonly entries: number;
  readonly inodes: number;
  readonly chunks: number;
  readonly duplicateChunks: number;
  readonly duplicateBytes: number;
  /** Bytes of all regular files, aliases counted once. */
  readonly dataSize: number;
}

/**
 * Builds an image of a tree. Both files appear complete under their names or not at all. Throws ImageError; aborting
 * the signal ends the build with IMAGE_ABORTED.
 */
export async function create(options: CreateOptions): Promise<CreateResult> {
  const progress: Progress = { entries: 0, bytes: 0, bytesTotal: 0 };
  const turns = new Turns(options.signal);
  const data = new BlobData(options, progress, turns);
  try {
    const tree = assignInodes(await readTree(data, options, progress, turns));
    const prefetch = matchPrefetch(tree, options.prefetchPatterns);
    progress.bytesTotal = dataSize(tree);
    const { chunker, out } = data.open();
    for (const node of prefetch.dataOrder) await chunker.add(node);
    const blob = await finishBlob(chunker, out, options, turns);
    const path = writeBootstrap(tree, prefetch, blob, options);
    return {
      bootstrapPath: path.path,
      bootstrapSize: path.size,
      blobIds: blob === null ? [] : [blob.id],
      blobSize: blob?.compressedSize ?? 0,
      entries: tree.byIndex.length,
      inodes: tree.inodesCount,
      chunks: chunker.chunks.length,
      duplicateChunks: chunker.duplicates,
      duplicateBytes: chunker.duplicateBytes,
      dataSize: progress.bytesTotal,
    };
  } finally {
    data.discard();
  }
}

/** The blob in the making. The file is made when it is first needed: a source that is refused leaves no trace. */
class BlobData {
  readonly #make: () => { out: OutputFile; chunker: Chunker };
  #opened: { out: OutputFile; chunker: Chunker } | null = null;

  constructor(options: CreateOptions, progress: Progress, turns: Turns) {
    this.#make = () => {
      const out = new OutputFile(options.blob);
      return { out, chunker: newChunker(out, options, progress, turns) };
    };
  }

  open(): { readonly out: OutputFile; readonly chunker: Chunker } {
    this.#opened ??= this.#make();
    return this.#opened;
  }

  discard(): void {
    this.#opened?.out.discard();
  }
}

function newChunker(out: OutputFile, options: CreateOptions, progress: Progress, turns: Turns): Chunker {
  return new Chunker(out, {
    chunkSize: options.chunkSize,
    compressor: options.compressor,
    digester: options.digester,
    alignment: options.fsVersion === 6 ? 4096 : 1,
    turns,
    onChunk: (bytes) => {
      progress.bytes += bytes;
      options.onProgress?.(progress);
    },
  });
}

async function readTree(
  data: BlobData,
  options: CreateOptions,
  progress: Progress,
  turns: Turns,
): Promise<ImageNode> {
  const { explicitUidGid, whiteoutSpec, signal } = options;
  const onEntry = (): Promise<void> | undefined => {
    progress.entries++;
    options.onProgress?.(progress);
    return turns.next();
  };
  const chunker = (): Chunker => data.open().chunker;
  const root = await options.source.read({ chunker, explicitUidGid, whiteoutSpec, onEntry, signal });
  turns.check();
  return root;
}

async function finishBlob(
  chunker: Chunker,
  out: OutputFile,
  options: CreateOptions,
  turns: Turns,
): Promise<ImageBlob | null> {
  await chunker.finish();
  turns.check();
  if (chunker.chunks.length === 0) {
    out.discard();
    return null;
  }
  const chunkInfo = options.fsVersion === 6 ? await writeChunkInfo(out, chunker, options.compressor) : {};
  const compressedSize = out.size;
  const { digest } = out.finish();
  const blob: ImageBlob = {
    ...PLAIN_BLOB,
    ...chunkInfo,
    id: digest,
    features: options.fsVersion === 6 ? FEATURES_V6 : FEATURES_V5,
    chunkCount: chunker.chunks.length,
    compressedSize,
    uncompressedSize: chunker.uncompressedSize,
    compressor: options.compressor,
    digester: options.digester,
  };
  return blob;
}

function writeBootstrap(
  tree: NumberedTree,
  prefetch: PrefetchMatch,
  blob: ImageBlob | null,
  options: CreateOptions,
): { path: string; size: number } {
  const bootstrapOptions: BootstrapOptions = {
    ...options,
    blobs: blob === null ? [] : [blob],
    prefetch: prefetch.nodes,
  };
  const bytes =
    options.fsVersion === 6
      ? writeBootstrapV6(tree, bootstrapOptions)
      : writeBootstrapV5(tree, bootstrapOptions);
  const out = new OutputFile(options.bootstrap);
  try {
    out.write(bytes);
    return { path: resolve(out.finish().path), size: bytes.length };
  } finally {
    out.discard();
  }
}

function dataSize(tree: NumberedTree): number {
  let size = 0;
  for (const node of tree.byIndex) if (isRegular(node) && node.first === node) size += node.size;
  return size;
}
