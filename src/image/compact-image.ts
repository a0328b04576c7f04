import { resolve } from 'node:path';
import type { BlobSource } from '../blob/source.ts';
import { blobSpec, idOfFile } from '../rafs/blob-spec.ts';
import type { BlobRow } from '../rafs/bootstrap.ts';
import { BlobFeature, type Compressor, compressorOf, digesterOf, SuperFlag } from '../wire/rafs/flags.ts';
import type { ImageBlob } from './blob.ts';
import { type Destination, OutputFile } from './blob-writer.ts';
import type { StoredChunk } from './chunker.ts';
import { ImageError } from './error.ts';
import { isTarfs, type LoadedImage } from './load.ts';
import type { ImageNode, NumberedTree } from './node.ts';
import { writeBootstrapV5 } from './write-v5.ts';
import { type BootstrapOptions, writeBootstrapV6 } from './write-v6.ts';

/** What is taken over from a loaded image when its bootstrap is written anew. */
export type KeptOptions = Omit<BootstrapOptions, 'blobs'>;

/** Throws ImageError if the chunks of `image` cannot be moved to other blobs. */
export function checkMovable(image: LoadedImage): void {
  if (!isTarfs(image.bootstrap)) return;
  const rule = 'the data of a tarfs image stays in its tar; build it with --type tar-rafs';
  throw new ImageError('IMAGE_BAD_SOURCE', `${image.path}: ${rule}`);
}

/**
 * The image's blobs as a bootstrap outside of them describes them: one that had its bootstrap at its end has the name and size of that
 * file now. builder/src/core/context.rs.
 */
export async function externalBlobs(image: LoadedImage, source: BlobSource): Promise<ImageBlob[]> {
  const blobs: ImageBlob[] = [];
  for (const row of image.bootstrap.blobs) blobs.push(await externalBlob(row, image, source));
  return blobs;
}

async function externalBlob(row: BlobRow, image: LoadedImage, source: BlobSource): Promise<ImageBlob> {
  const { id, metaObjectId } = blobSpec(row, image.bootstrap, image.path);
  // Only ever set in memory: what is written has the columns which the old table lacked.
  const features = (row.features & ~BlobFeature.v5NoExtBlobTable & ~BlobFeature.inlinedFsMeta) >>> 0;
  const inlined = (row.features & BlobFeature.inlinedFsMeta) !== 0;
  if (!inlined) return { ...row, id, features };
  if ((features & BlobFeature.separate) === 0) {
    return { ...row, id, features, compressedSize: await source.size(id) };
  }
  const metaDigest = Buffer.from(metaObjectId, 'hex');
  if (metaDigest.length !== 32) {
    const rule = `its meta blob ${metaObjectId} must be named by its SHA-256`;
    throw new ImageError('IMAGE_BAD_SOURCE', `${image.path}: blob ${idOfFile(id)}: ${rule}`);
  }
  return { ...row, id, features, metaDigest, metaSize: await source.size(metaObjectId) };
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

/** Compressor of a blob that is added: the image's, or zstd where that is gzip, for v6 names one per blob. */
export function packerOf({ bootstrap }: LoadedImage): Compressor {
  const compressor = compressorOf(bootstrap.flags);
  return bootstrap.version === 6 && compressor === 'gzip' ? 'zstd' : compressor;
}

/** Gives every file of the tree the chunks that `listOf` says; aliases of a file go on sharing one list. */
export function replaceChunks(tree: NumberedTree, listOf: (node: ImageNode) => readonly StoredChunk[]): void {
  for (const node of tree.byIndex) if (node.first === node) node.chunks = listOf(node);
  for (const node of tree.byIndex) node.chunks = node.first.chunks;
}

/** Writes the bootstrap in the version of `image`; returns its absolute path and bytes. */
export function writeAnew(
  image: LoadedImage,
  tree: NumberedTree,
  options: BootstrapOptions,
  destination: Destination,
): { readonly path: string; readonly size: number } {
  const write = image.bootstrap.version === 6 ? writeBootstrapV6 : writeBootstrapV5;
  const bytes = write(tree, options);
  const out = new OutputFile(destination);
  try {
    out.write(bytes);
    return { path: resolve(out.finish().path), size: bytes.length };
  } finally {
    out.discard();
  }
}
