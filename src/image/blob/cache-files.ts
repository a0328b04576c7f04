import { ChunkInfoHeader } from '../../wire/blob-meta.ts';
import { chunkMapBytes, encodeChunkMapHeader } from '../../wire/chunk-map.ts';
import type { StoredChunk } from '../model/chunk.ts';
import { OutputFile } from './output-file.ts';

const ALL_READY = 0xff;

/**
 * The cache files of a blob as nydusd leaves them once it has fetched all of it, made by a build instead of the blob:
 * `ID.blob.data` (the uncompressed image), `ID.blob.meta` (v6: the chunk info) and `ID.blob.data.chunk_map` (every
 * chunk is there). The original makes the first two (builder/src/core/context.rs, BlobCacheGenerator); without the
 * third nydusd would ask for the blob.
 */
export class CacheFiles {
  readonly #directory: string;
  readonly #data: OutputFile;
  #meta: OutputFile | null = null;
  #map: OutputFile | null = null;

  constructor(directory: string) {
    this.#directory = directory;
    this.#data = this.#newFile();
  }

  /** Takes the next chunk of the blob. */
  addChunk(chunk: StoredChunk, bytes: Buffer): void {
    this.#fillTo(chunk.uncompressedOffset);
    this.#data.write(bytes);
  }

  /** Takes the uncompressed chunk info and its header. */
  addChunkInfo(bytes: Buffer, header: Uint8Array): void {
    const padding = Math.ceil(bytes.length / ChunkInfoHeader.size) * ChunkInfoHeader.size - bytes.length;
    this.#meta = this.#newFile();
    for (const part of [bytes, Buffer.alloc(padding), header]) this.#meta.write(part);
  }

  /** Ends the files; they have no names yet. */
  seal(uncompressedSize: number, chunkCount: number): void {
    this.#fillTo(uncompressedSize);
    this.#map = this.#newFile();
    this.#map.write(encodeChunkMapHeader(true));
    this.#map.write(Buffer.alloc(chunkMapBytes(chunkCount), ALL_READY));
  }

  /** Names the files after the blob, the map last: it vouches for the data. */
  finish(id: string): void {
    this.#data.finish(`${id}.blob.data`);
    this.#meta?.finish(`${id}.blob.meta`);
    this.#map?.finish(`${id}.blob.data.chunk_map`);
  }

  /** Removes what has no name yet. */
  discard(): void {
    for (const file of [this.#data, this.#meta, this.#map]) file?.discard();
  }

  #newFile(): OutputFile {
    return new OutputFile({ kind: 'directory', path: this.#directory });
  }

  #fillTo(offset: number): void {
    if (offset > this.#data.size) this.#data.write(Buffer.alloc(offset - this.#data.size));
  }
}
