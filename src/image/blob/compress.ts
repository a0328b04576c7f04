import { constants } from 'node:os';
import { addon, SystemError } from '../../native/index.ts';

/** Compressors a build may choose. */
export const buildCompressors = ['none', 'lz4_block', 'zstd'] as const;
export type BuildCompressor = (typeof buildCompressors)[number];

/** Bytes which an encoder may ask for beyond those it writes. */
export const PACK_SLACK = 16;
/** `kind` of `encodeAsync`. */
const kinds = { lz4_block: 1, zstd: 3 } as const;
const WORDS = 4;

/** A part of a buffer. */
export interface Span {
  readonly at: number;
  readonly length: number;
}

/**
 * Compresses parts of `source` on a pool thread: bare LZ4 blocks, or zstd frames of level 3, as the original's.
 * Resolves with what each becomes: a part of `target`, or the part of the source itself where compression does not make
 * it smaller. Neither buffer may change meanwhile; `target` has as many bytes as the source and PACK_SLACK more.
 * `spans` ascend and do not overlap.
 */
export function compressSpans(
  source: Buffer,
  spans: readonly Span[],
  compressor: Exclude<BuildCompressor, 'none'>,
  target: Buffer,
): Promise<Buffer[]> {
  const pieces = new Int32Array(spans.length * WORDS);
  // One after the other: what runs into the next one's place is not kept, since it is not smaller than its source.
  for (const [i, { at, length }] of spans.entries())
    pieces.set([at, length, at, length + PACK_SLACK], i * WORDS);
  return new Promise((resolve, reject) => {
    const done = (failure: number): void => {
      if (failure === 0)
        resolve(spans.map((span, i) => outcome(source, target, span, pieces[i * WORDS + 3]!)));
      else reject(new SystemError(failure, compressor));
    };
    const started = addon.encodeAsync(kinds[compressor], source, target, pieces, done);
    if (started < 0) done(started);
  });
}

/** Compresses `bytes`, which must not change meanwhile. Resolves with them where that does not make them smaller. */
export async function compressIfSmaller(bytes: Buffer, compressor: BuildCompressor): Promise<Buffer> {
  if (compressor === 'none' || bytes.length === 0) return bytes;
  const target = Buffer.allocUnsafeSlow(bytes.length + PACK_SLACK);
  const [packed] = await compressSpans(bytes, [{ at: 0, length: bytes.length }], compressor, target);
  return packed!.buffer === target.buffer ? packed! : bytes;
}

function outcome(source: Buffer, target: Buffer, { at, length }: Span, result: number): Buffer {
  if (result === -constants.errno.ENOSPC || result >= length) return source.subarray(at, at + length);
  if (result < 0) throw new SystemError(result, 'compress');
  return target.subarray(at, at + result);
}
