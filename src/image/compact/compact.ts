import type { BlobSource } from '../../blob/source.ts';
import { Turns } from '../../lib/turns.ts';
import { compressorOf } from '../../wire/rafs/flags.ts';
import { type Destination, writeOutput } from '../blob/output-file.ts';
import { encodeBootstrap } from '../bootstrap/encode.ts';
import { BLOBS_MAX_V6, type ImageBlob, tooManyBlobs } from '../model/blob.ts';
import type { StoredChunk } from '../model/chunk.ts';
import { interrupted } from '../model/error.ts';
import { assignInodes } from '../model/node.ts';
import { BlobReader } from '../read/blob-reader.ts';
import { checkCompatible, refuseTarfs } from '../read/compatible.ts';
import { loadDictionary } from '../read/dictionary.ts';
import { type LoadedImage, loadImage } from '../read/load.ts';
import { contentKey, keptOptions, outsideBlobs, replaceChunks } from '../rewrite/carry-over.ts';
import { type CopyProgress, copyBlob } from '../rewrite/copy-blob.ts';
import { type CompactPlan, type CompactRules, planCompaction } from './plan.ts';

/** What `compact` reads and writes. */
interface CompactOptions extends CompactRules {
  /** Bootstrap, or a blob with one at its end. */
  readonly bootstrap: string;
  /** Bootstrap of a chunk dictionary. */
  readonly dictionary: string | null;
  /** An image with fewer blobs is left alone. */
  readonly minBlobs: number;
  /** Where the image's blobs are. */
  readonly source: BlobSource;
  /** Where new blobs go, named by their SHA-256. */
  readonly blobDir: string;
  readonly output: Destination;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: CopyProgress) => void) | undefined;
}

/** What was written. */
export interface CompactResult {
  readonly bootstrapPath: string;
  readonly bootstrapSize: number;
  readonly fsVersion: 5 | 6;
  readonly compressor: string;
  /** In blob table order. */
  readonly blobIds: readonly string[];
  readonly newBlobs: readonly ImageBlob[];
  /** Ids of blobs that the image does not need any more. */
  readonly droppedIds: readonly string[];
}

/**
 * Rewrites the blobs of an image: unused chunks go, small blobs become one. Null: the image has too few
 * blobs (`minBlobs`) or no data, and nothing was written. The blobs that were there are not touched. Rejects
 * with ImageError, RafsError, BlobError or SourceError; then nothing is left behind but, at most, complete
 * blobs. builder/src/compact.rs.
 */
export async function compact(options: CompactOptions): Promise<CompactResult | null> {
  const turns = new Turns(options.signal, interrupted);
  const image = await loadImage(options.bootstrap);
  refuseTarfs(image, 'a source of chunks for another blob');
  const tree = assignInodes(image.root);
  const kept = keptOptions(image, tree);
  const dictionary = options.dictionary === null ? null : await loadDictionary(options.dictionary);
  const known = await Known.of(image, dictionary, options.source);
  if (known.blobs.length === 0 || known.blobs.length < options.minBlobs) return null;
  const plan = planCompaction({ tree, ...known.input() }, options);
  turns.throwIfAborted();
  const { blobs, newBlobs, moved } = await writeBlobs(image, known.blobs, plan, options, turns);
  replaceChunks(tree, (node) => node.chunks.map((chunk) => moved(plan.substitutes.get(chunk)!)));
  const bytes = encodeBootstrap(image.bootstrap.version, tree, { ...kept, blobs });
  const path = writeOutput(options.output, bytes);
  const blobIds = blobs.map(({ id }) => id);
  const needed = new Set(blobIds);
  return {
    bootstrapPath: path,
    bootstrapSize: bytes.length,
    fsVersion: image.bootstrap.version,
    compressor: compressorOf(image.bootstrap.flags),
    blobIds,
    newBlobs,
    droppedIds: known.ownIds.filter((id) => !needed.has(id)),
  };
}

/** The blobs of the image and behind them those that only the dictionary has; its chunks with these places. */
class Known {
  readonly blobs: ImageBlob[];
  /** Of the image's blobs. */
  readonly ownIds: readonly string[];
  readonly #dictionaryBlobs = new Set<number>();
  readonly #dictionary = new Map<string, StoredChunk>();

