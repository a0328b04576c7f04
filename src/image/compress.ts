import { constants } from 'node:os';
import { promisify } from 'node:util';
import { constants as zlib, zstdCompress } from 'node:zlib';
import { addon, SystemError } from '../native/index.ts';

/** Compressors a build may choose. */
export const buildCompressors = ['none', 'lz4_block', 'zstd'] as const;
export type BuildCompressor = (typeof buildCompressors)[number];

const ZSTD_LEVEL = 3;
/** Bytes which the encoder may ask for beyond those it writes. */
const LZ4_SLACK = 16;
const zstd = promisify(zstdCompress);

/** Compresses on a pool thread; the input itself where compression does not make it smaller. `bytes` must not change meanwhile. */
export async function compressIfSmaller(bytes: Buffer, compressor: BuildCompressor): Promise<Buffer> {
  if (compressor === 'none' || bytes.length === 0) return bytes;
  const packed = compressor === 'zstd' ? await compressZstd(bytes) : await compressLz4(bytes);
  return packed.length < bytes.length ? packed : bytes;
}

function compressZstd(bytes: Buffer): Promise<Buffer> {
  const params = {
    [zlib.ZSTD_c_compressionLevel]: ZSTD_LEVEL,
    [zlib.ZSTD_c_contentSizeFlag]: 1,
  };
  return zstd(bytes, { params, pledgedSrcSize: bytes.length });
}

/** The bare block of the format, without a size in front. */
function compressLz4(bytes: Buffer): Promise<Buffer> {
  // What takes more room than the input is not used. The encoder asks for some bytes that it may not need.
  const target = Buffer.allocUnsafeSlow(bytes.length + LZ4_SLACK);
  return new Promise((resolve, reject) => {
    const started = addon.lz4EncodeAsync(bytes, target, (size) => {
      if (size >= 0) resolve(target.subarray(0, size));
      else if (size === -constants.errno.ENOSPC) resolve(bytes);
      else reject(new SystemError(size, 'lz4'));
    });
    if (started < 0) reject(new SystemError(started, 'lz4'));
  });
}
