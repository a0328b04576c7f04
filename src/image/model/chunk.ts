import { DIGEST_BYTES } from '../../lib/content-hash.ts';

/**
 * A chunk in a blob. In the blob being built `compressedOffset`, `compressedSize` and `flags` are final
 * once all of it is stored.
 */
export interface StoredChunk {
  /** Place of its blob in the blob table. */
  blobIndex: number;
  /** Number within the blob. */
  readonly index: number;
  /** Of the uncompressed bytes. */
  readonly digest: Buffer;
  readonly crc32c: number;
  readonly uncompressedOffset: number;
  readonly uncompressedSize: number;
  compressedOffset: number;
  compressedSize: number;
  /** ChunkFlag bits. */
  flags: number;
  /**
   * Where a file of the image it was read from has it, as that image's chunk table says; unset in a
   * chunk of the blob being built.
   */
  readonly fileOffset?: number | undefined;
}

/** Chunk numbers have 24 bits; the last one is not used, as upstream. */
export const CHUNK_INDEX_MAX = 0xfffffe;
/** Room of a chunk-info entry for places in the blob, in bytes: 40 bits. */
export const COMPRESSED_LIMIT: number = 2 ** 40;
/** Room of a chunk-info entry for places in the uncompressed image, in bytes: 44 bits. */
export const UNCOMPRESSED_LIMIT: number = 2 ** 44;

const NO_DIGEST: Buffer = Buffer.alloc(DIGEST_BYTES);

/** A chunk of an image whose data is a tar as it is: its places are those in the tar, and it has no digest. */
export function tarfsChunk(blobIndex: number, index: number, offset: number, size: number): StoredChunk {
  return {
    blobIndex,
    index,
    digest: NO_DIGEST,
    crc32c: 0,
    uncompressedOffset: offset,
    uncompressedSize: size,
    compressedOffset: offset,
    compressedSize: size,
    flags: 0,
  };
}
