/** What control thread and storage thread say to each other: plain data, structured-cloneable. */
import type { MessagePort } from 'node:worker_threads';
import type { BlobView } from '../../../blob/view.ts';
import type { Config } from '../../../config/config.ts';
import type { BootstrapMemory } from './storage.ts';

/** Questions by name, with their answers. A set is the blobs of one mount. */
export interface StorageCalls {
  open: {
    ask: { readonly config: Config; readonly bootstrap: BootstrapMemory; readonly source: string };
    answer: { readonly set: number; readonly views: readonly BlobView[] };
  };
  close: { ask: { readonly set: number }; answer: null };
  extractBootstrap: { ask: { readonly source: string }; answer: Uint8Array };
  backendMetrics: { ask: { readonly set: number }; answer: unknown };
  cacheMetrics: { ask: { readonly sets: readonly number[] }; answer: unknown };
}

export type StorageCall = keyof StorageCalls;

/** Control thread → storage thread. */
export type ToStorage =
  | { type: 'ask'; id: number; call: StorageCall; ask: unknown }
  | { type: 'connect'; port: MessagePort };

/** Storage thread → control thread. */
export type FromStorage =
  | { type: 'answer'; id: number; answer: unknown }
  | { type: 'refusal'; id: number; code: string; message: string }
  | { type: 'log'; level: 'warn' | 'error'; fields: Record<string, unknown>; message: string };
