import type { BlobView, ChunkFetcher, ChunkRef } from '../../../blob/view.ts';
import type { FromWorker } from './messages.ts';

type Done = (result: number, pieces: readonly Uint8Array[] | null) => void;

/** Sends a worker's chunk requests to the control thread, which owns the files, and hands its answers on. */
export class WorkerFetcher implements ChunkFetcher {
  readonly #post: (message: FromWorker) => void;
  readonly #waiting: Map<number, Done> = new Map();
  #next = 1;

  constructor(post: (message: FromWorker) => void) {
    this.#post = post;
  }

  fetch(blob: BlobView, chunks: readonly ChunkRef[], done: Done): void {
    const fetch = this.#next++;
    this.#waiting.set(fetch, done);
    this.#post({ type: 'fetch', fetch, blob: blob.handle, chunks });
  }

  /** The control thread's answer to request `fetch`. */
  answered(fetch: number, result: number, pieces: readonly Uint8Array[] | null): void {
    const done = this.#waiting.get(fetch);
    this.#waiting.delete(fetch);
    done?.(result, pieces);
  }
}
