import { createHash } from 'node:crypto';
import { Blake3Hasher, blake3 } from '@napi-rs/blake-hash';

/** Digest algorithms of RAFS images; both give 32 bytes. */
export type DigestAlgorithm = 'blake3' | 'sha256';

/** Bytes of a digest of either algorithm. */
export const DIGEST_BYTES = 32;

/** Digest of the concatenation of `parts`: 32 bytes. */
export function digest(algorithm: DigestAlgorithm, ...parts: readonly Uint8Array[]): Buffer {
  if (algorithm === 'sha256') {
    const hash = createHash('sha256');
    for (const part of parts) hash.update(part);
    return hash.digest();
  }
  if (parts.length === 1) return blake3(asBuffer(parts[0]!));
  const hash = new Blake3Hasher();
  for (const part of parts) hash.update(asBuffer(part));
  return hash.digestBuffer();
}

/** blake-hash refuses a plain Uint8Array; this is a view, not a copy. */
function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
