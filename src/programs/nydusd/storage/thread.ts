/**
 * The storage thread: reads of back ends, decoding, verification and the cache files of all mounts. It answers the
 * control thread's questions and, over a port for each, the queue workers' requests for chunks.
 */
import { type MessagePort, parentPort } from 'node:worker_threads';
import type { ChunkAnswer, ChunkRequest } from '../../../blob/view.ts';
import { addon } from '../../../native/index.ts';
import { MountedBlobs } from './blobs.ts';
import type { FromStorage, StorageCall, StorageCalls, ToStorage } from './messages.ts';

// Guests whose data is there do not wait for those whose data is on its way.
addon.lowerPriority();

const port = parentPort!;
const post = (message: FromStorage) => port.postMessage(message);

const blobs = new MountedBlobs(addon, {
  warn: (fields, message) => post({ type: 'log', level: 'warn', fields, message }),
  error: (fields, message) => post({ type: 'log', level: 'error', fields, message }),
});

const calls: {
  readonly [Call in StorageCall]: (
    ask: StorageCalls[Call]['ask'],
  ) => StorageCalls[Call]['answer'] | Promise<StorageCalls[Call]['answer']>;
} = {
  open: ({ config, bootstrap, source }) => blobs.open(config, bootstrap, source),
  close: ({ set }) => blobs.close(set),
  extractBootstrap: ({ source }) => blobs.extractBootstrap(source),
  backendMetrics: ({ set }) => blobs.backendMetrics(set),
  cacheMetrics: ({ sets }) => blobs.cacheMetrics(sets),
};

async function answer(id: number, call: StorageCall, ask: unknown): Promise<void> {
  try {
    post({ type: 'answer', id, answer: await calls[call](ask as never) });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    post({ type: 'refusal', id, code: code ?? 'STORAGE_DEFECT', message });
  }
}

function serve(worker: MessagePort): void {
  worker.on('message', ({ fetch, blob, chunks }: ChunkRequest) => {
    void blobs.fetch(blob, chunks).then(({ result, pieces }) => {
      const reply: ChunkAnswer = { fetch, result, pieces };
      worker.postMessage(reply);
    });
  });
}

port.on('message', (message: ToStorage) => {
  if (message.type === 'connect') serve(message.port);
  else void answer(message.id, message.call, message.ask);
});
