import { constants, gunzipSync, inflateRawSync, zstdDecompressSync } from 'node:zlib';
import { crc32c } from '@node-rs/crc32';
import { uncompressSync } from 'lz4-napi';
import { type Codecs, exactly } from '../../../src/blob/codecs.ts';
import { BlobError } from '../../../src/wire/blob-error.ts';

/** Codecs of other people's making: they check ours against an independent decoder and need no addon. */
export const referenceCodecs: Codecs = {
  async decompress(compressor, src, size) {
    try {
      if (compressor === 'none') return exactly(src, size, 'none');
      if (compressor === 'gzip') return exactly(gunzipSync(src), size, 'gzip');
      if (compressor === 'zstd') return exactly(zstdDecompressSync(src), size, 'zstd');
      const prefix = Buffer.alloc(4);
      prefix.writeUInt32LE(size);
      return exactly(uncompressSync(Buffer.concat([prefix, src])), size, 'lz4');
    } catch (cause) {
      if (cause instanceof BlobError) throw cause;
      throw new BlobError('BLOB_CORRUPT', `${compressor}: ${(cause as Error).message}`, { cause });
    }
  },
  inflateContext(src, size, bits, byte, dictionary) {
    const options = { finishFlush: constants.Z_SYNC_FLUSH, ...(dictionary && { dictionary }) };
    return exactly(inflateRawSync(primed(src, bits, byte), options).subarray(0, size), size, 'zran');
  },
  crc32c: (bytes) => crc32c(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)) >>> 0,
};

/** node:zlib cannot prime bits: the whole stream is shifted behind them instead. */
function primed(src: Uint8Array, bits: number, byte: number): Uint8Array {
  if (bits === 0) return src;
  const out = new Uint8Array(src.length + 1);
  let carry = byte & ((1 << bits) - 1);
  for (let i = 0; i < src.length; i++) {
    out[i] = carry | ((src[i]! << bits) & 0xff);
    carry = src[i]! >> (8 - bits);
  }
  out[src.length] = carry;
  return out;
}
