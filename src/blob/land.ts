/** Stored bytes of a unit become verified chunks in the cache: one job on a pool thread. */
import { errnoName } from '../lib/errno.ts';
import { UnitVerdict } from '../native/unit.ts';
import { BlobError } from '../wire/blob-error.ts';
import { type BlobSpec, isLegacyStargz } from '../wire/rafs/blob-spec.ts';
import type { CacheFile } from './cache-file.ts';
import type { Chunk, Unit } from './chunk-table.ts';
import type { Codecs } from './codecs.ts';
import { verifyChunk } from './decode.ts';
import type { Lander } from './lander.ts';

/** What landing needs to know of a blob. */
export interface LandParts {
  readonly spec: BlobSpec;
  readonly codecs: Codecs;
  readonly lander: Lander;
  /** Digests are verified, too; CRCs always are. */
  readonly validate: boolean;
}

/** A chunk as it landed. */
export interface Landed {
  readonly chunk: Chunk;
  /** A part of the unit's bytes. */
  readonly bytes: Uint8Array;
  /** Null: verified as far as that goes. */
  readonly error: BlobError | null;
  /** Why the file did not take it; null: it did, or there is none. */
  readonly writeError: Error | null;
}

/** Uncompressed cache files get each chunk at its offset, null: none. */
export type LandingFile = Pick<CacheFile, 'fd' | 'path'> | null;

/**
 * Decodes a unit, verifies `chunks` of it and writes the good ones to `file`. The data is in the file when this
 * resolves. Rejects with BlobError when the unit cannot be decoded.
 */
export async function landUnit(
  parts: LandParts,
  unit: Unit,
  chunks: readonly Chunk[],
  stored: Uint8Array,
  file: LandingFile,
): Promise<Landed[]> {
  const { spec, lander, validate } = parts;
  const believed = isLegacyStargz(spec);
  const blind = (chunk: Chunk) => validate && !believed && chunk.digest === null;
  const { bytes, verdicts } = await lander.land({
    kind: unit.zran ? 'zran' : unit.compressed ? spec.compressor : 'none',
    maybeRaw: unit.batch,
    zran: unit.zran,
    cipher: unit.encrypted ? spec.cipher : null,
    stored,
    size: unit.uncompressedSize,
    digester: spec.digester,
    fd: file?.fd ?? -1,
    pieces: chunks.map((chunk) => ({
      at: chunk.unitPosition,
      size: chunk.uncompressedSize,
      fileOffset: file === null || blind(chunk) ? -1 : chunk.uncompressedOffset,
      crc32c: believed ? null : chunk.crc32c,
      digest: validate && !believed ? chunk.digest : null,
    })),
  });
  return chunks.map((chunk, i) => {
    const piece = bytes.subarray(chunk.unitPosition, chunk.unitPosition + chunk.uncompressedSize);
    const verdict = verdicts[i]!;
    const isWrong = blind(chunk) || verdict > UnitVerdict.good;
    const error = isWrong ? explain(parts, chunk, piece) : null;
    return { chunk, bytes: piece, error, writeError: verdict < 0 ? failedWrite(file, verdict) : null };
  });
}

/** Verifies once more, for the words: what is, and what must be. */
function explain({ spec, codecs, validate }: LandParts, chunk: Chunk, bytes: Uint8Array): BlobError {
  try {
    verifyChunk(spec, codecs, chunk, bytes, validate);
  } catch (error) {
    if (error instanceof BlobError) return error;
    throw error;
  }
  return new BlobError(
    'BLOB_CORRUPT',
    `blob ${spec.id} chunk ${chunk.index}: its bytes changed while verified`,
  );
}

function failedWrite(file: LandingFile, result: number): Error {
  return new Error(`${errnoName(result)}: cannot write ${file?.path}`);
}
