/** Compressors of chunk data, and its checksum. All take hostile input. */
export interface CodecCalls {
  /** Decodes a raw LZ4 block. Bytes produced, or -EBADMSG. */
  lz4Decode(src: Uint8Array, dst: Uint8Array): number;
  /**
   * Raw inflate of one indexed-gzip (zran) context on a pool thread: primes the high `bits` (0…7) bits of `byte` (as
   * stored in the context), sets `dictionary` (at most 32 KiB), and produces exactly dst.length bytes, crossing gzip
   * member boundaries. `done` gets dst.length, -EBADMSG on damage or -EINVAL for a number that no context has.
   */
  zranDecodeAsync(
    src: Uint8Array,
    dst: Uint8Array,
    bits: number,
    byte: number,
    dictionary: Uint8Array | null,
    done: (result: number) => void,
  ): number;
  /**
   * Decodes on a pool thread; kind 1 a raw LZ4 block, 2 a gzip member (of one that is longer than `dst` its
   * beginning), 3 whole zstd frames. `done` gets the bytes produced, or -EBADMSG.
   */
  decodeAsync(kind: number, src: Uint8Array, dst: Uint8Array, done: (result: number) => void): number;
  /**
   * Compresses to a raw LZ4 block: bytes produced; -ENOSPC when they might not fit `dst`, which may take 16 more
   * than they are.
   */
  lz4Encode(src: Uint8Array, dst: Uint8Array): number;
  /**
   * Compresses many pieces of `source` into `target` on one pool thread: kind 1 lz4 (a raw block, byte for byte as
   * liblz4 makes it by default), 3 zstd (a frame of level 3 that says its size). `pieces` has rows of four: offset
   * and length in the source, offset and room in the target; the last becomes the bytes produced, or -ENOSPC when
   * they might not fit. lz4 may ask for 16 bytes more than it writes. `done` gets 0 or -errno. No buffer may change
   * meanwhile.
   */
  encodeAsync(
    kind: number,
    source: Uint8Array,
    target: Uint8Array,
    pieces: Int32Array,
    done: (result: number) => void,
  ): number;
  /** CRC-32C (Castagnoli), as an unsigned number. */
  crc32c(bytes: Uint8Array): number;
}
