import type { BlobSource } from '../../blob/source.ts';
import { checkBlob } from '../../wire/blob-error.ts';

/** Bytes read at once when chunks are read in the order in which they are stored. */
const WINDOW_BYTES = 1 << 20;

/**
 * Reads pieces of one object. Pieces that follow each other closely come out of one read of the back end; others are
 * read as they are asked for.
 */
export class ReadWindow {
  readonly #source: BlobSource;
  readonly #objectId: string;
  readonly #limit: number;
  #start = 0;
  #end = 0;
  #bytes: Promise<Buffer> = Promise.resolve(Buffer.alloc(0));

  /** Nothing at or behind `limit` is read. */
  constructor(source: BlobSource, objectId: string, limit: number) {
    this.#source = source;
    this.#objectId = objectId;
    this.#limit = limit;
  }

  /** The `size` bytes at `start`; they may share memory with others. Rejects with SourceError or BlobError. */
  async read(start: number, size: number): Promise<Uint8Array> {
    const end = start + size;
    const rule = `at most ${this.#limit}, the end of its data`;
    checkBlob(end <= this.#limit, 'BLOB_BAD_CHUNK', `blob ${this.#objectId} offset+size`, end, rule);
    if (start < this.#start || end > this.#end) this.#move(start, end);
    const at = start - this.#start;
    return (await this.#bytes).subarray(at, at + size);
  }

  #move(start: number, end: number): void {
    const isNext = start >= this.#start && start <= this.#end + WINDOW_BYTES;
    this.#start = start;
    this.#end = isNext ? Math.min(Math.max(end, start + WINDOW_BYTES), this.#limit) : end;
    const bytes = Buffer.allocUnsafeSlow(this.#end - start);
    this.#bytes = this.#source.read(this.#objectId, start, bytes).then(() => bytes);
  }
}
