import type { DigestAlgorithm } from '../../lib/content-hash.ts';
import { BlobFeature, type Compressor } from './flags.ts';

/** What a bootstrap says of one of its blobs. Sizes and offsets in bytes. */
export interface BlobSpec {
  /** Id in the blob table (or of the file that holds the bootstrap, for inlined ones): prefix of the cache files. */
  readonly id: string;
  /** Object that holds the chunk data. */
  readonly objectId: string;
  /** Object that holds the chunk info: the same one unless the blob is SEPARATE. */
  readonly metaObjectId: string;
  readonly version: 5 | 6;
  /** BlobFeature bits. */
  readonly features: number;
  readonly compressor: Compressor;
  readonly digester: DigestAlgorithm;
  readonly chunkCount: number;
  readonly compressedSize: number;
  /** Size of the cache file. */
  readonly uncompressedSize: number;
  /** v6; zero where the blob has no chunk info. */
  readonly ciCompressor: Compressor;
  readonly ciOffset: number;
  readonly ciCompressedSize: number;
  readonly ciUncompressedSize: number;
  /** AES-128-XTS; null: not encrypted. 32 and 16 bytes. */
  readonly cipher: { readonly key: Uint8Array; readonly iv: Uint8Array } | null;
}

/** Bytes at the start of the object that may hold chunk data: chunks beyond are refused. */
export function dataRegionSize(spec: BlobSpec): number {
  const { features } = spec;
  if (features & BlobFeature.separate || !(features & BlobFeature.capTarToc)) return spec.compressedSize;
  const end = spec.version === 6 ? spec.ciOffset : spec.compressedSize;
  return Math.max(0, features & BlobFeature.hasTarHeader ? end - 512 : end);
}

/** Whether the blob has no usable chunk index (images of 2020 and 2.0): chunks are known by their offset. */
export function isUnindexed(spec: BlobSpec): boolean {
  return spec.version === 5 && (spec.features & BlobFeature.v5NoExtBlobTable) !== 0;
}

/**
 * gzip without CHUNK_INFO_V2: compressed sizes are unknown, digests and CRCs are not to be trusted (as the original).
 */
export function isLegacyStargz(spec: BlobSpec): boolean {
  return spec.version === 6 && spec.compressor === 'gzip' && (spec.features & BlobFeature.chunkInfoV2) === 0;
}
