import type { MessagePort } from 'node:worker_threads';
import type { BlobView, ChunkAnswer, ChunkFetcher, ChunkRef, ChunkRequest } from '../../../blob/view.ts';

type Done = (result: number, pieces: readonly Uint8Array[] | null) => void;

/** Sends a worker's chunk requests to the storage thread, which owns the files, and hands its answers on. */
export class WorkerFetcher implements ChunkFetcher {
  readonly #storage: MessagePort;
  readonly #waiting: Map<number, Done> = new Map();
  #next = 1;

  constructor(storage: MessagePort) {
    this.#storage = storage;
    storage.on('message', ({ fetch, result, pieces }: ChunkAnswer) => {
      const done = this.#waiting.get(fetch);
      this.#waiting.delete(fetch);
      done?.(result, pieces);
    });
  }

  fetch(blob: BlobView, chunks: readonly ChunkRef[], done: Done): void {
    const request: ChunkRequest = { fetch: this.#next++, blob: blob.handle, chunks };
    this.#waiting.set(request.fetch, done);
    this.#storage.postMessage(request);
  }
}
