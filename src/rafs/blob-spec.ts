import { basename } from 'node:path';
import type { BlobSpec } from '../wire/rafs/blob-spec.ts';
import { BlobFeature, UNKNOWN_BLOB_ID } from '../wire/rafs/flags.ts';
import type { BlobRow, Bootstrap } from './bootstrap.ts';

/**
 * The blob of a row as room `blob` wants it. `source` is the path the bootstrap came from: an inlined bootstrap does
 * not know its blob's id, which is that file's name.
 */
export function blobSpec(row: BlobRow, bootstrap: Bootstrap, source: string): BlobSpec {
  const id = row.id === UNKNOWN_BLOB_ID ? idOfFile(source) : row.id;
  const { version } = bootstrap;
  const { features, compressor, digester, chunkCount, compressedSize, uncompressedSize } = row;
  const { ciCompressor, ciOffset, ciCompressedSize, ciUncompressedSize, cipherKey, cipherIv } = row;
  return {
    id,
    objectId: id,
    metaObjectId: metaIdOf(row, source) ?? id,
    version,
    features,
    compressor,
    digester,
    chunkCount,
    compressedSize,
    uncompressedSize,
    ciCompressor,
    ciOffset,
    ciCompressedSize,
    ciUncompressedSize,
    cipher: cipherKey !== null && cipherIv !== null ? { key: cipherKey, iv: cipherIv } : null,
  };
}

/** The blob's id where the file is named after it; extensions do not count (storage/src/device.rs). */
export function idOfFile(path: string): string {
  return basename(path).replace(/(?<=.)\..*$/s, '');
}

/**
 * The object with the chunk info of a SEPARATE blob: the one with the bootstrap at its end, or one named by its
 * digest. Null: the blob itself.
 */
function metaIdOf(row: BlobRow, source: string): string | null {
  if ((row.features & BlobFeature.separate) === 0) return null;
  if ((row.features & BlobFeature.inlinedFsMeta) !== 0) return idOfFile(source);
  return row.metaDigest && Buffer.from(row.metaDigest).toString('hex');
}
