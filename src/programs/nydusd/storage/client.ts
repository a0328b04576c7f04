/**
 * The storage thread as the control thread sees it: started with the first question, asked and answered by numbered
 * messages.
 */
import { type MessagePort, Worker } from 'node:worker_threads';
import type { Config } from '../../../config/config.ts';
import type { FromStorage, StorageCall, StorageCalls, ToStorage } from './messages.ts';
import { type BlobStorage, type BootstrapMemory, type OpenBlobs, StorageError } from './storage.ts';

interface StorageOptions {
  readonly log: {
    warn(fields: Record<string, unknown>, message: string): void;
    error(fields: Record<string, unknown>, message: string): void;
  };
  /** The thread ended that nobody stopped: nobody answers for the caches any more. */
  readonly died: (cause: unknown) => void;
}

interface Waiting {
  readonly resolve: (answer: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** One thread for the storage of all mounts. */
export class StorageClient implements BlobStorage {
  readonly #options: StorageOptions;
  readonly #waiting = new Map<number, Waiting>();
  readonly #sets = new WeakMap<OpenBlobs, number>();
  #worker: Worker | null = null;
  #next = 1;
  #stopped = false;

  constructor(options: StorageOptions) {
    this.#options = options;
  }

  async open(config: Config, bootstrap: BootstrapMemory, source: string): Promise<OpenBlobs> {
    const { set, views } = await this.#ask('open', { config, bootstrap, source });
    const blobs: OpenBlobs = {
      views,
      backendMetrics: () => this.#ask('backendMetrics', { set }),
      close: async () => {
        await this.#ask('close', { set });
      },
    };
    this.#sets.set(blobs, set);
    return blobs;
  }

  extractBootstrap(source: string): Promise<Uint8Array> {
    return this.#ask('extractBootstrap', { source });
  }

  cacheMetrics(of: readonly OpenBlobs[]): Promise<unknown> {
    return this.#ask('cacheMetrics', { sets: of.map((blobs) => this.#sets.get(blobs)!) });
  }

  connect(port: MessagePort): void {
    const message: ToStorage = { type: 'connect', port };
    this.#started().postMessage(message, [port]);
  }

  /** Ends the thread; caches are correct at any moment. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#worker?.terminate();
    this.#failAll();
  }

  #ask<Call extends StorageCall>(
    call: Call,
    ask: StorageCalls[Call]['ask'],
  ): Promise<StorageCalls[Call]['answer']> {
    if (this.#stopped) return Promise.reject(gone());
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as Waiting['resolve'], reject });
      const message: ToStorage = { type: 'ask', id, call, ask };
      this.#started().postMessage(message);
    });
  }

  #started(): Worker {
    if (this.#worker !== null) return this.#worker;
    const worker = new Worker(new URL('./thread.ts', import.meta.url), { name: 'storage' });
    worker.on('message', (message: FromStorage) => this.#take(message));
    worker.on('error', (error) => this.#died(error));
    worker.on('exit', (code) => this.#died(new Error(`the storage thread ended with ${code}`)));
    this.#worker = worker;
    return worker;
  }

  #take(message: FromStorage): void {
    if (message.type === 'log') {
      this.#options.log[message.level](message.fields, message.message);
      return;
    }
    const waiting = this.#waiting.get(message.id);
    this.#waiting.delete(message.id);
    if (message.type === 'answer') waiting?.resolve(message.answer);
    else waiting?.reject(new StorageError(message.code, message.message));
  }

  #died(cause: unknown): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#failAll();
    this.#options.died(cause);
  }

  #failAll(): void {
    for (const { reject } of this.#waiting.values()) reject(gone());
    this.#waiting.clear();
  }
}

function gone(): StorageError {
  return new StorageError('STORAGE_ENDED', 'the storage thread has ended');
}
