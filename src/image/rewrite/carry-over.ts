import type { BlobSource } from '../../blob/source.ts';
import { BlobFeature, compressorOf, digesterOf, SuperFlag } from '../../wire/rafs/flags.ts';
import type { BootstrapOptions } from '../bootstrap/options.ts';
import type { ImageBlob } from '../model/blob.ts';
import type { StoredChunk } from '../model/chunk.ts';
import type { ImageNode, NumberedTree } from '../model/node.ts';
import { inheritBlob } from '../read/inherited-blob.ts';
import type { LoadedImage } from '../read/load.ts';

/** What is taken over from a loaded image when its bootstrap is written anew. */
type KeptOptions = Omit<BootstrapOptions, 'blobs'>;

/** The blob table of the image, as a bootstrap outside of the blobs has it. */
export async function outsideBlobs(image: LoadedImage, source: BlobSource): Promise<ImageBlob[]> {
  const blobs: ImageBlob[] = [];
  for (const row of image.bootstrap.blobs) {
    const blob = await inheritBlob(image, row, source);
    // Only ever set in memory: what is written has the columns which the table of 2020 lacks.
    blobs.push({ ...blob, features: (blob.features & ~BlobFeature.v5NoExtBlobTable) >>> 0 });
  }
  return blobs;
}

/** Equal for chunks with equal content; null where the image does not say what the content is. */
export function contentKey(chunk: StoredChunk, blobs: readonly Pick<ImageBlob, 'digester'>[]): string | null {
  if (chunk.digest.every((byte) => byte === 0)) return null;
  const { digester } = blobs[chunk.blobIndex]!;
  return `${digester}:${chunk.uncompressedSize}:${chunk.digest.toString('latin1')}`;
}

/** Chunk size, algorithms, flags and read-ahead list of a loaded image whose tree is numbered now. */
export function keptOptions(image: LoadedImage, tree: NumberedTree): KeptOptions {
  const { bootstrap } = image;
  const byNodeid = new Map<string, ImageNode>();
  for (const node of tree.byIndex) if (node.first === node) byNodeid.set(node.linkKey, node);
  return {
    chunkSize: bootstrap.chunkSize,
    compressor: compressorOf(bootstrap.flags),
    digester: digesterOf(bootstrap.flags),
    explicitUidGid: (bootstrap.flags & SuperFlag.explicitUidGid) !== 0,
    hasXattr: (bootstrap.flags & SuperFlag.hasXattr) !== 0,
    prefetch: bootstrap.prefetch.flatMap((lo) => byNodeid.get(`${lo}`) ?? []),
  };
}

/** Gives every file of the tree the chunks that `listOf` says; aliases of a file go on sharing one list. */
export function replaceChunks(tree: NumberedTree, listOf: (node: ImageNode) => readonly StoredChunk[]): void {
  for (const node of tree.byIndex) if (node.first === node) node.chunks = listOf(node);
  for (const node of tree.byIndex) node.chunks = node.first.chunks;
}
