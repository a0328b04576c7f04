import { type BlobSource, impatient, type ReadOptions, UNHURRIED } from '../../src/blob/source.ts';
import { gaveUp } from '../../src/lib/deadline.ts';
import { MemorySource } from './memory-source.ts';

/** A read that waits for the test. */
export interface HeldRead {
  readonly offset: number;
  readonly size: number;
  readonly options: ReadOptions;
  /** Gives the first `filled` bytes and tells of them. */
  give(filled: number): void;
  /** Gives what is left and ends the read. */
  finish(): void;
  fail(error: Error): void;
}

/** Blobs in memory behind a back end that answers when the test says so, like one that hangs until then. */
export class HeldSource implements BlobSource {
  readonly kind = 'held';
  readonly place: string;
  /** Reads that have begun and not ended, in order. */
  readonly reads: HeldRead[] = [];
  readonly #blobs: MemorySource;

  constructor(blobs: ReadonlyMap<string, Uint8Array>, place: string) {
    this.#blobs = new MemorySource(blobs);
    this.place = place;
  }

  size(objectId: string): Promise<number> {
    return this.#blobs.size(objectId);
  }

  /** Like a system call, a read that hangs does so whatever its caller thinks of it. */
  async read(
    objectId: string,
    offset: number,
    into: Uint8Array,
    options: ReadOptions = UNHURRIED,
  ): Promise<void> {
    const why = gaveUp(options);
    if (why !== null) throw impatient(`blob ${objectId}`)(why);
    const bytes = Buffer.alloc(into.length);
    await this.#blobs.read(objectId, offset, bytes);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const give = (filled: number) => {
      into.set(bytes.subarray(0, filled));
      options.onBytes?.(filled);
    };
    const leave = () => this.reads.splice(this.reads.indexOf(read), 1);
    const read: HeldRead = {
      offset,
      size: into.length,
      options,
      give,
      finish: () => {
        leave();
        give(bytes.length);
        resolve();
      },
      fail: (error) => {
        leave();
        reject(error);
      },
    };
    this.reads.push(read);
    return promise;
  }

  async openLocal(): Promise<number | null> {
    return null;
  }

  async close(): Promise<void> {}
}
