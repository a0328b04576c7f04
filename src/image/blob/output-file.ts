import { closeSync, mkdirSync, openSync, statSync, writeSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { DIGEST_BYTES } from '../../lib/content-hash.ts';
import { PrivateFile } from '../../lib/file/replace.ts';
import { writeAll } from '../../lib/file/write.ts';
import type { HashHandle } from '../../native/hash.ts';
import { addon, SystemError } from '../../native/index.ts';
import { ImageError, writeFailure } from '../model/error.ts';

/** Where a finished file goes: a directory (named by its content) or a path. */
export type Destination =
  | { readonly kind: 'directory'; readonly path: string }
  | { readonly kind: 'file'; readonly path: string };

/** What `append` collects before it is hashed and written on pool threads: little enough for their caches. */
const SLAB_BYTES = 1 << 20;
/** Slabs that may wait for the disk while the next one is filled. */
const FLIGHTS_MAX = 4;

/**
 * A file that appears under its name only when it is complete. Bytes go to a hidden neighbour, are hashed as they pass,
 * and `finish` renames. A destination that is a pipe or a device is written straight through.
 *
 * `append` leaves hashing and writing to pool threads; what came by it must be flushed before anything
 * else is asked of the file.
 */
export class OutputFile {
  readonly #destination: Destination;
  /** Where the bytes will begin in a larger object; 0: they are the object. */
  readonly base: number;
  /** Null: written straight through. */
  readonly #file: PrivateFile | null;
  readonly #fd: number;
  readonly #hash: HashHandle;
  #size: number;
  #open = true;
  /** Appended bytes that are not on their way yet. */
  #slab: Buffer | null = null;
  #used = 0;
  readonly #spare: Buffer[] = [];
  /** Slabs on their way, one behind the other, oldest first. */
  readonly #flights: Promise<void>[] = [];

  constructor(destination: Destination, base = 0) {
    this.#destination = destination;
    this.base = base;
    this.#size = base;
    const hash = addon.hashCreate();
    if (typeof hash === 'number') throw new SystemError(hash, 'sha256');
    this.#hash = hash;
    try {
      const stream = destination.kind === 'file' && isStream(destination.path);
      const directory = destination.kind === 'file' ? dirname(destination.path) : destination.path;
      if (destination.kind === 'directory') mkdirSync(directory, { recursive: true });
      const label = destination.kind === 'file' ? basename(destination.path) : 'blob';
      this.#file = stream ? null : PrivateFile.createSync(directory, label);
      this.#fd = this.#file?.fd ?? openSync(destination.path, 'w', 0o644);
    } catch (cause) {
      throw writeFailure(destination.path, cause);
    }
  }

  /** `base` and the bytes written so far: where the next byte will be. */
  get size(): number {
    return this.#size;
  }

  /**
   * Appends a copy of `bytes`. A promise when the file is slower than its bytes come: await it. It may
   * reject with an earlier failure.
   */
  append(bytes: Uint8Array): Promise<void> | undefined {
    this.#size += bytes.length;
    this.#slab ??= Buffer.allocUnsafeSlow(SLAB_BYTES);
    if (this.#used + bytes.length > SLAB_BYTES) return this.#appendInParts(bytes);
    this.#slab.set(bytes, this.#used);
    this.#used += bytes.length;
    return undefined;
  }

  /** Resolves when all that was appended is in the file. */
  async flush(): Promise<void> {
    await this.#ship();
    await this.#flights.at(-1);
    this.#slab = null;
    this.#spare.length = 0;
  }

  /** Writes all of `bytes`. */
  write(bytes: Uint8Array): void {
    this.writeUnhashed(bytes);
    const result = addon.hashUpdate(this.#hash, bytes);
    if (result < 0) throw new SystemError(result, 'sha256');
  }

  /** SHA-256 of what has been written. */
  digestSoFar(): Buffer {
    this.#checkFlushed();
    const digest = Buffer.alloc(DIGEST_BYTES);
    const result = addon.hashDigest(this.#hash, digest);
    if (result < 0) throw new SystemError(result, 'sha256');
    return digest;
  }

  /** Appends bytes on which the name does not depend. */
  writeUnhashed(bytes: Uint8Array): void {
    this.#checkFlushed();
    try {
      for (let done = 0; done < bytes.length; ) done += writeSync(this.#fd, bytes, done);
    } catch (cause) {
      throw writeFailure(this.#destination.path, cause);
    }
    this.#size += bytes.length;
  }

  /** Closes and moves the file to its name: in a directory that is `name`, or its SHA-256. */
  finish(name?: string): { readonly digest: string; readonly path: string } {
    const digest = this.digestSoFar().toString('hex');
    const { kind, path } = this.#destination;
    const final = kind === 'directory' ? join(path, name ?? digest) : path;
    try {
      if (this.#file === null) this.#close();
      else this.#file.moveToSync(final);
      this.#open = false;
    } catch (cause) {
      throw writeFailure(final, cause);
    }
    return { digest, path: final };
  }

  /** Closes and removes what was written. Harmless after `finish`. */
  discard(): void {
    if (this.#open) this.#close();
    this.#file?.remove();
  }

  #checkFlushed(): void {
    if (this.#used > 0 || this.#flights.length > 0) throw new Error('flush what was appended first');
  }

  async #appendInParts(bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      const part = bytes.subarray(done, done + SLAB_BYTES - this.#used);
      this.#slab!.set(part, this.#used);
      this.#used += part.length;
      done += part.length;
      if (this.#used === SLAB_BYTES) await this.#ship();
    }
  }

  /** Sends the slab to pool threads, behind those before it. Waits when there are many. */
  async #ship(): Promise<void> {
    if (this.#used === 0) return;
    const slab = this.#slab!;
    const bytes = slab.subarray(0, this.#used);
    const flight: Promise<void> = (this.#flights.at(-1) ?? Promise.resolve()).then(async () => {
      await this.#fly(bytes);
      this.#spare.push(slab);
      this.#flights.shift();
    });
    // Awaited later; without this a failure before then would be reported as unhandled.
    flight.catch(() => {});
    this.#flights.push(flight);
    this.#used = 0;
    while (this.#flights.length > FLIGHTS_MAX) await this.#flights[0];
    this.#slab = this.#spare.pop() ?? Buffer.allocUnsafeSlow(SLAB_BYTES);
  }

  /** Hashes and writes at the same time. */
  async #fly(bytes: Buffer): Promise<void> {
    if (!this.#open) throw new ImageError('IMAGE_ABORTED', `${this.#destination.path}: given up`);
    this.#busy = true;
    const both = await Promise.allSettled([this.#hashOnPool(bytes), this.#writeOnPool(bytes)]);
    this.#busy = false;
    if (!this.#open) this.#closeDescriptor();
    for (const one of both) if (one.status === 'rejected') throw one.reason;
  }

  #hashOnPool(bytes: Buffer): Promise<void> {
    return new Promise((resolve, reject) => {
      const done = (result: number): void =>
        result === 0 ? resolve() : reject(new SystemError(result, 'sha256'));
      const started = addon.hashUpdateAsync(this.#hash, bytes, done);
      if (started < 0) done(started);
    });
  }

  async #writeOnPool(bytes: Buffer): Promise<void> {
    try {
      await writeAll(this.#fd, bytes);
    } catch (cause) {
      throw writeFailure(this.#destination.path, cause);
    }
  }

  /** A pool thread writes. */
  #busy = false;

  /** The descriptor outlives a write that cannot be called back. */
  #close(): void {
    this.#open = false;
    if (!this.#busy) this.#closeDescriptor();
  }

  #closeDescriptor(): void {
    if (this.#file === null) closeSync(this.#fd);
    else this.#file.close();
  }
}

/**
 * Writes a file that appears whole or not at all; its absolute path. `beforeName` runs when all of it is
 * written. Throws ImageError.
 */
export function writeOutput(destination: Destination, bytes: Uint8Array, beforeName?: () => void): string {
  const out = new OutputFile(destination);
  try {
    out.write(bytes);
    beforeName?.();
    return resolve(out.finish().path);
  } finally {
    out.discard();
  }
}

function isStream(path: string): boolean {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats?.isDirectory()) throw new Error('is a directory');
  return stats !== undefined && !stats.isFile();
}
