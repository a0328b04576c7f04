/**
 * What mounting needs of blob storage; the control thread has it from `client.ts`, whose calls the storage thread
 * answers.
 */
import type { MessagePort } from 'node:worker_threads';
import type { BlobView } from '../../../blob/view.ts';
import type { Config } from '../../../config/config.ts';
import { CodedError } from '../../../lib/coded-error.ts';

/** A sealed bootstrap in memory. */
export interface BootstrapMemory {
  readonly fd: number;
  /** Bytes. */
  readonly size: number;
}

/** The blobs of one mount, in the order of the bootstrap's blob table. */
export interface OpenBlobs {
  readonly views: readonly BlobView[];
  /** GET /api/v1/metrics/backend. */
  backendMetrics(): Promise<unknown>;
  /** Only when no worker uses the views any more. */
  close(): Promise<void>;
}

/** What the table of mounts and the workers ask of storage. Rejections are StorageErrors. */
export interface BlobStorage {
  /** Opens all blobs of the bootstrap; `source` is the mounted file, whose name stands in for an inlined blob's id. */
  open(config: Config, bootstrap: BootstrapMemory, source: string): Promise<OpenBlobs>;
  /** The bootstrap at the end of the blob file `source`. Rejects when there is none. */
  extractBootstrap(source: string): Promise<Uint8Array>;
  /**
   * GET /api/v1/metrics/blobcache over the blobs of these mounts, shared ones once; undefined when none of them has a
   * cache.
   */
  cacheMetrics(of: readonly OpenBlobs[]): Promise<unknown>;
  /** A queue worker sends its ChunkRequests over the other end of the port. */
  connect(port: MessagePort): void;
}

/** Storage refused: code and message are those of the room that did (BLOB_…, SOURCE_…, RAFS_…, a system call's). */
export class StorageError extends CodedError<string> {}
