import type { BlobSource } from '../../blob/source.ts';
import type { Bootstrap } from '../../rafs/bootstrap.ts';
import { type Digester, SuperFlag } from '../../wire/rafs/flags.ts';
import type { EarlierChunks } from '../blob/earlier-chunks.ts';
import { BLOBS_MAX_V6, type ImageBlob, tooManyBlobs } from '../model/blob.ts';
import type { StoredChunk } from '../model/chunk.ts';
import { inOrder } from '../model/node.ts';
import { inheritBlobOfFile } from '../read/inherited-blob.ts';
import type { LoadedImage } from '../read/load.ts';

/** Where a build may find its chunks. */
interface EarlierImages {
  /** `--parent-bootstrap`: the image below the one that is built. */
  readonly parent: LoadedImage | null;
  /** `--chunk-dict`. */
  readonly dictionary: LoadedImage | null;
  /** Digest algorithm of the build: chunks digested otherwise cannot be found. */
  readonly digester: Digester;
  readonly fsVersion: 5 | 6;
}

/**
 * The blob table of a build: first all blobs of the parent, then blobs of the dictionary and the new one in the order
 * of their first use. A blob that both the parent and the dictionary have is one row. builder/src/core/context.rs.
 */
export class BlobTable implements EarlierChunks {
  readonly #rows: (ImageBlob | null)[];
  readonly #parent: ReadonlyMap<string, StoredChunk>;
  readonly #dictionary: ReadonlyMap<string, StoredChunk>;
  readonly #dictionaryBlobs: readonly ImageBlob[];
  /** Rows of the dictionary's blobs here. */
  readonly #places = new Map<number, number>();
  readonly #placed = new Map<StoredChunk, StoredChunk>();
  readonly #fsVersion: 5 | 6;
  #own: number | null = null;

  private constructor(
    images: EarlierImages,
    parentBlobs: readonly ImageBlob[],
    dictionaryBlobs: readonly ImageBlob[],
  ) {
    this.#rows = [...parentBlobs];
    this.#fsVersion = images.fsVersion;
    this.#parent = chunksByDigest(images.parent, images.digester, false);
    this.#dictionary = chunksByDigest(images.dictionary, images.digester, true);
    this.#dictionaryBlobs = dictionaryBlobs;
  }

  /** `blobs`: where the blobs of inlined bootstraps can be looked at, null if nowhere. */
  static async of(images: EarlierImages, blobs: BlobSource | null): Promise<BlobTable> {
    const rowsOf = async (image: LoadedImage | null): Promise<ImageBlob[]> => {
      const rows: ImageBlob[] = [];
      for (const row of image?.bootstrap.blobs ?? []) rows.push(await inheritBlobOfFile(image!, row, blobs));
      return rows;
    };
    return new BlobTable(images, await rowsOf(images.parent), await rowsOf(images.dictionary));
  }

  find(digest: Buffer, size: number): StoredChunk | undefined {
    const key = digest.toString('latin1');
    const known = this.#dictionary.get(key);
    if (known?.uncompressedSize === size) return this.#place(known, () => this.#placeOf(known.blobIndex));
    const chunk = this.#parent.get(key);
    return chunk?.uncompressedSize === size ? this.#place(chunk, () => chunk.blobIndex) : undefined;
  }

  ownIndex(): number {
    this.#own ??= this.#add(null);
    return this.#own;
  }

  /** The finished table; `own` is the blob that was built, null if it has no chunk. */
  rows(own: ImageBlob | null): ImageBlob[] {
    return this.#rows.map((row) => row ?? own!);
  }

  /** The chunk as files of this build have it: the same object every time. */
  #place(chunk: StoredChunk, blobIndex: () => number): StoredChunk {
    const known = this.#placed.get(chunk);
    if (known !== undefined) return known;
    const placed = { ...chunk, blobIndex: blobIndex(), fileOffset: undefined };
    this.#placed.set(chunk, placed);
    return placed;
  }

  #placeOf(dictionaryIndex: number): number {
    const known = this.#places.get(dictionaryIndex);
    if (known !== undefined) return known;
    const blob = this.#dictionaryBlobs[dictionaryIndex]!;
    // Two rows of one id would be refused by readers.
    const shared = this.#rows.findIndex((row) => row?.id === blob.id);
    const place = shared >= 0 ? shared : this.#add(blob);
    this.#places.set(dictionaryIndex, place);
    return place;
  }

  #add(row: ImageBlob | null): number {
    if (this.#fsVersion === 6 && this.#rows.length >= BLOBS_MAX_V6) throw tooManyBlobs();
    return this.#rows.push(row) - 1;
  }
}

/**
 * Chunks of an image by digest. Of several with the same digest the first one counts: in the order of the tree or, in a
 * dictionary with a chunk table, of that table. builder/src/core/chunk_dict.rs.
 */
function chunksByDigest(
  image: LoadedImage | null,
  digester: Digester,
  byTable: boolean,
): Map<string, StoredChunk> {
  const chunks = new Map<string, StoredChunk>();
  if (image === null) return chunks;
  const { bootstrap, root } = image;
  for (const node of inOrder(root)) {
    for (const chunk of node.chunks) {
      if (bootstrap.blobs[chunk.blobIndex]!.digester !== digester) continue;
      const key = chunk.digest.toString('latin1');
      const known = chunks.get(key);
      const wins =
        known === undefined || (byTable && hasChunkTable(bootstrap) && chunk.blobIndex < known.blobIndex);
      if (wins) chunks.set(key, chunk);
    }
  }
  return chunks;
}

/**
 * Whether digests are found in a table, which is sorted by digest and blob, and not in the blobs or, in v5, the inodes.
 */
function hasChunkTable(bootstrap: Bootstrap): boolean {
  return bootstrap.version === 6 && (bootstrap.flags & SuperFlag.inlinedChunkDigest) === 0;
}
