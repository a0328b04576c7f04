/** What mounting needs of blob storage; implemented over the rooms `blob` and `source`. */
import type { BlobView, ChunkRef } from '../../../blob/view.ts';
import type { Config } from '../../../config/config.ts';
import type { Bootstrap } from '../../../rafs/bootstrap.ts';

/** The blobs of one mount, in the order of the bootstrap's blob table. */
export interface OpenBlobs {
  readonly views: readonly BlobView[];
  /** GET /api/v1/metrics/backend. */
  backendMetrics(): unknown;
  /** Only when no worker uses the views any more. */
  close(): Promise<void>;
}

/** What the table of mounts and the workers ask of storage. */
export interface BlobStorage {
  /** Opens all blobs of `bootstrap`; `source` is the mounted file, whose name stands in for an inlined blob's id. */
  open(config: Config, bootstrap: Bootstrap, source: string): Promise<OpenBlobs>;
  /** The bootstrap at the end of the blob file `source`. Rejects when there is none. */
  extractBootstrap(source: string): Promise<Uint8Array>;
  /** GET /api/v1/metrics/blobcache over the blobs of these mounts, shared ones once; undefined when none of them has a cache. */
  cacheMetrics(of: readonly OpenBlobs[]): unknown;
  fetch(
    blob: number,
    chunks: readonly ChunkRef[],
    done: (result: number, pieces: readonly Uint8Array[] | null) => void,
  ): void;
}
