import { basename } from 'node:path';
import type { BlobSource } from '../../blob/source.ts';
import { readTocDigest } from '../../blob/toc.ts';
import { idOfFile } from '../../rafs/blob-spec.ts';
import type { BlobRow } from '../../rafs/bootstrap.ts';
import { openSource } from '../../source/open.ts';
import { BlobFeature } from '../../wire/rafs/flags.ts';
import type { ImageBlob } from '../model/blob.ts';
import { ImageError } from '../model/error.ts';
import type { LoadedImage } from './load.ts';

const SHA256_HEX = /^[0-9a-f]{64}$/i;

/**
 * As `idOfFile`, of a file that describes or is a blob. Throws ImageError IMAGE_BAD_SOURCE for a path without a name.
 */
export function blobIdOfPath(path: string): string {
  if (/^\.*$/.test(basename(path)))
    throw new ImageError('IMAGE_BAD_SOURCE', `${path}: the file's name must be the id of its blob`);
  return idOfFile(path);
}

/**
 * The id under which readers look for a blob: not the stored one where a bootstrap was written
 * before its blob was complete.
 */
export function effectiveBlobId(image: LoadedImage, row: BlobRow): string {
  const has = (feature: number): boolean => (row.features & feature) !== 0;
  const inlined = has(BlobFeature.inlinedFsMeta);
  const unfinished = inlined && !has(BlobFeature.separate) && !has(BlobFeature.external);
  // Before 2.2 the stored id was the hash of the data alone.
  const old = !has(BlobFeature.capTarToc) && (inlined || image.inlined);
  return unfinished || old ? blobIdOfPath(image.path) : row.id;
}

/**
 * A blob of `image` as another bootstrap refers to it. A row that was written into its own blob lacks that blob's final
 * size and table of contents: they are looked up in `blobs` if there is one. Rejects with SourceError or BlobError.
 * builder/src/core/context.rs.
 */
export async function inheritBlob(
  image: LoadedImage,
  row: BlobRow,
  blobs: BlobSource | null,
): Promise<ImageBlob> {
  const { index: _, ...blob } = row;
  if ((row.features & BlobFeature.inlinedFsMeta) === 0) return { ...blob, id: effectiveBlobId(image, row) };
  const features = (row.features & ~BlobFeature.inlinedFsMeta) >>> 0;
  const separate = (row.features & BlobFeature.separate) !== 0;
  const name = blobIdOfPath(image.path);
  // The meta blob of a separate one ends with this bootstrap and is named by its digest.
  const inherited: ImageBlob = {
    ...blob,
    id: effectiveBlobId(image, row),
    features,
    metaDigest: separate && SHA256_HEX.test(name) ? Buffer.from(name, 'hex') : blob.metaDigest,
  };
  if (blobs === null) return inherited;
  const size = await blobs.size(name).catch((cause: Error) => {
    throw new ImageError(
      'IMAGE_UNREADABLE',
      `${image.path}: was written at the end of a blob, whose size is needed: ${cause.message}`,
      { cause },
    );
  });
  const toc = (row.features & BlobFeature.hasToc) === 0 ? null : await readTocDigest(blobs, name);
  return {
    ...inherited,
    ...(separate ? { metaSize: size } : { compressedSize: size }),
    ...(toc === null ? {} : { tocDigest: toc.digest, tocSize: toc.size }),
  };
}

/** As `inheritBlob`, with the file that the image was read from as the blob if it is one. */
export async function inheritBlobOfFile(
  image: LoadedImage,
  row: BlobRow,
  blobs: BlobSource | null,
): Promise<ImageBlob> {
  if (!image.inlined) return inheritBlob(image, row, blobs);
  const source = openSource({ type: 'localfs', localfs: { blob_file: image.path } });
  try {
    return await inheritBlob(image, row, source);
  } finally {
    await source.close();
  }
}