  private constructor(blobs: ImageBlob[]) {
    this.blobs = blobs;
    this.ownIds = blobs.map(({ id }) => id);
  }

  static async of(image: LoadedImage, dictionary: LoadedImage | null, source: BlobSource): Promise<Known> {
    const known = new Known(await outsideBlobs(image, source));
    if (dictionary === null) return known;
    checkCompatible(image, dictionary);
    known.#addDictionary(image, dictionary, await outsideBlobs(dictionary, source));
    return known;
  }

  input(): {
    blobs: readonly ImageBlob[];
    dictionaryBlobs: ReadonlySet<number>;
    findInDictionary: (chunk: StoredChunk) => StoredChunk | undefined;
  } {
    return {
      blobs: this.blobs,
      dictionaryBlobs: this.#dictionaryBlobs,
      findInDictionary: (chunk) => {
        const key = contentKey(chunk, this.blobs);
        return key === null ? undefined : this.#dictionary.get(key);
      },
    };
  }

  #addDictionary(image: LoadedImage, dictionary: LoadedImage, blobs: readonly ImageBlob[]): void {
    const places = blobs.map((blob) => {
      const shared = this.blobs.findIndex(({ id }) => id === blob.id);
      return shared >= 0 ? shared : this.blobs.push(blob) - 1;
    });
    for (const place of places) this.#dictionaryBlobs.add(place);
    const own = new Map(image.chunks.map((chunk) => [`${chunk.blobIndex}:${chunk.index}`, chunk]));
    for (const chunk of dictionary.chunks) {
      const blobIndex = places[chunk.blobIndex]!;
      // A chunk that both have is one object, for a table has one row of it.
      const placed = own.get(`${blobIndex}:${chunk.index}`) ?? { ...chunk, blobIndex };
      const key = contentKey(placed, this.blobs);
      if (key !== null && !this.#dictionary.has(key)) this.#dictionary.set(key, placed);
    }
  }
}

interface WrittenBlobs {
  readonly blobs: ImageBlob[];
  readonly newBlobs: ImageBlob[];
  /** Where a used chunk is now. */
  readonly moved: (chunk: StoredChunk) => StoredChunk;
}

async function writeBlobs(
  image: LoadedImage,
  before: readonly ImageBlob[],
  plan: CompactPlan,
  options: CompactOptions,
  turns: Turns,
): Promise<WrittenBlobs> {
  if (image.bootstrap.version === 6 && plan.blobs.length > BLOBS_MAX_V6) throw tooManyBlobs();
  const reader = new BlobReader(image, options.source);
  const places = new Map<number, number>();
  const chunks = new Map<StoredChunk, StoredChunk>();
  const blobs: ImageBlob[] = [];
  const newBlobs: ImageBlob[] = [];
  for (const planned of plan.blobs) {
    const blobIndex = blobs.length;
    if ('kept' in planned) {
      places.set(planned.kept, blobIndex);
      blobs.push(before[planned.kept]!);
      continue;
    }
    const { blob, moved } = await copyBlob(planned.chunks, reader, {
      image,
      blobIndex,
      blobDir: options.blobDir,
      tarHeaders: false,
      turns,
      onProgress: options.onProgress,
    });
    for (const [from, to] of moved) chunks.set(from, to);
    blobs.push(blob);
    newBlobs.push(blob);
  }
  return { blobs, newBlobs, moved: (chunk) => renumbered(chunk, places, chunks) };
}

/** The chunk where it went, or with the new place of its blob; always the same object. */
function renumbered(
  chunk: StoredChunk,
  places: ReadonlyMap<number, number>,
  chunks: Map<StoredChunk, StoredChunk>,
): StoredChunk {
  const known = chunks.get(chunk);
  if (known !== undefined) return known;
  const blobIndex = places.get(chunk.blobIndex)!;
  const result = blobIndex === chunk.blobIndex ? chunk : { ...chunk, blobIndex };
  chunks.set(chunk, result);
  return result;
}
