import type { CodecCalls } from '../native/codec.ts';
import { BlobError } from '../wire/blob-error.ts';
import type { Compressor } from '../wire/rafs/flags.ts';

/** Decompressors as this room needs them: the output size is known and must be met exactly. */
export interface Codecs {
  /** `src` itself for `none`. Rejects with a BlobError when the output is not exactly `size` bytes. */
  decompress(compressor: Compressor, src: Uint8Array, size: number): Promise<Uint8Array>;
  /** Raw inflate of an indexed-gzip context; the high `bits` bits of `byte` come first. Rejects as above. */
  inflateContext(
    src: Uint8Array,
    size: number,
    bits: number,
    byte: number,
    dictionary: Uint8Array | null,
  ): Promise<Uint8Array>;
  crc32c(bytes: Uint8Array): number;
}

const kinds = { lz4_block: 1, gzip: 2, zstd: 3 } as const;

/** The addon's decoders, on its pool threads. */
export function addonCodecs(addon: CodecCalls): Codecs {
  return {
    decompress(compressor, src, size) {
      if (compressor === 'none') return Promise.resolve(exactly(src, size, compressor));
      return filled(compressor, size, (dst, done) => addon.decodeAsync(kinds[compressor], src, dst, done));
    },
    inflateContext(src, size, bits, byte, dictionary) {
      return filled('zran', size, (dst, done) =>
        addon.zranDecodeAsync(src, dst, bits, byte, dictionary, done),
      );
    },
    crc32c: addon.crc32c,
  };
}

/** `size` bytes that a pool thread produces; rejects with a BlobError when it produces another number of them. */
function filled(
  what: string,
  size: number,
  start: (dst: Uint8Array, done: (produced: number) => void) => number,
): Promise<Uint8Array> {
  const dst = Buffer.allocUnsafeSlow(size);
  return new Promise((resolve, reject) => {
    const done = (produced: number): void => {
      if (produced === size) resolve(dst);
      else reject(mismatch(what, produced, size));
    };
    const started = start(dst, done);
    if (started < 0) done(started);
  });
}

/** `bytes` if there are `size` of them; otherwise throws BlobError. */
export function exactly(bytes: Uint8Array, size: number, what: string): Uint8Array {
  if (bytes.length !== size) throw mismatch(what, bytes.length, size);
  return bytes;
}

/** The error for data that decodes to another number of bytes; `produced` is negative for what cannot be decoded. */
export function mismatch(what: string, produced: number, size: number): BlobError {
  const got = produced < 0 ? `error ${-produced}` : `${produced} bytes`;
  return new BlobError('BLOB_CORRUPT', `${what} data: expected ${size} uncompressed bytes, got ${got}`);
}
