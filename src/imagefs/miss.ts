import { readSync } from 'node:fs';
import { isReady } from '../blob/chunk-map.ts';
import type { BlobView, ChunkFetcher, ChunkRef } from '../blob/view.ts';
import type { Resume } from '../fuse/filesystem.ts';
import { Errno } from '../lib/errno.ts';
import type { Bootstrap } from '../rafs/bootstrap.ts';
import { ChunkAt, type Image } from '../rafs/image.ts';
import { decodeChunk } from '../wire/rafs/chunk.ts';

const { EIO } = Errno;

/**
 * A part of the range that comes from one chunk; `chunk` is its place in the blob's list, or -1 when no fetch is
 * needed.
 */
interface Part {
  readonly blob: number;
  readonly chunk: number;
  readonly hole: boolean;
  /** Place in the answer, and in the chunk. */
  readonly at: number;
  readonly skip: number;
  readonly length: number;
  readonly cacheOffset: number;
}

/** A blob's chunks to fetch; each of them once, though a range may contain it several times. */
interface Wanted {
  readonly refs: ChunkRef[];
  readonly places: Map<number, number>;
  pieces: readonly Uint8Array[] | null;
}

/** Reads whose chunks are not in the cache: asks the fetcher, then resumes. Off the hit path, so it may allocate. */
export class ChunkMiss {
  readonly #bootstrap: Bootstrap;
  readonly #image: Image;
  readonly #blobs: readonly BlobView[];
  readonly #evictions: Int32Array | null;
  readonly #fetcher: ChunkFetcher;

  constructor(
    bootstrap: Bootstrap,
    image: Image,
    blobs: readonly BlobView[],
    evictions: Int32Array | null,
    fetcher: ChunkFetcher,
  ) {
    this.#bootstrap = bootstrap;
    this.#image = image;
    this.#blobs = blobs;
    this.#evictions = evictions;
    this.#fetcher = fetcher;
  }

  /**
   * Fetches what is missing of a range that was surveyed, then has the READ repeated; where bytes came because a blob
   * has no uncompressed file or the file could not take them (disk full), resumes with the bytes of the whole range
   * instead.
   */
  fetch(lo: number, offset: number, end: number, resume: Resume): void {
    const evictions = this.#evictions?.[0];
    const { wanted, parts } = this.#collect(lo, offset, end);
    this.#fetchAll(wanted, (result) => {
      if (result < 0) return resume(result);
      if ([...wanted.values()].every(({ pieces }) => pieces === null)) return resume(0);
      const bytes = new Uint8Array(end - offset);
      const ok = parts.every((part) => part.hole || this.#place(part, wanted, bytes));
      // What was read from a cache file may have been evicted meanwhile.
      if (this.#evictions?.[0] !== evictions) return resume(0);
      return ok ? resume(0, bytes) : resume(-EIO);
    });
  }

  #collect(lo: number, offset: number, end: number): { wanted: Map<number, Wanted>; parts: Part[] } {
    const { chunkSize } = this.#bootstrap;
    const at = new ChunkAt();
    const wanted = new Map<number, Wanted>();
    const parts: Part[] = [];
    const last = Math.floor((end - 1) / chunkSize);
    for (let i = Math.floor(offset / chunkSize); i <= last; i++) {
      this.#image.chunk(lo, i, at);
      const from = Math.max(offset, i * chunkSize);
      const skip = from - i * chunkSize;
      parts.push({
        blob: at.blob,
        chunk: at.hole || this.#isReady(at) ? -1 : this.#want(wanted, at),
        hole: at.hole,
        at: from - offset,
        skip,
        length: Math.min(end, (i + 1) * chunkSize) - from,
        cacheOffset: at.offset + skip,
      });
    }
    return { wanted, parts };
  }

  #isReady(at: ChunkAt): boolean {
    const { delivery, ready } = this.#blobs[at.blob]!;
    if (delivery === 'bytes') return false;
    return ready === null || isReady(new Uint8Array(ready), at.index);
  }

  #want(wanted: Map<number, Wanted>, at: ChunkAt): number {
    let list = wanted.get(at.blob);
    if (list === undefined) {
      list = { refs: [], places: new Map(), pieces: null };
      wanted.set(at.blob, list);
    }
    const known = list.places.get(at.index);
    if (known !== undefined) return known;
    list.places.set(at.index, list.refs.length);
    const record =
      at.record < 0 ? null : { ...decodeChunk(this.#bootstrap.view, at.record), index: at.index };
    return list.refs.push({ index: at.index, record }) - 1;
  }

  #fetchAll(wanted: Map<number, Wanted>, done: (result: number) => void): void {
    let left = wanted.size;
    let failure = 0;
    // Between survey and here another request may have brought everything.
    if (left === 0) {
      queueMicrotask(() => done(0));
      return;
    }
    for (const [blob, list] of wanted) {
      this.#fetcher.fetch(this.#blobs[blob]!, list.refs, (result, pieces) => {
        list.pieces = pieces;
        if (result < 0 && failure === 0) failure = result;
        if (--left === 0) done(failure);
      });
    }
  }

  /** Copies a part of the answer to its place; false if fewer bytes came than the chunk must have. */
  #place(part: Part, wanted: Map<number, Wanted>, out: Uint8Array): boolean {
    const pieces = part.chunk < 0 ? null : wanted.get(part.blob)!.pieces;
    if (pieces !== null) {
      const piece = pieces[part.chunk];
      if (piece === undefined || piece.length < part.skip + part.length) return false;
      out.set(piece.subarray(part.skip, part.skip + part.length), part.at);
      return true;
    }
    const blob = this.#blobs[part.blob]!;
    if (blob.delivery === 'bytes') return false;
    try {
      return readSync(blob.fd, out, part.at, part.length, part.cacheOffset) === part.length;
    } catch {
      return false;
    }
  }
}
