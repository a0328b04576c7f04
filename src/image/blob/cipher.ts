import { createCipheriv, randomBytes } from 'node:crypto';

/** AES-128-XTS as blobs use it: one key of 32 bytes and one IV of 16 for every chunk and for the chunk info. */
export interface BlobCipher {
  readonly key: Buffer;
  readonly iv: Buffer;
}

const KEY_BYTES = 32;
const BLOCK = 16;
/** Marks padded data, which would be too short for a cipher block. */
const PADDING_END = Buffer.of(0x78, 0x90);

/** A random key and IV. */
export function newCipher(): BlobCipher {
  for (;;) {
    const key = randomBytes(KEY_BYTES);
    // XTS is not secure, and refused by readers, where the halves are equal.
    if (!key.subarray(0, BLOCK).equals(key.subarray(BLOCK))) return { key, iv: randomBytes(BLOCK) };
  }
}

/**
 * Encrypts what is stored as one piece. The result is as long, but 18 bytes for less than 16: filled with the number of
 * missing bytes, and marked. utils/src/crypt.rs.
 */
export function encrypt(cipher: BlobCipher, bytes: Uint8Array): Buffer {
  const stream = createCipheriv('aes-128-xts', cipher.key, cipher.iv);
  return Buffer.concat([stream.update(bytes.length < BLOCK ? padded(bytes) : bytes), stream.final()]);
}

function padded(bytes: Uint8Array): Buffer {
  const block = Buffer.alloc(BLOCK, BLOCK - bytes.length);
  block.set(bytes);
  return Buffer.concat([block, PADDING_END]);
}
