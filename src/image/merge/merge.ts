import type { BlobSource } from '../../blob/source.ts';
import { Turns } from '../../lib/turns.ts';
import type { BlobRow } from '../../rafs/bootstrap.ts';
import { BlobFeature, type Compressor, compressorOf, digesterOf, SuperFlag } from '../../wire/rafs/flags.ts';
import { type Destination, writeOutput } from '../blob/output-file.ts';
import { encodeBootstrap } from '../bootstrap/encode.ts';
import type { BootstrapOptions } from '../bootstrap/options.ts';
import { BLOBS_MAX_V6, type ImageBlob, tooManyBlobs } from '../model/blob.ts';
import { isBlobName } from '../model/blob-id.ts';
import { ImageError, interrupted } from '../model/error.ts';
import { assignInodes, type ImageNode, inOrder } from '../model/node.ts';
import { dropWhiteouts, overlay } from '../model/overlay.ts';
import { matchPrefetch } from '../model/prefetch.ts';
import { checkCompatible, refuseTarfs } from '../read/compatible.ts';
import { loadDictionary } from '../read/dictionary.ts';
import { blobIdOfPath, effectiveBlobId, inheritBlob } from '../read/inherited-blob.ts';
import { isTarfs, type LoadedImage, loadImage } from '../read/load.ts';

/** What is known of the blob of one layer and is not in its bootstrap. */
export interface LayerBlob {
  /** Takes the place of the stored id; by default the name of the layer's file does. */
  readonly originalId?: string | undefined;
  /**
   * SHA-256 of the blob in hexadecimal, which names it; of a layer whose data is another object, that of the
   * object with its chunk info.
   */
  readonly digest?: string | undefined;
  /** Bytes of that object. */
  readonly size?: number | undefined;
  /** SHA-256 of its table of contents with the tar header, in hexadecimal, and their size. */
  readonly tocDigest?: string | undefined;
  readonly tocSize?: number | undefined;
}

/** A layer: its bootstrap, or the blob at whose end that is. */
export interface LayerSource {
  readonly path: string;
  readonly blob: LayerBlob;
}

/** What `merge` works on and where the result goes. */
export interface MergeOptions {
  /** Lowest first; at least one. */
  readonly layers: readonly LayerSource[];
  /** A bootstrap below the lowest layer. */
  readonly parent?: string | undefined;
  /** The image whose blobs the layers may refer to beside their own. */
  readonly chunkDict?: string | undefined;
  readonly bootstrap: Destination;
  /** Absolute paths that are read ahead at mount. */
  readonly prefetchPatterns: readonly string[];
  /**
   * Where blobs are, if they can be looked at: then their ids are believed, and what a bootstrap inlined in
   * its blob lacks is looked up.
   */
  readonly blobs?: BlobSource | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called before each layer is read. */
  readonly onLayer?: ((progress: { readonly done: number; readonly total: number }) => void) | undefined;
}

/** What was merged. */
export interface MergeResult {
  readonly bootstrapPath: string;
  readonly bootstrapSize: number;
  /** In blob table order. */
  readonly blobIds: readonly string[];
  readonly fsVersion: 5 | 6;
  /** Of the lowest layer. */
  readonly compressor: Compressor;
  /** Directory entries. */
  readonly entries: number;
  readonly inodes: number;
}

/**
 * Lays images over each other, as overlayfs would show them, and writes one bootstrap that refers to the blobs which
 * are still needed. The bootstrap appears complete or not at all. Throws ImageError: IMAGE_INCOMPATIBLE when the layers
 * do not go together, IMAGE_BAD_SOURCE when what is said about them does not fit. builder/src/merge.rs.
 */
