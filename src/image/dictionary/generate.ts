import { basename, dirname } from 'node:path';
import { ChunkFlag } from '../../wire/rafs/chunk.ts';
import { BlobFeature, type Compressor, compressorOf, type Digester } from '../../wire/rafs/flags.ts';
import { type Destination, writeOutput } from '../blob/output-file.ts';
import { encodeBootstrap } from '../bootstrap/encode.ts';
import { BLOBS_MAX_V6, type ImageBlob, PLAIN_BLOB, tooManyBlobs } from '../model/blob.ts';
import type { StoredChunk } from '../model/chunk.ts';
import { ImageError } from '../model/error.ts';
import { assignInodes, FileType, type ImageNode, type NumberedTree, newNode } from '../model/node.ts';
import { checkTraits, refuseTarfs, type Traits, traitsOf } from '../read/compatible.ts';
import { effectiveBlobId, inheritBlobOfFile } from '../read/inherited-blob.ts';
import { type LoadedImage, loadImage } from '../read/load.ts';
import type { ChunkRow } from './chunk-row.ts';
import { selectChunks } from './select.ts';
import { type BlobRecord, ChunkStore, databasePath } from './store.ts';

/** What `chunkdict generate` reads and writes. */
interface ChunkdictOptions {
  /** Bootstraps, each in a directory called `name:tag` after its image. */
  readonly sources: readonly string[];
  /** `sqlite:///path`. */
  readonly database: string;
  readonly output: Destination;
  /** Told of blobs that are left out. */
  readonly onSkipped?: ((message: string) => void) | undefined;
}

/** What was written. */
export interface ChunkdictResult {
  readonly bootstrapPath: string;
  readonly bootstrapSize: number;
  readonly fsVersion: 5 | 6;
  readonly compressor: Compressor;
  /** In blob table order. */
  readonly blobIds: readonly string[];
  readonly chunks: number;
  /** Compressed bytes of the chunks. */
  readonly chunkBytes: number;
  /** Images to which the dictionary is of little use. */
  readonly loneImages: readonly string[];
}

const FILE_NAME = 'chunkdict';
const MODE = 0o660;
const ROOT_OWNER = 1000;
const BLOCK_SIZE = 4096;
/** Blobs with less data are left out: a device of v6 has at least one block. */
const BLOB_BYTES_MIN = BLOCK_SIZE;

/**
 * Adds the chunks of images to a database, chooses those which are worth to be shared by images to come, and writes the
 * dictionary: a bootstrap with one file, whose chunks are all chunks of the blobs that hold a chosen one. Neither
 * database nor bootstrap are changed when anything fails. builder/src/chunkdict_generator.rs.
 *
 * Rejects with ImageError, RafsError, BlobError or SourceError.
 */
export async function generateChunkdict(options: ChunkdictOptions): Promise<ChunkdictResult> {
  const path = databasePath(options.database);
  const sources = options.sources.map((source) => ({ source, ...imageOfPath(source) }));
  const images = new KnownImages();
  const store = new ChunkStore(path);
  try {
    for (const { source, image, version } of sources) {
      const loaded = await loadImage(source);
      await images.add(loaded);
      store.addBlobs(recordsOf(loaded));
      store.addChunks(rowsOf(loaded, image, version));
    }
    const rows = store.chunks();
    const { chunks: selected, loneImages } = selectChunks(rows);
    const result = writeDictionary(rows, selected, images, store, options);
    store.commit();
    return { ...result, loneImages };
  } finally {
    store.close();
  }
}

/** Name and tag of an image by the directory of its bootstrap. Throws ImageError IMAGE_BAD_SOURCE. */
function imageOfPath(path: string): { readonly image: string; readonly version: string } {
  const parts = basename(dirname(path)).split(':');
  const [image, version] = parts.slice(-2);
  if (image !== undefined && version !== undefined) return { image, version };
  const rule = 'its directory must be called after the image, name:tag';
  throw new ImageError('IMAGE_BAD_SOURCE', `${path}: ${rule}, for example images/redis:7.0/image.boot`);
}

function* recordsOf(image: LoadedImage): Generator<BlobRecord> {
  for (const row of image.bootstrap.blobs) {
    const { compressedSize, uncompressedSize, compressor, ciCompressedSize, ciUncompressedSize, ciOffset } =
      row;
    const sizes = { compressedSize, uncompressedSize, ciCompressedSize, ciUncompressedSize, ciOffset };
    yield { blobId: effectiveBlobId(image, row), compressor, ...sizes };
  }
}

