import type { StoredChunk } from '../model/chunk.ts';

/** A batch as its context describes it; offset and compressed size are known once it is stored. */
export interface Batch {
  compressedOffset: number;
  compressedSize: number;
  readonly uncompressedSize: number;
  /** ChunkFlag bits of the stored bytes. */
  flags: number;
}

/** Where a chunk is within a batch. */
interface BatchMember {
  /** Number of the batch. */
  readonly context: number;
  /** First byte in the batch's uncompressed bytes. */
  readonly position: number;
}

/**
 * Collects small files into batches which are compressed as one: `--batch-size`. Only files of a single chunk below
 * half the batch size are taken. storage/src/meta/batch.rs, builder/src/core/node.rs.
 */
export class Batcher {
  readonly #size: number;
  readonly #buffer: Buffer;
  #used = 0;
  /** In the order in which they are stored. */
  readonly batches: Batch[] = [];
  readonly members: Map<StoredChunk, BatchMember> = new Map<StoredChunk, BatchMember>();

  /** `size`: a power of two, in bytes. */
  constructor(size: number) {
    this.#size = size;
    this.#buffer = Buffer.allocUnsafeSlow(size);
  }

  /** Whether a chunk of `length` bytes goes into a batch if it is the only one of its file. */
  takes(length: number): boolean {
    return length < this.#size / 2;
  }

  /** Whether the present batch has room for `length` more bytes. A full batch stays below the size by one byte. */
  hasRoom(length: number): boolean {
    return this.#used + length < this.#size;
  }

  /** Adds a chunk for which there is room. */
  add(chunk: StoredChunk, bytes: Buffer): void {
    this.members.set(chunk, { context: this.batches.length, position: this.#used });
    this.#buffer.set(bytes, this.#used);
    this.#used += bytes.length;
  }

  /** Ends the present batch and returns a copy of its bytes; null if it is empty. */
  take(): { readonly batch: Batch; readonly bytes: Buffer } | null {
    if (this.#used === 0) return null;
    const bytes = Buffer.from(this.#buffer.subarray(0, this.#used));
    const batch = { compressedOffset: 0, compressedSize: 0, uncompressedSize: bytes.length, flags: 0 };
    this.batches.push(batch);
    this.#used = 0;
    return { batch, bytes };
  }
}
