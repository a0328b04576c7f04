/** How the bytes of a unit are stored: `kind` of `landUnit`. */
export const UnitKind = {
  none: 0,
  /** A raw LZ4 block. */
  lz4_block: 1,
  /** A gzip member; of one that is longer its beginning, as chunks of eStargz layers need. */
  gzip: 2,
  /** Whole zstd frames. */
  zstd: 3,
  /** A context of indexed gzip, as `zranDecodeAsync` has it. */
  zran: 4,
  /**
   * Added to another kind: not compressed if its plain bytes are as many as the target has. Batches say nothing else
   * of it.
   */
  maybeRaw: 8,
} as const;

/** Columns of a row of `pieces`: a part of the target which is verified and kept on its own. */
export const UnitPiece = {
  /** Bytes of the target, which rows may share. */
  at: 0,
  length: 1,
  /** Where they go in the cache file; -1: nowhere. */
  cacheOffset: 2,
  /** As an unsigned number; -1: none. */
  crc32c: 3,
  /** One of UnitDigest. */
  digest: 4,
  /** Where the 32 bytes of the digest are in `digests`; not looked at without one. */
  digestAt: 5,
  columns: 6,
} as const;

/** Digests that a piece may have. */
export const UnitDigest = { none: 0, sha256: 1, blake3: 2 } as const;

/** What a piece came to. A negative number: it is good, and the -errno of its write. */
export const UnitVerdict = { good: 0, wrongCrc: 1, wrongDigest: 2 } as const;

/** Units of blobs: stored bytes into verified bytes in the cache file. */
export interface UnitCalls {
  /**
   * This thread yields to others that want its processor from now on, as pool threads that land units do by
   * themselves: setpriority(2).
   */
  lowerPriority(): number;
  /**
   * On one pool thread: decrypts `src`, decodes it to exactly dst.length bytes, verifies each piece and writes the
   * good ones that have a place to `fd` (-1: writes nothing), in no particular order. `done` gets 0 once everything is
   * written, and then `verdicts` has a UnitVerdict for each piece; -EBADMSG when the unit cannot be decrypted or
   * decoded, -ENOMEM: nothing is written, the verdicts stay -ECANCELED, `dst` may have any bytes. `fd` may be closed
   * before; one that is not open makes verdicts -EBADF.
   *
   * `cipher`: the 32 bytes of an AES-128-XTS key and the 16 of the IV; data shorter than a block is padded as
   * utils/src/crypt.rs does. `bits`, `byte`, `dictionary` are those of a zran context, else 0, 0, null. No buffer may
   * change until `done`, but `pieces`, `digests`, `cipher` are copied. `dst` may be `src` where that is neither
   * encrypted nor compressed.
   *
   * Returns 0; -ERANGE for a number out of range, a piece outside `dst`, a digest outside `digests`, too few verdicts,
   * or 2 GiB and more; -EINVAL for an argument of another type.
   */
  landUnit(
    fd: number,
    kind: number,
    bits: number,
    byte: number,
    src: Uint8Array,
    dst: Uint8Array,
    cipher: Uint8Array | null,
    dictionary: Uint8Array | null,
    pieces: Float64Array,
    digests: Uint8Array,
    verdicts: Int32Array,
    done: (result: number) => void,
  ): number;
}