function* rowsOf(loaded: LoadedImage, image: string, version: string): Generator<ChunkRow> {
  const ids = loaded.bootstrap.blobs.map((row) => effectiveBlobId(loaded, row));
  for (const { chunks } of depthFirst(loaded.root)) {
    for (const chunk of chunks) {
      const { crc32c, compressedSize, uncompressedSize, compressedOffset, uncompressedOffset } = chunk;
      const place = { compressedSize, uncompressedSize, compressedOffset, uncompressedOffset };
      yield {
        image,
        version,
        blobId: ids[chunk.blobIndex]!,
        digest: chunk.digest.toString('hex'),
        crc32c,
        ...place,
      };
    }
  }
}

/** Each directory right before what is in it: the order of the original's rows, on which its choice depends. */
function* depthFirst(root: ImageNode): Generator<ImageNode> {
  const pending = [root];
  for (let node = pending.pop(); node !== undefined; node = pending.pop()) {
    yield node;
    for (const child of node.children.toReversed()) pending.push(child);
  }
}

/** What the images of this run tell and the database does not: numbers of chunks, and all columns of blob tables. */
class KnownImages {
  readonly #blobs = new Map<string, ImageBlob>();
  readonly #chunks = new Map<string, StoredChunk>();
  #first: { readonly traits: Traits; readonly compressor: Compressor; readonly features: number } | null =
    null;

