import { addon } from '../../../native/index.ts';
import { ZranContext } from '../../../wire/blob-meta.ts';
import { writeU64 } from '../../../wire/rafs/bytes.ts';
import type { GzipPosition, InflateStart } from '../../source/archive/gzip-source.ts';

/** Slices of a gzip file, as large as the original makes them: see `begin`. storage/src/meta/zran.rs. */
const COMPRESSED_MIN = 512 << 10;
const COMPRESSED_MAX = 1 << 20;
const UNCOMPRESSED_MAX = 2 << 20;
/** Room for a dictionary that is being packed. */
const packed = Buffer.allocUnsafeSlow(33 << 10);

/** What tells where inflating is, and where it could begin. */
export interface Inflating {
  readonly state: GzipPosition;
  start(): InflateStart;
}

/** Where a chunk is: in which slice, and in the file. */
interface ZranChunk {
  /** Number of the slice and the chunk's first byte in its plain data. */
  readonly context: number;
  readonly contextPosition: number;
  readonly uncompressedSize: number;
  readonly compressedOffset: number;
  /** May be 0: the bits of a short chunk can be in a byte that was read before. */
  readonly compressedSize: number;
}

/** A slice of a gzip file that can be inflated on its own, from the start of a deflate block. */
interface Slice extends Omit<InflateStart, 'dictionary'> {
  inLength: number;
  outLength: number;
  /** Compressed until it is written, if that makes it smaller: a large layer has thousands of 32 KiB. */
  readonly packedDictionary: Buffer;
  readonly dictionarySize: number;
}

/**
 * Cuts a gzip file into slices while the chunks of a tar in it are read: `begin`, then exactly the chunk's bytes, then
 * `end`. What lies between chunks (headers, padding) belongs to no slice unless one goes on behind it.
 */
export class ZranSlices {
  readonly #inflating: Inflating;
  readonly #slices: Slice[] = [];
  #size = 0;
  /** Block boundary that was reached last when the current slice was opened. */
  #boundary = -1;
  #chunkStart: GzipPosition = { totalIn: 0, totalOut: 0, boundaryIn: 0 };

  constructor(inflating: Inflating) {
    this.#inflating = inflating;
  }

  get count(): number {
    return this.#slices.length;
  }

  /** Bytes of all contexts and dictionaries. */
  get size(): number {
    return this.#size;
  }

  /** Before a chunk is read: decides whether the current slice takes it. `chunkSize` is that of the image. */
  begin(chunkSize: number): void {
    const position = this.#inflating.state;
    const current = this.#slices.at(-1);
    if (
      current === undefined ||
      (position.boundaryIn !== this.#boundary && isFull(current, position, chunkSize))
    ) {
      this.#slices.push(sliceFrom(this.#inflating.start()));
      this.#size += ZranContext.size + this.#slices.at(-1)!.dictionarySize;
      this.#boundary = position.boundaryIn;
    }
    this.#chunkStart = position;
  }

  /** After a chunk has been read. */
  end(): ZranChunk {
    const slice = this.#slices.at(-1)!;
    const start = this.#chunkStart;
    const { totalIn, totalOut } = this.#inflating.state;
    slice.inLength = totalIn - slice.inOffset;
    slice.outLength = totalOut - slice.outOffset;
    return {
      context: this.#slices.length - 1,
      contextPosition: start.totalOut - slice.outOffset,
      uncompressedSize: totalOut - start.totalOut,
      compressedOffset: start.totalIn,
      compressedSize: totalIn - start.totalIn,
    };
  }

  /** Lengths of the current slice. */
  get current(): { readonly inLength: number; readonly outLength: number } {
    return this.#slices.at(-1)!;
  }

  /**
   * Writes all contexts, then all dictionaries, as they stand behind the chunk-info entries, to
   * `size` bytes from `start`.
   */
  encode(into: Buffer, start: number): void {
    const Z = ZranContext;
    const view = new DataView(into.buffer, into.byteOffset, into.length);
    const dictionaries = start + this.#slices.length * Z.size;
    let dictionaryOffset = 0;
    for (const [i, slice] of this.#slices.entries()) {
      const at = start + i * Z.size;
      writeU64(view, at + Z.inOffset, slice.inOffset);
      writeU64(view, at + Z.outOffset, slice.outOffset);
      writeU64(view, at + Z.dictOffset, dictionaryOffset);
      view.setUint32(at + Z.inLength, slice.inLength, true);
      view.setUint32(at + Z.outLength, slice.outLength, true);
      view.setUint32(at + Z.dictSize, slice.dictionarySize, true);
      view.setUint8(at + Z.byte, slice.byte);
      view.setUint8(at + Z.bits, slice.bits);
      if (slice.dictionarySize > 0) unpack(slice, into.subarray(dictionaries + dictionaryOffset));
      dictionaryOffset += slice.dictionarySize;
    }
  }
}

function sliceFrom({ dictionary, ...start }: InflateStart): Slice {
  return {
    ...start,
    inLength: 0,
    outLength: 0,
    packedDictionary: pack(dictionary),
    dictionarySize: dictionary.length,
  };
}

/** The block it becomes, or the dictionary itself if that is not smaller. */
function pack(dictionary: Buffer): Buffer {
  const size = addon.lz4Encode(dictionary, packed);
  return size > 0 && size < dictionary.length ? Buffer.from(packed.subarray(0, size)) : dictionary;
}

function unpack({ packedDictionary, dictionarySize }: Slice, into: Buffer): void {
  if (packedDictionary.length === dictionarySize) into.set(packedDictionary);
  else addon.lz4Decode(packedDictionary, into.subarray(0, dictionarySize));
}

/**
 * A slice is full when it has half the compressed or all the plain bytes it may have, or before
 * a gap as large as itself.
 */
function isFull(slice: Slice, position: GzipPosition, chunkSize: number): boolean {
  const compressed = position.totalIn - slice.inOffset;
  const uncompressed = position.totalOut - slice.outOffset;
  return (
    compressed >= COMPRESSED_MAX / 2 ||
    uncompressed + chunkSize >= UNCOMPRESSED_MAX ||
    (compressed > 2 * slice.inLength && slice.inLength > COMPRESSED_MIN)
  );
}
