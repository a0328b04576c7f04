import { type BlobSource, SourceError } from '../../src/blob/source.ts';

/** Blobs in memory. */
export class MemorySource implements BlobSource {
  readonly kind = 'memory';
  readonly place: string;
  readonly #blobs: ReadonlyMap<string, Uint8Array>;

  constructor(blobs: ReadonlyMap<string, Uint8Array>, place = 'memory') {
    this.place = place;
    this.#blobs = blobs;
  }

  async size(objectId: string): Promise<number> {
    return this.#bytes(objectId).length;
  }

  async read(objectId: string, offset: number, into: Uint8Array): Promise<void> {
    const bytes = this.#bytes(objectId);
    if (!(offset >= 0 && offset + into.length <= bytes.length))
      throw new SourceError('SOURCE_SHORT_READ', `blob ${objectId}: ${into.length} bytes at ${offset}`);
    into.set(bytes.subarray(offset, offset + into.length));
  }

  async openLocal(): Promise<number | null> {
    return null;
  }

  async close(): Promise<void> {}

  #bytes(objectId: string): Uint8Array {
    const bytes = this.#blobs.get(objectId);
    if (bytes === undefined) throw new SourceError('SOURCE_NOT_FOUND', `blob ${objectId}: there is none`);
    return bytes;
  }
}
