import { promisify } from 'node:util';
import { constants, zstdCompress } from 'node:zlib';
import { compress as lz4Compress } from 'lz4-napi';

/** Compressors a build may choose. */
export const buildCompressors = ['none', 'lz4_block', 'zstd'] as const;
export type BuildCompressor = (typeof buildCompressors)[number];

const ZSTD_LEVEL = 3;
/** lz4-napi puts the plain size in front; a RAFS chunk is the bare block. */
const LZ4_SIZE_PREFIX = 4;
const zstd = promisify(zstdCompress);

/** Compresses on a pool thread; the input itself where compression does not make it smaller. `bytes` must not change meanwhile. */
export async function compressIfSmaller(bytes: Buffer, compressor: BuildCompressor): Promise<Buffer> {
  if (compressor === 'none' || bytes.length === 0) return bytes;
  const packed = compressor === 'zstd' ? await compressZstd(bytes) : await compressLz4(bytes);
  return packed.length < bytes.length ? packed : bytes;
}

function compressZstd(bytes: Buffer): Promise<Buffer> {
  const params = {
    [constants.ZSTD_c_compressionLevel]: ZSTD_LEVEL,
    [constants.ZSTD_c_contentSizeFlag]: 1,
  };
  return zstd(bytes, { params, pledgedSrcSize: bytes.length });
}

async function compressLz4(bytes: Buffer): Promise<Buffer> {
  return (await lz4Compress(bytes)).subarray(LZ4_SIZE_PREFIX);
}
