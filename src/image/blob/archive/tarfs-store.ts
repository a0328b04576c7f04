import type { Turns } from '../../../lib/turns.ts';
import { CHUNK_INDEX_MAX, type StoredChunk, tarfsChunk } from '../../model/chunk.ts';
import { ImageError } from '../../model/error.ts';
import type { ImageNode } from '../../model/node.ts';
import type { ArchiveSource } from '../../source/archive/plain-source.ts';
import type { FileStore, FileStream } from '../../source/tree-source.ts';
import { checkStored } from './ref-store.ts';

/** Blocks of 512 bytes have numbers of 32 bits. */
const ARCHIVE_MAX = 2 ** 41;

/** Chunks of a tar that is the image's data as it is: a chunk's uncompressed place is its place in the tar. */
export class TarfsStore implements FileStore {
  readonly #source: ArchiveSource;
  readonly #chunkSize: number;
  readonly #turns: Turns;
  readonly #onChunk: ((bytes: number) => void) | undefined;
  readonly #scratch: Buffer;
  readonly chunks: StoredChunk[] = [];

  constructor(source: ArchiveSource, chunkSize: number, turns: Turns, onChunk?: (bytes: number) => void) {
    this.#source = source;
    this.#chunkSize = chunkSize;
    this.#turns = turns;
    this.#onChunk = onChunk;
    this.#scratch = Buffer.allocUnsafeSlow(chunkSize);
  }

  async addStream(node: ImageNode, stream: FileStream): Promise<void> {
    const chunks: StoredChunk[] = [];
    for (let offset = 0; offset < node.size; offset += this.#chunkSize) {
      const bytes = this.#scratch.subarray(0, Math.min(this.#chunkSize, node.size - offset));
      const start = this.#source.position;
      await stream.read(bytes);
      checkStored(this.#source, start, bytes.length, node);
      chunks.push(this.#chunk(start, bytes.length, node));
      this.#onChunk?.(bytes.length);
      const turn = this.#turns.next();
      if (turn !== undefined) await turn;
    }
    node.chunks = chunks;
  }

  #chunk(offset: number, size: number, node: ImageNode): StoredChunk {
    const index = this.chunks.length;
    const rule =
      index > CHUNK_INDEX_MAX
        ? `chunk ${CHUNK_INDEX_MAX + 2}: use a larger --chunk-size`
        : offset + size > ARCHIVE_MAX
          ? 'data behind the first 2 TiB of the archive'
          : null;
    if (rule !== null)
      throw new ImageError('IMAGE_TOO_LARGE', `${this.#source.name}: ${node.sourcePath}: ${rule}`);
    const chunk = tarfsChunk(0, index, offset, size);
    this.chunks.push(chunk);
    return chunk;
  }
}
