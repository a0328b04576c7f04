/**
 * A blob as a queue worker sees it: where its uncompressed bytes are on the local disk and which chunks are there.
 * Shared between threads by fd number and SharedArrayBuffer; the storage thread owns the files, the queue workers
 * only read.
 */
export interface BlobView {
  /** Process-wide handle of the blob (the storage thread's `Blob.handle`). */
  readonly handle: number;
  /**
   * Cache file (or tar, for tarfs) holding uncompressed bytes at uncompressed offsets; -1 when `delivery` is 'bytes'.
   */
  readonly fd: number;
  /**
   * `file`: chunks whose bit is set are read from `fd`. `bytes`: nothing is on disk uncompressed; every read asks the
   * fetcher.
   */
  readonly delivery: 'file' | 'bytes';
  /**
   * One bit per chunk, MSB first within a byte (chunk i: byte i >> 3, mask 0x80 >> (i & 7)): its bytes in `fd` may be
   * given to a guest. With validation on, a bit is set only after this process verified the chunk. Null: always ready
   * (tarfs).
   */
  readonly ready: SharedArrayBuffer | null;
  /**
   * A u32 that changes with every eviction: see open-cache.ts for who looks at it when. Null: nothing of this blob is
   * ever evicted.
   */
  readonly evictions: SharedArrayBuffer | null;
  readonly chunkCount: number;
  /** Bytes addressable in `fd`: uncompressed size. */
  readonly size: number;
}

/** One chunk as its reader found it in a bootstrap. v6 chunks are described by blob.meta: only `index` is used. */
export interface ChunkRef {
  readonly index: number;
  /** v5 only (the 80-byte record), otherwise null. */
  readonly record: ChunkRecord | null;
}

/** The fields of a v5 chunk record / v6 chunk-table row which storage needs. Offsets are numbers below 2^53. */
export interface ChunkRecord {
  readonly blobIndex: number;
  readonly index: number;
  readonly flags: number;
  readonly compressedOffset: number;
  readonly compressedSize: number;
  readonly uncompressedOffset: number;
  readonly uncompressedSize: number;
  readonly crc32c: number;
  /** 32 bytes. */
  readonly digest: Uint8Array;
}

/** A queue worker's request to the storage thread: plain data, structured-cloneable. */
export interface ChunkRequest {
  /** The worker's own number for it. */
  readonly fetch: number;
  readonly blob: BlobView['handle'];
  readonly chunks: readonly ChunkRef[];
}

/** The answer to it: `result` and `pieces` as ChunkFetcher has them. */
export interface ChunkAnswer {
  readonly fetch: number;
  readonly result: number;
  readonly pieces: readonly Uint8Array[] | null;
}

/** Asks for chunks that are not ready. */
export interface ChunkFetcher {
  /**
   * `done(0, null)`: the chunks' bits are set. `done(0, pieces)`: the uncompressed bytes of each chunk in order:
   * always with 'bytes' delivery, with 'file' delivery when the cache could not take them. `done(-errno, null)`: EIO
   * after the source's retries. Runs on the calling thread, never before `fetch` returns.
   */
  fetch(
    blob: BlobView,
    chunks: readonly ChunkRef[],
    done: (result: number, pieces: readonly Uint8Array[] | null) => void,
  ): void;
}