export async function merge(options: MergeOptions): Promise<MergeResult> {
  const turns = new Turns(options.signal, interrupted);
  const stack = new LayerStack(options);
  for (const [i, layer] of options.layers.entries()) {
    options.onLayer?.({ done: i, total: options.layers.length });
    await stack.add(layer, i);
    await turns.next();
  }
  const { top, lowest, root } = stack.result();
  const blobs = stack.blobs.keepUsed(root);
  if (top.bootstrap.version === 6 && blobs.length > BLOBS_MAX_V6) throw tooManyBlobs();
  const tree = assignInodes(root);
  const { flags, version, chunkSize } = top.bootstrap;
  const bootstrapOptions: BootstrapOptions = {
    chunkSize,
    compressor: compressorOf(flags),
    digester: digesterOf(flags),
    explicitUidGid: (flags & SuperFlag.explicitUidGid) !== 0,
    blobs,
    tarfs: isTarfs(top.bootstrap),
    // Upstream says so of every v6 bootstrap it merges, with attributes or without.
    ...(version === 6 ? { hasXattr: true } : {}),
    prefetch: matchPrefetch(tree, options.prefetchPatterns).nodes,
  };
  turns.throwIfAborted();
  const bytes = encodeBootstrap(version, tree, bootstrapOptions);
  return {
    bootstrapPath: writeOutput(options.bootstrap, bytes),
    bootstrapSize: bytes.length,
    blobIds: blobs.map((blob) => blob.id),
    fsVersion: version,
    compressor: compressorOf(lowest.bootstrap.flags),
    entries: tree.byIndex.length,
    inodes: tree.inodesCount,
  };
}

/** Layers read so far, lowest first, merged into one tree whose chunks refer to one list of blobs. */
class LayerStack {
  readonly #options: MergeOptions;
  readonly blobs = new BlobList();
  readonly #dictionaryIds = new Set<string>();
  /** What every further image must agree with. */
  #model: LoadedImage | null = null;
  #parent: LoadedImage | null = null;
  #lowest: LoadedImage | null = null;
  #top: LoadedImage | null = null;
  #root: ImageNode | null = null;

  constructor(options: MergeOptions) {
    this.#options = options;
  }

