import { readSync } from 'node:fs';
import type { ReadSink } from '../../src/fuse/filesystem.ts';

/** Collects what a READ appends; remembers how, and parks like a FUSE server. */
export class CollectingSink implements ReadSink {
  supplied: Uint8Array | null = null;
  readonly parts: Buffer[] = [];
  /** `fd:offset+length` of each fromFile, `zeros+length` or `bytes+length` of each fromBytes. */
  readonly calls: string[] = [];
  /** Settles when the parked READ is resumed. */
  resumed: Promise<number> | null = null;

  relyOn(): void {}

  fromFile(fd: number, fileOffset: number, length: number): number {
    this.calls.push(`${fileOffset}+${length}`);
    const bytes = Buffer.alloc(length);
    const read = readSync(fd, bytes, 0, length, fileOffset);
    this.parts.push(bytes.subarray(0, read));
    return read;
  }

  fromBytes(bytes: Uint8Array, start: number, length: number): number {
    const part = Buffer.from(bytes.subarray(start, start + length));
    this.calls.push(`${part.every((byte) => byte === 0) ? 'zeros' : 'bytes'}+${length}`);
    this.parts.push(part);
    return length;
  }

  later(): (result: number, bytes?: Uint8Array) => void {
    const { promise, resolve } = Promise.withResolvers<number>();
    this.resumed = promise;
    return (result, bytes) => {
      this.supplied = bytes ?? null;
      resolve(result);
    };
  }

  get bytes(): Buffer {
    return Buffer.concat(this.parts);
  }
}
