import { createDecipheriv } from 'node:crypto';
import { digest } from '../lib/content-hash.ts';
import { BlobError } from '../wire/blob-error.ts';
import { type BlobSpec, isLegacyStargz } from '../wire/rafs/blob-spec.ts';
import type { Chunk, Unit } from './chunk-table.ts';
import type { Codecs } from './codecs.ts';

/**
 * AES-128-XTS with the blob's one IV. Data shorter than a cipher block was padded to 16 bytes and marked by two more
 * (0x78 0x90) before it was encrypted. utils/src/crypt.rs. Throws BlobError for less than a block.
 */
export function decrypt(cipher: { key: Uint8Array; iv: Uint8Array }, bytes: Uint8Array): Uint8Array {
  if (bytes.length < 16)
    throw new BlobError('BLOB_CORRUPT', `encrypted data of ${bytes.length} bytes: at least 16`);
  const decipher = createDecipheriv('aes-128-xts', cipher.key, cipher.iv);
  const plain = Buffer.concat([decipher.update(bytes), decipher.final()]);
  const padded = plain.length === 18 && plain[16] === 0x78 && plain[17] === 0x90;
  if (!padded) return plain;
  // The fill value is 16 minus the length, and fills the rest of the block.
  const fill = plain[15]!;
  const isFill = fill >= 1 && fill <= 16 && plain.subarray(16 - fill, 16).every((byte) => byte === fill);
  return isFill ? plain.subarray(0, 16 - fill) : plain;
}

/** Turns a unit's bytes as stored in the blob into its uncompressed bytes. */
export async function decodeUnit(
  spec: BlobSpec,
  codecs: Codecs,
  unit: Unit,
  stored: Uint8Array,
): Promise<Uint8Array> {
  if (unit.zran) {
    const { bits, byte, dictionary } = unit.zran;
    return codecs.inflateContext(stored, unit.uncompressedSize, bits, byte, dictionary);
  }
  const plain = unit.encrypted && spec.cipher ? decrypt(spec.cipher, stored) : stored;
  const compressed = unit.batch ? plain.length !== unit.uncompressedSize : unit.compressed;
  return codecs.decompress(compressed ? spec.compressor : 'none', plain, unit.uncompressedSize);
}

/**
 * Checks the CRC-32C wherever there is one, as the original does, and the digest too when `validate` (the original
 * skips it where it has a CRC). Throws BlobError.
 */
export function verifyChunk(
  spec: BlobSpec,
  codecs: Codecs,
  chunk: Chunk,
  bytes: Uint8Array,
  validate: boolean,
): void {
  if (isLegacyStargz(spec)) return;
  if (chunk.crc32c !== null) {
    const crc = codecs.crc32c(bytes);
    if (crc !== chunk.crc32c)
      fail(spec, chunk, `crc32c is 0x${crc.toString(16)}, must be 0x${chunk.crc32c.toString(16)}`);
  }
  if (!validate) return;
  if (chunk.digest === null) fail(spec, chunk, 'validation is on and the image has no digest of it');
  const actual = digest(spec.digester, bytes);
  if (actual.compare(chunk.digest) === 0) return;
  fail(
    spec,
    chunk,
    `${spec.digester} is ${actual.toString('hex')}, must be ${Buffer.from(chunk.digest).toString('hex')}`,
  );
}

function fail(spec: BlobSpec, chunk: Chunk, reason: string): never {
  throw new BlobError('BLOB_CORRUPT', `blob ${spec.id} chunk ${chunk.index}: ${reason}`);
}
