import { createHash, randomBytes } from 'node:crypto';
import { closeSync, mkdirSync, openSync, renameSync, rmSync, statSync, writeSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { ImageError, reason } from './error.ts';

/** Where a finished file goes: a directory (named by its content) or a path. */
export type Destination =
  | { readonly kind: 'directory'; readonly path: string }
  | { readonly kind: 'file'; readonly path: string };

/**
 * A file that appears under its name only when it is complete. Bytes go to a hidden neighbour, are hashed as they pass,
 * and `finish` renames. A destination that is a pipe or a device is written straight through.
 */
export class OutputFile {
  readonly #destination: Destination;
  /** Where the bytes will begin in a larger object; 0: they are the object. */
  readonly base: number;
  /** Null: written straight through, or named already. */
  #temporary: string | null;
  readonly #fd: number;
  readonly #hash = createHash('sha256');
  #size: number;
  #open = true;

  constructor(destination: Destination, base = 0) {
    this.#destination = destination;
    this.base = base;
    this.#size = base;
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

  /** Appends all of `bytes`. */
  write(bytes: Uint8Array): void {
    this.writeUnhashed(bytes);
    this.#hash.update(bytes);
  }

  /** SHA-256 of what has been written. */
  digestSoFar(): Buffer {
    return this.#hash.copy().digest();
  }

  /** Appends bytes on which the name does not depend. */
  writeUnhashed(bytes: Uint8Array): void {
    try {
      for (let done = 0; done < bytes.length; ) done += writeSync(this.#fd, bytes, done);
    } catch (cause) {
      throw new ImageError('IMAGE_WRITE', `${this.#destination.path}: ${reason(cause)}`, { cause });
    }
    this.#size += bytes.length;
  }

  /** Closes and moves the file to its name: in a directory that is `name`, or its SHA-256. */
  finish(name?: string): { readonly digest: string; readonly path: string } {
    const digest = this.#hash.digest('hex');
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

  #close(): void {
    this.#open = false;
    closeSync(this.#fd);
  }
}

function isStream(path: string): boolean {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats?.isDirectory()) throw new Error('is a directory');
  return stats !== undefined && !stats.isFile();
}
