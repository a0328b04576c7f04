import type { BlobSource } from '../../blob/source.ts';
import { Turns } from '../../lib/turns.ts';
import { compressorOf } from '../../wire/rafs/flags.ts';
import { type Destination, writeOutput } from '../blob/output-file.ts';
import { encodeBootstrap } from '../bootstrap/encode.ts';
import { BLOBS_MAX_V6, type ImageBlob, tooManyBlobs } from '../model/blob.ts';
import type { StoredChunk } from '../model/chunk.ts';
import { interrupted } from '../model/error.ts';
import { assignInodes, type ImageNode, isRegular, type NumberedTree } from '../model/node.ts';
import { BlobReader } from '../read/blob-reader.ts';
import { refuseTarfs } from '../read/compatible.ts';
import { type LoadedImage, loadImage } from '../read/load.ts';
import { contentKey, keptOptions, outsideBlobs, replaceChunks } from '../rewrite/carry-over.ts';
import { type CopiedBlob, type CopyProgress, copyBlob } from '../rewrite/copy-blob.ts';
import type { AccessedFile, ByteRange } from './access-list.ts';

/** What `optimize` reads and writes. */
interface OptimizeOptions {
  /** Bootstrap, or a blob with one at its end. */
  readonly bootstrap: string;
  /** What is wanted early, in order. */
  readonly files: readonly AccessedFile[];
  /** Where the image's blobs are. */
  readonly source: BlobSource;
  /** Where the prefetch blob goes, named by its SHA-256. */
  readonly blobDir: string;
  readonly output: Destination;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: CopyProgress) => void) | undefined;
  /** Told of paths which the image does not have. */
  readonly onSkipped?: ((message: string) => void) | undefined;
}

/** What was written. */
export interface OptimizeResult {
  readonly bootstrapPath: string;
  readonly bootstrapSize: number;
  readonly fsVersion: 5 | 6;
  readonly compressor: string;
  /** In blob table order, the prefetch blob last. */
  readonly blobIds: readonly string[];
  /** Null: no chunk of the image is listed, its blobs stay as they are. */
  readonly prefetchBlob: ImageBlob | null;
}

/**
 * Copies the chunks of the listed files into a blob of their own, which a mount can fetch in one piece, and writes a
 * bootstrap in which these files refer to it. Each distinct chunk is stored once; files that are not listed are not
 * changed. The blob's row has the features of any other: the original means to mark it (0x400) and does not.
 * builder/src/optimize_prefetch.rs.
 *
 * Rejects with ImageError, RafsError, BlobError or SourceError; then nothing is left behind but,
 * at most, the complete blob.
 */
export async function optimize(options: OptimizeOptions): Promise<OptimizeResult> {
  const turns = new Turns(options.signal, interrupted);
  const image = await loadImage(options.bootstrap);
  refuseTarfs(image, 'a source of chunks for another blob');
  const { version, flags } = image.bootstrap;
  const tree = assignInodes(image.root);
  const kept = keptOptions(image, tree);
  const blobs = await outsideBlobs(image, options.source);
  const wanted = findWanted(image, tree, options);
  turns.throwIfAborted();
  const copied = await copyWanted(image, [...new Set(wanted.chunks.values())], blobs.length, options, turns);
  if (copied !== null) {
    replaceChunks(tree, (node) => {
      const indices = wanted.indices.get(node);
      return indices === undefined
        ? node.chunks
        : node.chunks.map((chunk, i) =>
            indices.has(i) ? copied.moved.get(wanted.chunks.get(chunk)!)! : chunk,
          );
    });
    blobs.push(copied.blob);
  }
  const bytes = encodeBootstrap(image.bootstrap.version, tree, { ...kept, blobs });
  const path = writeOutput(options.output, bytes);
  return {
    bootstrapPath: path,
    bootstrapSize: bytes.length,
    fsVersion: version,
    compressor: compressorOf(flags),
    blobIds: blobs.map(({ id }) => id),
    prefetchBlob: copied?.blob ?? null,
  };
}

interface Wanted {
  /** Every listed chunk, and the first one with the same content, in the order of the list. */
  readonly chunks: ReadonlyMap<StoredChunk, StoredChunk>;
  /** Which chunks of a file are listed. */
  readonly indices: ReadonlyMap<ImageNode, ReadonlySet<number>>;
}

function findWanted(image: LoadedImage, tree: NumberedTree, options: OptimizeOptions): Wanted {
  const { chunkSize, blobs } = image.bootstrap;
  const chunks = new Map<StoredChunk, StoredChunk>();
  const byContent = new Map<string, StoredChunk>();
  const indices = new Map<ImageNode, Set<number>>();
  const paths = new PathIndex(tree.root);
  for (const { path, ranges } of options.files) {
    const node = paths.find(path);
    if (node === null || !isRegular(node)) {
      options.onSkipped?.(`${path}: ${node === null ? 'not in the image' : 'not a regular file'}, left out`);
      continue;
    }
    const ofFile = indices.get(node.first) ?? new Set();
    indices.set(node.first, ofFile);
    for (const [i, chunk] of node.chunks.entries()) {
      if (ranges !== null && !ranges.some((range) => touches(range, i * chunkSize, chunk))) continue;
      ofFile.add(i);
      // A v6 blob has one row for each content in the chunk table.
      const key = contentKey(chunk, blobs);
      const first = (key === null ? null : byContent.get(key)) ?? chunk;
      if (key !== null) byContent.set(key, first);
      chunks.set(chunk, first);
    }
  }
  return { chunks, indices };
}

/** Both ends belong to both: a range that ends where a chunk begins touches it, as upstream. */
function touches({ offset, size }: ByteRange, start: number, chunk: StoredChunk): boolean {
  return offset <= start + chunk.uncompressedSize && start <= offset + size;
}

async function copyWanted(
  image: LoadedImage,
  chunks: readonly StoredChunk[],
  blobIndex: number,
  options: OptimizeOptions,
  turns: Turns,
): Promise<CopiedBlob | null> {
  if (chunks.length === 0) return null;
  if (image.bootstrap.version === 6 && blobIndex >= BLOBS_MAX_V6) throw tooManyBlobs();
  return await copyBlob(chunks, new BlobReader(image, options.source), {
    image,
    blobIndex,
    blobDir: options.blobDir,
    tarHeaders: true,
    turns,
    onProgress: options.onProgress,
  });
}

/** Finds nodes by their paths. */
class PathIndex {
  readonly #root: ImageNode;
  readonly #children = new Map<ImageNode, Map<string, ImageNode>>();

  constructor(root: ImageNode) {
    this.#root = root;
  }

  find(path: string): ImageNode | null {
    let node: ImageNode | undefined = this.#root;
    for (const name of path.split('/')) {
      if (name === '' || name === '.') continue;
      node = this.#childrenOf(node).get(Buffer.from(name).toString('latin1'));
      if (node === undefined) return null;
    }
    return node;
  }

  #childrenOf(directory: ImageNode): Map<string, ImageNode> {
    const known = this.#children.get(directory);
    if (known !== undefined) return known;
    const children = new Map(directory.children.map((child) => [child.name.toString('latin1'), child]));
    this.#children.set(directory, children);
    return children;
  }
}
