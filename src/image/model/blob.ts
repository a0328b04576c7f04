import { DIGEST_BYTES } from '../../lib/content-hash.ts';
import type { BlobRow } from '../../rafs/bootstrap.ts';
import { BlobFeature } from '../../wire/rafs/flags.ts';
import { ImageError } from './error.ts';

/** A blob as the tables of a bootstrap describe it, built here or read from another bootstrap. */
export type ImageBlob = Omit<BlobRow, 'index'>;

/** Where the chunk info ("CI") is in the blob. */
export type ChunkInfoSection = Pick<
  ImageBlob,
  'ciCompressor' | 'ciOffset' | 'ciCompressedSize' | 'ciUncompressedSize'
>;

/** What a blob has not, unless said otherwise. */
export const PLAIN_BLOB: Omit<
  ImageBlob,
  'id' | 'features' | 'compressor' | 'digester' | 'chunkCount' | 'compressedSize' | 'uncompressedSize'
> = {
  readaheadSize: 0,
  ciCompressor: 'none',
  ciOffset: 0,
  ciCompressedSize: 0,
  ciUncompressedSize: 0,
  tocSize: 0,
  tocDigest: new Uint8Array(DIGEST_BYTES),
  metaDigest: null,
  metaSize: 0,
  cipherKey: null,
  cipherIv: null,
};

/** Features of every blob of a v6 build without options. */
export const FEATURES_V6: number = BlobFeature.capTarToc | BlobFeature.aligned;
export const FEATURES_V5: number = BlobFeature.capTarToc;

/** A chunk address of v6 has 8 bits for the blob, counted from 1; upstream uses one less. */
export const BLOBS_MAX_V6 = 254;

/** v6 has no room for more blobs. */
export function tooManyBlobs(): ImageError {
  return new ImageError(
    'IMAGE_TOO_LARGE',
    `more than ${BLOBS_MAX_V6} data blobs, which v6 cannot address: merge fewer layers, or build with --fs-version 5`,
  );
}
