import type { BlobSource } from '../../blob/source.ts';
import { Turns } from '../../lib/turns.ts';
import { BlobBuild, type BlobBuildOptions } from '../blob/build.ts';
import type { Chunker } from '../blob/chunker.ts';
import { writeOutput } from '../blob/output-file.ts';
import { encodeBootstrap } from '../bootstrap/encode.ts';
import type { BootstrapOptions } from '../bootstrap/options.ts';
import type { ImageBlob } from '../model/blob.ts';
import { interrupted } from '../model/error.ts';
import { assignInodes, type ImageNode, isRegular, type NumberedTree } from '../model/node.ts';
import { overlay, setLayer, type WhiteoutSpec } from '../model/overlay.ts';
import { matchPrefetch, type PrefetchMatch } from '../model/prefetch.ts';
import { checkTraits, refuseTarfs, traitsOf } from '../read/compatible.ts';
import { loadDictionary } from '../read/dictionary.ts';
import { type LoadedImage, loadImage } from '../read/load.ts';
import type { TreeSource } from '../source/tree-source.ts';
import { BlobTable } from './blob-table.ts';
import { BuildProgress, type Progress } from './progress.ts';

/** What `create` builds and where it goes. */
export interface CreateOptions extends BlobBuildOptions {
  readonly source: TreeSource;
  /** Keep owners. */
  readonly explicitUidGid: boolean;
  readonly whiteoutSpec: WhiteoutSpec;
  /** Bootstrap of the image below: the result shows both, and its chunks are not stored again. */
  readonly parent?: string | undefined;
  /** Bootstrap of an image whose chunks are referred to instead of being stored again. */
  readonly chunkDict?: string | undefined;
  /** Where the blobs of these are, if a bootstrap inlined in its blob leaves out what can only be seen there. */
  readonly blobs?: BlobSource | null;
  /** Absolute paths within the tree whose data is read ahead at mount; it is also stored first. */
  readonly prefetchPatterns: readonly string[];
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

/** What was built. */
export interface CreateResult {
  readonly bootstrapPath: string;
  readonly bootstrapSize: number;
  /** In blob table order, those of other images included; empty if the tree has no data. */
  readonly blobIds: readonly string[];
  /** The blob that was built; null if the source has no data that is not in other blobs. */
  readonly blobId: string | null;
  readonly blobSize: number;
  /** Of an image over an archive, whose chunk info is an object of its own: where that is. */
  readonly metaBlobPath?: string | undefined;
  /** Directory entries. */
  readonly entries: number;
  readonly inodes: number;
  readonly chunks: number;
  readonly duplicateChunks: number;
  readonly duplicateBytes: number;
  /** Bytes of all regular files of the source, aliases counted once. */
  readonly dataSize: number;
}

/** Layer of the source's files; those of the image below are of layer 0. */
export const LAYER = 1;

/**
 * Builds an image of a tree. Both files appear complete under their names or not at all. Throws ImageError; aborting
 * the signal ends the build with IMAGE_ABORTED.
 */
export async function create(options: CreateOptions): Promise<CreateResult> {
  const turns = new Turns(options.signal, interrupted);
  const progress = new BuildProgress(options.onProgress, turns);
  const { parent, table } = await loadEarlier(options);
  const data = new BlobBuild(options, table, turns, progress.onChunk);
  try {
    await data.prepare();
    const root = await readTree(data, options, progress, turns);
    const tree = assignInodes(parent === null ? root : overlay(parent.root, root, options.whiteoutSpec));
    const prefetch = matchPrefetch(tree, options.prefetchPatterns);
    const bytesTotal = dataSize(tree);
    progress.expect(bytesTotal);
    const { chunker } = data;
    // What has been stored already, as a tar passed, is not at the head of the blob.
    const early = prefetch.early.filter(({ chunks }) => chunks.length === 0);
    for (const node of prefetch.dataOrder) await chunker.add(node);
    const blob = await data.finishData(early);
    const files = await finishFiles(data, { tree, prefetch, table, options }, blob);
    return {
      ...files,
      entries: tree.byIndex.length,
      inodes: tree.inodesCount,
      chunks: chunker.chunks.length,
      duplicateChunks: chunker.duplicates,
      duplicateBytes: chunker.duplicateBytes,
      dataSize: bytesTotal,
    };
  } finally {
    data.discard();
  }
}

async function readTree(
  data: BlobBuild,
  options: CreateOptions,
  { onEntry }: BuildProgress,
  turns: Turns,
): Promise<ImageNode> {
  const { explicitUidGid, whiteoutSpec, signal } = options;
  const store = (): Chunker => data.chunker;
  const keepWhiteouts = options.parent !== undefined;
  const context = { store, explicitUidGid, whiteoutSpec, keepWhiteouts, onEntry, signal };
  const root = await options.source.read(context);
  setLayer(root, LAYER);
  turns.throwIfAborted();
  return root;
}

type Files = Pick<CreateResult, 'bootstrapPath' | 'bootstrapSize' | 'blobIds' | 'blobId' | 'blobSize'>;

/** What a bootstrap is made of, but for the blob of this build. */
interface Content {
  readonly tree: NumberedTree;
  readonly prefetch: PrefetchMatch;
  readonly table: BlobTable;
  readonly options: CreateOptions;
}

/** The bootstrap describes the whole blob, or is the end of it: which comes first depends on that. */
async function finishFiles(data: BlobBuild, content: Content, blob: ImageBlob | null): Promise<Files> {
  const { bootstrap } = content.options;
  if (bootstrap === null) {
    const { bytes, blobIds } = bootstrapOf(content, blob);
    await data.inlineBootstrap(bytes);
    const { id, size } = data.seal();
    data.finish(id);
    // The blob is a file even if it has nothing but the bootstrap.
    const ids = blob === null ? [...blobIds, id] : blobIds.map((each) => (each === blob.id ? id : each));
    return { bootstrapPath: '', bootstrapSize: bytes.length, blobIds: ids, blobId: id, blobSize: size };
  }
  if (blob === null) data.discard();
  const sealed = blob === null ? null : data.seal();
  const row = blob === null || sealed === null ? null : { ...blob, ...sealed, compressedSize: sealed.size };
  const { bytes, blobIds } = bootstrapOf(content, row);
  // Both are complete before either gets its name.
  const bootstrapPath = writeOutput(bootstrap, bytes, () => {
    if (sealed !== null) data.finish(sealed.id);
  });
  const built = { blobId: sealed?.id ?? null, blobSize: sealed?.size ?? 0 };
  return { bootstrapPath, bootstrapSize: bytes.length, blobIds, ...built };
}

function bootstrapOf(
  { tree, prefetch, table, options }: Content,
  blob: ImageBlob | null,
): { bytes: Buffer; blobIds: string[] } {
  const blobs = table.rows(blob);
  const bootstrapOptions: BootstrapOptions = {
    ...options,
    blobs,
    prefetch: options.prefetchPolicy === 'blob' ? [] : prefetch.nodes,
  };
  const bytes = encodeBootstrap(options.fsVersion, tree, bootstrapOptions);
  return { bytes, blobIds: blobs.map(({ id }) => id) };
}

/** What decides whether earlier images go with a build. */
type EarlierOptions = Pick<
  CreateOptions,
  'parent' | 'chunkDict' | 'blobs' | 'digester' | 'fsVersion' | 'chunkSize' | 'explicitUidGid'
>;

/** The images which a build refers to, if they go with it. Rejects with ImageError. */
export async function loadEarlier(
  options: EarlierOptions,
): Promise<{ parent: LoadedImage | null; table: BlobTable }> {
  const { digester, fsVersion, chunkSize, explicitUidGid } = options;
  const build = { name: 'this build', chunkSize, explicitUidGid, fsVersion, digester, tarfs: false };
  const load = async (
    path: string | undefined,
    flag: string,
    read: (path: string) => Promise<LoadedImage>,
  ): Promise<LoadedImage | null> => {
    if (path === undefined) return null;
    const image = await read(path);
    refuseTarfs(image, flag);
    checkTraits(build, traitsOf(image.bootstrap, path));
    return image;
  };
  const dictionary = await load(options.chunkDict, '--chunk-dict', loadDictionary);
  const parent = await load(options.parent, '--parent-bootstrap', loadImage);
  const table = await BlobTable.of({ parent, dictionary, digester, fsVersion }, options.blobs ?? null);
  return { parent, table };
}

/** Bytes of all regular files of the source, aliases counted once. */
export function dataSize(tree: NumberedTree): number {
  let size = 0;
  for (const node of tree.byIndex)
    if (node.layer === LAYER && isRegular(node) && node.first === node) size += node.size;
  return size;
}
