import type { DigestAlgorithm } from '../lib/digest.ts';
import { checkBlob } from '../wire/blob-error.ts';
import { BlobFeature, CHUNKS_PER_BLOB_MAX, type Compressor } from '../wire/rafs/flags.ts';

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

/** The `cache` section of a configuration. */
export interface CacheConfig {
  /** `none`: nothing is kept; every read goes to the back end. */
  readonly kind: 'file' | 'none';
  readonly workDir: string;
  /** Keeps compressed bytes instead of uncompressed ones. */
  readonly compressed: boolean;
  /** Verifies every chunk's digest before this process gives it to a guest. */
  readonly validate: boolean;
  readonly disableIndexedMap: boolean;
  /** A back-end read is extended over following chunks up to this many bytes; 0: never. */
  readonly amplifyBytes: number;
  /** Encryption of the local cache: refused. */
  readonly encryption?: boolean;
}

/** Throws BlobError when `spec` and `cache` cannot be served. */
export function checkSpec(spec: BlobSpec, cache: CacheConfig): void {
  const bad = 'BLOB_BAD_SPEC';
  const plain = spec.id !== '' && spec.id !== '.' && spec.id !== '..' && !/[/\0]/.test(spec.id);
  checkBlob(plain, bad, 'blob id', JSON.stringify(spec.id), 'a plain file name');
  checkBlob(Buffer.byteLength(spec.id) <= 200, bad, 'blob id', spec.id, 'at most 200 bytes');
  checkBlob(spec.chunkCount <= CHUNKS_PER_BLOB_MAX, bad, 'chunk count', spec.chunkCount, 'at most 2^24');
  for (const field of [
    'compressedSize',
    'uncompressedSize',
    'ciOffset',
    'ciCompressedSize',
    'ciUncompressedSize',
  ] as const) {
    checkBlob(spec[field] <= 2 ** 44, bad, field, spec[field], 'at most 2^44');
  }
  checkBlob(!cache.encryption, 'BLOB_NOT_SUPPORTED', 'cache encryption', true, 'not supported yet');
  const external = (spec.features & BlobFeature.external) !== 0;
  checkBlob(
    !external,
    'BLOB_NOT_SUPPORTED',
    'blob features',
    `0x${spec.features.toString(16)}`,
    'EXTERNAL blobs are not supported yet',
  );
  if (!spec.cipher) return;
  const { key, iv } = spec.cipher;
  checkBlob(
    key.length === 32 && iv.length === 16,
    bad,
    'cipher',
    `${key.length}+${iv.length} bytes`,
    'a key of 32 and an IV of 16 bytes',
  );
  // OpenSSL refuses the degenerate key; say why here.
  const halves = Buffer.compare(key.subarray(0, 16), key.subarray(16)) !== 0;
  checkBlob(halves, bad, 'cipher key', 'two equal halves', 'XTS needs two different keys');
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

/** gzip without CHUNK_INFO_V2: compressed sizes are unknown, digests and CRCs are not to be trusted (as the original). */
export function isLegacyStargz(spec: BlobSpec): boolean {
  return spec.version === 6 && spec.compressor === 'gzip' && (spec.features & BlobFeature.chunkInfoV2) === 0;
}
