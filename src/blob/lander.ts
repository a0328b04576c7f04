import type { DigestAlgorithm } from '../lib/content-hash.ts';
import { type UnitCalls, UnitDigest, UnitKind, UnitPiece } from '../native/unit.ts';
import type { Compressor } from '../wire/rafs/flags.ts';
import { mismatch } from './codecs.ts';

/** A unit to be landed. */
interface LandJob {
  readonly kind: Compressor | 'zran';
  /** Not compressed if the plain bytes are as many as the uncompressed ones (batches). */
  readonly maybeRaw: boolean;
  readonly zran: ZranStart | null;
  /** AES-128-XTS, as `decrypt`; null: in clear. */
  readonly cipher: { readonly key: Uint8Array; readonly iv: Uint8Array } | null;
  readonly stored: Uint8Array;
  /** Uncompressed bytes. */
  readonly size: number;
  readonly digester: DigestAlgorithm;
  /** Where pieces are written; -1: nowhere. */
  readonly fd: number;
  readonly pieces: readonly LandPiece[];
}

/** A chunk of a unit. Null: not verified so. */
export interface LandPiece {
  readonly at: number;
  readonly size: number;
  /** -1: not written. */
  readonly fileOffset: number;
  readonly crc32c: number | null;
  readonly digest: Uint8Array | null;
}

/** Where inflating of a zran context begins: the upper `bits` bits of `byte`, then the data. */
export interface ZranStart {
  readonly bits: number;
  readonly byte: number;
  readonly dictionary: Uint8Array | null;
}

/** Decodes, verifies and writes units. */
export interface Lander {
  /**
   * Resolves with the uncompressed bytes and, for each piece, a UnitVerdict. What is good and has a place is in the
   * file then. Rejects with BlobError when the unit cannot be decoded to exactly `size` bytes.
   */
  land(job: LandJob): Promise<{ readonly bytes: Uint8Array; readonly verdicts: Int32Array }>;
}

const DIGEST_BYTES = 32;
const NOTHING = new Uint8Array(0);

/** Each unit is one job of a pool thread. */
export function addonLander(addon: UnitCalls): Lander {
  return {
    land(job) {
      const { zran, cipher, stored, size, fd } = job;
      const bytes = Buffer.allocUnsafeSlow(size);
      const verdicts = new Int32Array(job.pieces.length);
      const { rows, digests } = rowsOf(job);
      const kind = UnitKind[job.kind] + (job.maybeRaw ? UnitKind.maybeRaw : 0);
      return new Promise((resolve, reject) => {
        const done = (result: number): void => {
          if (result === 0) resolve({ bytes, verdicts });
          else reject(mismatch(job.kind, result, size));
        };
        const started = addon.landUnit(
          fd,
          kind,
          zran?.bits ?? 0,
          zran?.byte ?? 0,
          stored,
          bytes,
          cipher && Buffer.concat([cipher.key, cipher.iv]),
          zran?.dictionary ?? null,
          rows,
          digests,
          verdicts,
          done,
        );
        if (started < 0) done(started);
      });
    },
  };
}

function rowsOf({ pieces, digester }: LandJob): { rows: Float64Array; digests: Uint8Array } {
  const rows = new Float64Array(pieces.length * UnitPiece.columns);
  const isAnyDigested = pieces.some(({ digest }) => digest !== null);
  const digests = isAnyDigested ? new Uint8Array(pieces.length * DIGEST_BYTES) : NOTHING;
  for (const [i, { at, size, fileOffset, crc32c, digest }] of pieces.entries()) {
    const row = i * UnitPiece.columns;
    rows[row + UnitPiece.at] = at;
    rows[row + UnitPiece.length] = size;
    rows[row + UnitPiece.cacheOffset] = fileOffset;
    rows[row + UnitPiece.crc32c] = crc32c ?? -1;
    if (digest === null) continue;
    rows[row + UnitPiece.digest] = UnitDigest[digester];
    rows[row + UnitPiece.digestAt] = i * DIGEST_BYTES;
    digests.set(digest, i * DIGEST_BYTES);
  }
  return { rows, digests };
}
