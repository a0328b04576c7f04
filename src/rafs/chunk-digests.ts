import { ChunkRecordLayout, type DecodedChunk, decodeChunk } from '../wire/rafs/chunk.ts';
import type { Bootstrap } from './bootstrap.ts';

/**
 * The v6 chunk table by (blob, chunk): digests and CRCs for blobs without an inlined digest array. Built at first
 * use, 4 bytes a chunk. Rows of unknown blobs or chunks are ignored; a chunk without a row has none. A v5
 * bootstrap has no such table.
 */
export class ChunkDigests {
  readonly #bootstrap: Bootstrap;
  /** By blob: row number + 1 by chunk index; 0 = no row. */
  #rows: Uint32Array[] | null = null;

  constructor(bootstrap: Bootstrap) {
    this.#bootstrap = bootstrap;
  }

  /** The chunk's record with a copy of its digest, or null. */
  find(blobIndex: number, chunkIndex: number): DecodedChunk | null {
    if (this.#bootstrap.version === 5) return null;
    this.#rows ??= this.#build();
    const row = this.#rows[blobIndex]?.[chunkIndex] ?? 0;
    if (row === 0) return null;
    return decodeChunk(
      this.#bootstrap.view,
      this.#bootstrap.superblock.chunkTableOffset + (row - 1) * ChunkRecordLayout.size,
    );
  }

  #build(): Uint32Array[] {
    const { view, blobs } = this.#bootstrap;
    const rows = blobs.map((blob) => new Uint32Array(blob.chunkCount));
    if (this.#bootstrap.version === 5) return rows;
    const { chunkTableOffset, chunkTableSize } = this.#bootstrap.superblock;
    for (let row = 0; row < chunkTableSize / ChunkRecordLayout.size; row++) {
      const at = chunkTableOffset + row * ChunkRecordLayout.size;
      const ofBlob = rows[view.getUint32(at + ChunkRecordLayout.blobIndex, true)];
      const index = view.getUint32(at + ChunkRecordLayout.index, true);
      if (ofBlob !== undefined && index < ofBlob.length && ofBlob[index] === 0) ofBlob[index] = row + 1;
    }
    return rows;
  }
}
