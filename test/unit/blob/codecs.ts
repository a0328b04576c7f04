import { writeSync } from 'node:fs';
import { constants, gunzipSync, inflateRawSync, zstdDecompressSync } from 'node:zlib';
import { crc32c } from '@node-rs/crc32';
import { uncompressSync } from 'lz4-napi';
import { type Codecs, exactly } from '../../../src/blob/codecs.ts';
import { decrypt } from '../../../src/blob/decode.ts';
import type { Lander, LandPiece } from '../../../src/blob/lander.ts';
import { digest } from '../../../src/lib/content-hash.ts';
import { UnitVerdict } from '../../../src/native/unit.ts';
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
  async inflateContext(src, size, bits, byte, dictionary) {
    const parts: Buffer[] = [];
    let left = size;
    let input = primed(src, bits, byte);
    let options = { finishFlush: constants.Z_SYNC_FLUSH, ...(dictionary && { dictionary }) };
    while (left > 0 && input.length > 0) {
      const { buffer, engine } = inflateRawSync(input, { ...options, info: true }) as unknown as Inflated;
      parts.push(buffer.subarray(0, left));
      left -= parts.at(-1)!.length;
      // The next gzip member begins behind the trailer of this one.
      const end = engine.bytesWritten - (parts.length === 1 && bits > 0 ? 1 : 0) + 8;
      input = parts.length === 1 ? src.subarray(end) : input.subarray(engine.bytesWritten + 8);
      input = input.subarray(gzipHeaderSize(input));
      options = { finishFlush: constants.Z_SYNC_FLUSH };
    }
    return exactly(Buffer.concat(parts), size, 'zran');
  },
  crc32c: (bytes) => crc32c(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)) >>> 0,
};

/** The same for whole units: what the addon does in one job, step by step. */
export const referenceLander: Lander = {
  async land({ kind, maybeRaw, zran, cipher, stored, size, digester, fd, pieces }) {
    const plain = cipher ? decrypt(cipher, stored) : stored;
    const raw = maybeRaw && plain.length === size;
    const bytes =
      kind === 'zran'
        ? await referenceCodecs.inflateContext(plain, size, zran!.bits, zran!.byte, zran!.dictionary)
        : await referenceCodecs.decompress(raw ? 'none' : kind, plain, size);
    const verdict = ({ at, size: length, fileOffset, crc32c, digest: wanted }: LandPiece): number => {
      const piece = bytes.subarray(at, at + length);
      if (crc32c !== null && referenceCodecs.crc32c(piece) !== crc32c) return UnitVerdict.wrongCrc;
      if (wanted !== null && !digest(digester, piece).equals(wanted)) return UnitVerdict.wrongDigest;
      try {
        if (fd >= 0 && fileOffset >= 0) writeSync(fd, piece, 0, length, fileOffset);
        return UnitVerdict.good;
      } catch (error) {
        return (error as NodeJS.ErrnoException).errno!;
      }
    };
    return { bytes, verdicts: Int32Array.from(pieces, verdict) };
  },
};

/** node:zlib cannot prime bits: the whole stream is shifted behind them instead. */
function primed(src: Uint8Array, bits: number, byte: number): Uint8Array {
  if (bits === 0) return src;
  const out = new Uint8Array(src.length + 1);
  let carry = byte >> (8 - bits);
  for (let i = 0; i < src.length; i++) {
    out[i] = carry | ((src[i]! << bits) & 0xff);
    carry = src[i]! >> (8 - bits);
  }
  out[src.length] = carry;
  return out;
}

interface Inflated {
  readonly buffer: Buffer;
  readonly engine: { readonly bytesWritten: number };
}

/** RFC 1952: 10 bytes, then what the flags announce. */
function gzipHeaderSize(bytes: Uint8Array): number {
  if (bytes.length < 10) return bytes.length;
  const flags = bytes[3]!;
  let at = 10;
  if (flags & 4) at += 2 + bytes[at]! + (bytes[at + 1]! << 8);
  for (const flag of [8, 16]) if (flags & flag) at = bytes.indexOf(0, at) + 1;
  return flags & 2 ? at + 2 : at;
}