  /** Rejects with ImageError IMAGE_INCOMPATIBLE when the image cannot share chunks with those before. */
  async add(image: LoadedImage): Promise<void> {
    const { bootstrap, path } = image;
    refuseTarfs(image, 'a source of a chunk dictionary');
    const traits = traitsOf(bootstrap, path);
    if (this.#first === null) {
      const features = bootstrap.blobs[0]?.features ?? BlobFeature.capTarToc;
      this.#first = { traits, compressor: compressorOf(bootstrap.flags), features };
    } else {
      checkTraits(this.#first.traits, { ...traits, explicitUidGid: this.#first.traits.explicitUidGid });
    }
    const ids: string[] = [];
    for (const row of bootstrap.blobs) {
      const blob = await inheritBlobOfFile(image, row, null);
      ids.push(blob.id);
      if (!this.#blobs.has(blob.id)) this.#blobs.set(blob.id, blob);
    }
    for (const chunk of image.chunks) this.#chunks.set(placeKey(ids[chunk.blobIndex]!, chunk), chunk);
  }

  get first(): { readonly traits: Traits; readonly compressor: Compressor; readonly features: number } {
    return this.#first!;
  }

  /** The chunk of a row: `index` is its number if no image of this run has it. */
  chunk(row: ChunkRow, blobIndex: number, index: number): StoredChunk {
    const known = this.#chunks.get(placeKey(row.blobId, row));
    // Its place in the file is a new one.
    if (known !== undefined) return { ...known, blobIndex, fileOffset: undefined };
    const { crc32c, compressedSize, uncompressedSize, compressedOffset, uncompressedOffset } = row;
    if (this.first.traits.fsVersion === 6 && uncompressedOffset % BLOCK_SIZE !== 0) {
      const rule = `uncompressed offset ${uncompressedOffset} must be a multiple of ${BLOCK_SIZE}`;
      throw new ImageError(
        'IMAGE_DAMAGED',
        `the database: chunk ${row.digest} of blob ${row.blobId}: ${rule}`,
      );
    }
    const flags =
      (compressedSize === uncompressedSize ? 0 : ChunkFlag.compressed) |
      (crc32c === 0 ? 0 : ChunkFlag.hasCrc32c);
    const place = { compressedSize, uncompressedSize, compressedOffset, uncompressedOffset };
    return { blobIndex, index, digest: Buffer.from(row.digest, 'hex'), crc32c, flags, ...place };
  }

  /** The row of a blob, by the database if no image of this run has it. */
  blob(id: string, store: ChunkStore, chunkCount: number): ImageBlob {
    const known = this.#blobs.get(id);
    if (known !== undefined) return known;
    const record = store.blob(id);
    if (record === null) {
      throw new ImageError(
        'IMAGE_DAMAGED',
        `the database has chunks of blob ${id}, but not the blob: start a new one`,
      );
    }
    const { compressedSize, uncompressedSize, ciCompressedSize, ciUncompressedSize, ciOffset } = record;
    const { features, traits } = this.first;
    const compressor = record.compressor as Compressor;
    const entrySize = features & BlobFeature.chunkInfoV2 ? 24 : 16;
    return {
      ...PLAIN_BLOB,
      id,
      features: (features & ~BlobFeature.inlinedFsMeta) >>> 0,
      compressor,
      digester: traits.digester as Digester,
      chunkCount: traits.fsVersion === 6 ? Math.floor(ciUncompressedSize / entrySize) : chunkCount,
      compressedSize,
      uncompressedSize,
      ciCompressor: ciCompressedSize === ciUncompressedSize ? 'none' : compressor,
      ciOffset,
      ciCompressedSize,
      ciUncompressedSize,
    };
  }
}

function placeKey(
  blobId: string,
  place: Pick<StoredChunk, 'compressedOffset' | 'uncompressedOffset'>,
): string {
  return `${blobId}:${place.compressedOffset}:${place.uncompressedOffset}`;
}

function writeDictionary(
  rows: readonly ChunkRow[],
  selected: ReadonlySet<ChunkRow>,
  images: KnownImages,
  store: ChunkStore,
  options: ChunkdictOptions,
): Omit<ChunkdictResult, 'loneImages'> {
  const { traits, compressor } = images.first;
  const blobs: ImageBlob[] = [];
  const chunks: StoredChunk[] = [];
  for (const [id, ofBlob] of chunksByBlob(rows, selected, options)) {
    const blob = images.blob(id, store, ofBlob.length);
    for (const [i, row] of ofBlob.entries()) chunks.push(images.chunk(row, blobs.length, i));
    blobs.push({ ...blob, features: (blob.features | BlobFeature.chunkDictGenerated) >>> 0 });
  }
  if (traits.fsVersion === 6 && blobs.length > BLOBS_MAX_V6) throw tooManyBlobs();
  const tree = dictionaryTree(chunks, traits.chunkSize);
  const bytes = encodeBootstrap(traits.fsVersion, tree, {
    chunkSize: traits.chunkSize,
    compressor,
    digester: traits.digester,
    explicitUidGid: true,
    // As upstream: a hint only.
    hasXattr: traits.fsVersion === 6,
    prefetch: [],
    blobs,
  });
  return {
    bootstrapPath: writeOutput(options.output, bytes),
    bootstrapSize: bytes.length,
    fsVersion: traits.fsVersion,
    compressor,
    blobIds: blobs.map(({ id }) => id),
    chunks: chunks.length,
    chunkBytes: chunks.reduce((sum, { compressedSize }) => sum + compressedSize, 0),
  };
}

/**
 * All chunks of the blobs that have a selected one, by blob, in the order of ids and places. Each place
 * once, whatever images have it.
 */
function chunksByBlob(
  rows: readonly ChunkRow[],
  selected: ReadonlySet<ChunkRow>,
  options: ChunkdictOptions,
): Map<string, ChunkRow[]> {
  const places = new Map<string, Map<string, ChunkRow>>();
  for (const id of [...new Set([...selected].map(({ blobId }) => blobId))].sort()) places.set(id, new Map());
  for (const row of rows) {
    const ofBlob = places.get(row.blobId);
    const key = placeKey(row.blobId, row);
    if (ofBlob !== undefined && !ofBlob.has(key)) ofBlob.set(key, row);
  }
  const blobs = new Map<string, ChunkRow[]>();
  for (const [id, ofBlob] of places) {
    const chunks = [...ofBlob.values()].sort(byPlace);
    const size = chunks.reduce((sum, { uncompressedSize }) => sum + uncompressedSize, 0);
    if (size >= BLOB_BYTES_MIN) blobs.set(id, chunks);
    else options.onSkipped?.(`blob ${id}: only ${size} bytes of data, left out`);
  }
  return blobs;
}

function byPlace(a: ChunkRow, b: ChunkRow): number {
  return a.compressedOffset - b.compressedOffset || a.uncompressedOffset - b.uncompressedOffset;
}

/** One file of all chunks. Its size is that of full chunks but for the last one, so that readers find each of them. */
function dictionaryTree(chunks: readonly StoredChunk[], chunkSize: number): NumberedTree {
  const root = newNode({
    name: Buffer.from('/'),
    sourcePath: Buffer.from('/'),
    mode: FileType.directory | MODE,
    uid: ROOT_OWNER,
    gid: ROOT_OWNER,
    linkKey: '/',
  });
  const last = chunks.at(-1);
  const file = newNode({
    name: Buffer.from(FILE_NAME),
    sourcePath: Buffer.from(`/${FILE_NAME}`),
    mode: FileType.regular | MODE,
    size: last === undefined ? 0 : (chunks.length - 1) * chunkSize + last.uncompressedSize,
    linkKey: FILE_NAME,
    chunks,
  });
  root.children.push(file);
  return assignInodes(root);
}
