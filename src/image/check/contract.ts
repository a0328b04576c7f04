import type { Codecs } from '../../blob/codecs.ts';
import type { BlobSource } from '../../blob/source.ts';
import type { BlobRow, Bootstrap } from '../../rafs/bootstrap.ts';
import type { BlobSpec } from '../../wire/rafs/blob-spec.ts';
import type { WalkEntry } from '../read/tree-walk.ts';
import type { Faults } from './faults.ts';

/** What each version has beyond what the reader checks. */
export interface TreeCheck {
  /** Adds what is wrong with an entry that the reader accepts. */
  entry(entry: WalkEntry): void;
  /**
   * By blob: offset of the record or table row of each chunk, by its key (the index; in images without indices
   * the uncompressed offset).
   */
  readonly chunks: readonly ReadonlyMap<number, number>[];
}

/** How far the check of the blobs is, in bytes as stored. */
export interface CheckProgress {
  bytes: number;
  bytesTotal: number;
}

/** What the check of the blobs works on. */
export interface BlobCheckOptions {
  readonly bootstrap: Bootstrap;
  readonly path: string;
  readonly source: BlobSource;
  readonly codecs: Codecs;
  /** By blob: offset of each chunk's record or table row, by key. */
  readonly chunks: readonly ReadonlyMap<number, number>[];
  readonly faults: Faults;
  readonly notes: string[];
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: CheckProgress) => void) | undefined;
}

/** One blob being checked. */
export interface CheckedBlob {
  readonly row: BlobRow;
  readonly spec: BlobSpec;
}
