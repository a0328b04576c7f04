import type { StoredChunk } from '../model/chunk.ts';

/** Chunks that other blobs hold already, and the blob table which a build that refers to them gets. */
export interface EarlierChunks {
  /** The chunk of that digest and size; its blob gets its place in the blob table now, if it has none. */
  find(digest: Buffer, size: number): StoredChunk | undefined;
  /** Place in the blob table of the blob that is being built: the next one when its first chunk is stored. */
  ownIndex(): number;
}
