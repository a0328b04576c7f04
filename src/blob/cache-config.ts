import { checkBlob } from '../wire/blob-error.ts';
import type { BlobSpec } from '../wire/rafs/blob-spec.ts';
import { BlobFeature, CHUNKS_PER_BLOB_MAX } from '../wire/rafs/flags.ts';

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
