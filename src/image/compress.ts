import { constants } from 'node:os';
import { addon, SystemError } from '../native/index.ts';

/** Compressors a build may choose. */
export const buildCompressors = ['none', 'lz4_block', 'zstd'] as const;
export type BuildCompressor = (typeof buildCompressors)[number];

/** Bytes which an encoder may ask for beyond those it writes. */
export const PACK_SLACK = 16;

/**
 * Compresses on a pool thread: a bare LZ4 block, or a zstd frame of level 3, as the original's. Resolves with the part of `target` that
 * was filled, or with the input itself where compression does not make it smaller. Neither buffer may change meanwhile; `target` has
 * room for PACK_SLACK bytes more than the input.
 */
export function compressIfSmaller(
  bytes: Buffer,
  compressor: BuildCompressor,
  target: Buffer = Buffer.allocUnsafeSlow(bytes.length + PACK_SLACK),
): Promise<Buffer> {
  if (compressor === 'none' || bytes.length === 0) return Promise.resolve(bytes);
  return new Promise((resolve, reject) => {
    const done = (result: number): void => {
      // What takes more room than the input is not used.
      if (result === -constants.errno.ENOSPC || result >= bytes.length) resolve(bytes);
      else if (result >= 0) resolve(target.subarray(0, result));
      else reject(new SystemError(result, compressor));
    };
    const encode = compressor === 'zstd' ? addon.zstdEncodeAsync : addon.lz4EncodeAsync;
    const started = encode(bytes, target.subarray(0, bytes.length + PACK_SLACK), done);
    if (started < 0) reject(new SystemError(started, compressor));
  });
}
