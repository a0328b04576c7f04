import { randomBytes } from 'node:crypto';
import fs, { closeSync, mkdirSync, openSync, renameSync, rmSync, statSync, writeSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import type { HashHandle } from '../../native/hash.ts';
import { addon, SystemError } from '../../native/index.ts';
import { ImageError, reason } from '../model/error.ts';

/** Where a finished file goes: a directory (named by its content) or a path. */
export type Destination =
  | { readonly kind: 'directory'; readonly path: string }
  | { readonly kind: 'file'; readonly path: string };

/** What `append` collects before it is hashed and written on pool threads: little enough for their caches. */
const SLAB_BYTES = 1 << 20;
/** Slabs that may wait for the disk while the next one is filled. */
const FLIGHTS_MAX = 4;
const DIGEST_BYTES = 32;
const write = promisify(fs.write);

/**
 * A file that appears under its name only when it is complete. Bytes go to a hidden neighbour, are hashed as they pass,
 * and `finish` renames. A destination that is a pipe or a device is written straight through.
 *
 * `append` leaves hashing and writing to pool threads; what came by it must be flushed before anything else is asked of the file.
 */
export class OutputFile {
  readonly #destination: Destination;
  /** Where the bytes will begin in a larger object; 0: they are the object. */
  readonly base: number;
  /** Null: written straight through, or named already. */
  #temporary: string | null;
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
      const suffix = randomBytes(6).toString('hex');
      // The label may be as long as a name can be; the hidden name must not be longer.
      this.#temporary = stream ? null : join(directory, `.${label.slice(0, 32)}.${suffix}.tmp`);
      this.#fd = openSync(this.#temporary ?? destination.path, this.#temporary === null ? 'w' : 'wx', 0o644);
    } catch (cause) {
      throw new ImageError('IMAGE_WRITE', `${destination.path}: ${reason(cause)}`, { cause });
    }
  }

  /** `base` and the bytes written so far: where the next byte will be. */
  get size(): number {
    return this.#size;
  }

  /** Appends a copy of `bytes`. A promise when the file is slower than its bytes come: await it. It may reject with an earlier failure. */
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
      throw new ImageError('IMAGE_WRITE', `${this.#destination.path}: ${reason(cause)}`, { cause });
    }
    this.#size += bytes.length;
  }

  /** Closes and moves the file to its name: in a directory that is `name`, or its SHA-256. */
  finish(name?: string): { readonly digest: string; readonly path: string } {
    const digest = this.digestSoFar().toString('hex');
    const { kind, path } = this.#destination;
    const final = kind === 'directory' ? join(path, name ?? digest) : path;
    try {
      this.#close();
      if (this.#temporary !== null) renameSync(this.#temporary, final);
      this.#temporary = null;
    } catch (cause) {
      throw new ImageError('IMAGE_WRITE', `${final}: ${reason(cause)}`, { cause });
    }
    return { digest, path: final };
  }

  /** Closes and removes what was written. Harmless after `finish`. */
  discard(): void {
    if (this.#open) this.#close();
    if (this.#temporary !== null) rmSync(this.#temporary, { force: true });
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
    if (!this.#open) closeSync(this.#fd);
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
      for (let done = 0; done < bytes.length; ) done += (await write(this.#fd, bytes, done)).bytesWritten;
    } catch (cause) {
      throw new ImageError('IMAGE_WRITE', `${this.#destination.path}: ${reason(cause)}`, { cause });
    }
  }

  /** A pool thread writes. */
  #busy = false;

  /** The descriptor outlives a write that cannot be called back. */
  #close(): void {
    this.#open = false;
    if (!this.#busy) closeSync(this.#fd);
  }
}

function isStream(path: string): boolean {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats?.isDirectory()) throw new Error('is a directory');
  return stats !== undefined && !stats.isFile();
}