  /** Puts layer number `i` on top. */
  async add(layer: LayerSource, i: number): Promise<void> {
    if (i === 0) await this.#addFoundation();
    // The parent's nodes are layer 0: aliases of a hard link are looked for within a layer.
    const image = await loadImage(layer.path, i + 1);
    this.#model ??= image;
    checkCompatible(this.#model, image);
    if (this.#options.parent !== undefined) refuseTarfs(image, 'layer above a --parent-bootstrap');
    if (this.#options.chunkDict !== undefined) refuseTarfs(image, 'layer with a --chunk-dict');
    if (i === 0 && this.#parent !== null) checkCompatible(this.#parent, image, { owners: false });
    await this.#addBlobs(image, layer.blob);
    this.#root =
      this.#root === null ? dropWhiteouts(image.root, 'oci') : overlay(this.#root, image.root, 'oci');
    this.#lowest ??= image;
    this.#top = image;
  }

  /** The merged tree, not numbered. There is at least one layer. */
  result(): { root: ImageNode; lowest: LoadedImage; top: LoadedImage } {
    if (this.#root === null || this.#lowest === null || this.#top === null)
      throw new ImageError('IMAGE_BAD_SOURCE', 'nothing to merge: give at least one bootstrap');
    return { root: this.#root, lowest: this.#lowest, top: this.#top };
  }

  async #addFoundation(): Promise<void> {
    const { parent, chunkDict } = this.#options;
    if (parent !== undefined) {
      const image = await loadImage(parent, 0);
      refuseTarfs(image, '--parent-bootstrap');
      const places: number[] = [];
      for (const row of image.bootstrap.blobs) {
        const blob = await inheritBlob(image, row, this.#options.blobs ?? null);
        places.push(this.blobs.place(blob.id, blob));
      }
      renumber(image, places);
      this.#parent = image;
      this.#root = image.root;
    }
    if (chunkDict === undefined) return;
    const dictionary = await loadDictionary(chunkDict);
    refuseTarfs(dictionary, '--chunk-dict');
    for (const row of dictionary.bootstrap.blobs) this.#dictionaryIds.add(effectiveBlobId(dictionary, row));
    this.#model = dictionary;
  }

  /** Lists the blobs of a layer, at most one of which is its own, and makes its chunks refer to the list. */
  async #addBlobs(image: LoadedImage, said: LayerBlob): Promise<void> {
    const places: number[] = [];
    let own: string | null = null;
    for (const row of image.bootstrap.blobs) {
      const id = effectiveBlobId(image, row);
      const inherited = await inheritBlob(image, row, this.#options.blobs ?? null);
      if (this.#dictionaryIds.has(id)) {
        places.push(this.blobs.place(id, inherited));
        continue;
      }
      if (own !== null) throw severalBlobs(image.path, own, id);
      own = id;
      places.push(this.blobs.place(id, this.#ownBlob(image, row, inherited, said)));
    }
    renumber(image, places);
  }

  #ownBlob(image: LoadedImage, row: BlobRow, inherited: ImageBlob, said: LayerBlob): ImageBlob {
    const separate = (row.features & BlobFeature.separate) !== 0;
    const believed = this.#options.blobs !== undefined || isTarfs(image.bootstrap);
    const named = believed ? effectiveBlobId(image, row) : (said.originalId ?? blobIdOfPath(image.path));
    const digest = parseDigest(said.digest, image, 'blob digest');
    const id = digest !== undefined && !separate ? digest.toString('hex') : named;
    checkBlobId(id, image);
    return {
      ...inherited,
      id,
      metaDigest: separate ? (digest ?? inherited.metaDigest) : inherited.metaDigest,
      metaSize: separate ? (said.size ?? inherited.metaSize) : inherited.metaSize,
      compressedSize: separate ? inherited.compressedSize : (said.size ?? inherited.compressedSize),
      tocDigest: parseDigest(said.tocDigest, image, 'digest of the table of contents') ?? inherited.tocDigest,
      tocSize: said.tocSize ?? inherited.tocSize,
    };
  }
}

/** Blobs of all layers by the id that their bootstraps know them by. */
class BlobList {
  readonly #blobs: ImageBlob[] = [];
  readonly #places = new Map<string, number>();

  /** Place of the blob known as `id`, which is `blob` if it is met for the first time. */
  place(id: string, blob: ImageBlob): number {
    const known = this.#places.get(id);
    if (known !== undefined) return known;
    const place = this.#blobs.push(blob) - 1;
    this.#places.set(id, place);
    return place;
  }

  /**
   * The blobs that files of the tree need, in the order of the tree; its chunks then refer to these.
   * Blobs of one id become one.
   */
  keepUsed(root: ImageNode): ImageBlob[] {
    const used: ImageBlob[] = [];
    const places = new Map<string, number>();
    const seen = new Set<object>();
    for (const node of inOrder(root)) {
      for (const chunk of node.chunks) {
        if (seen.has(chunk)) continue;
        seen.add(chunk);
        const blob = this.#blobs[chunk.blobIndex]!;
        const place = places.get(blob.id) ?? used.push(blob) - 1;
        places.set(blob.id, place);
        chunk.blobIndex = place;
      }
    }
    return used;
  }
}

function renumber(image: LoadedImage, places: readonly number[]): void {
  for (const chunk of image.chunks) chunk.blobIndex = places[chunk.blobIndex]!;
}

/** What is said of a layer without a blob of its own is not looked at. */
function parseDigest(text: string | undefined, { path }: LoadedImage, what: string): Buffer | undefined {
  if (text === undefined || /^[0-9a-f]{64}$/i.test(text))
    return text === undefined ? undefined : Buffer.from(text, 'hex');
  throw new ImageError(
    'IMAGE_BAD_SOURCE',
    `${path}: ${what} ${JSON.stringify(text)} must be a SHA-256 of 64 hexadecimal digits`,
  );
}

const BLOB_ID_BYTES_MAX_V6 = 64;

function checkBlobId(id: string, { path, bootstrap }: LoadedImage): void {
  const size = Buffer.byteLength(id);
  const most = bootstrap.version === 6 ? BLOB_ID_BYTES_MAX_V6 : 255;
  if (size <= most && isBlobName(id)) return;
  throw new ImageError(
    'IMAGE_BAD_SOURCE',
    `${path}: blob id ${JSON.stringify(id)} must be a plain file name of 1 to ${most} bytes: rename the file to its blob's id, or give --blob-digests or --original-blob-ids`,
  );
}

function severalBlobs(path: string, first: string, second: string): ImageError {
  return new ImageError(
    'IMAGE_BAD_SOURCE',
    `${path}: refers to several data blobs (${first}, ${second}): a layer has one of its own; give the image which the others belong to as --chunk-dict`,
  );
}
