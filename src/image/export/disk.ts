import { randomBytes } from 'node:crypto';
import { realpathSync, statSync } from 'node:fs';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { ImageError, reason } from '../model/error.ts';

/** Zeros of this size and alignment become holes. */
const HOLE_BYTES = 4096;
/** Node takes less than 2 GiB at a time; a bootstrap may be larger. */
const WRITE_BYTES_MAX = 1 << 30;
const ZEROS = Buffer.alloc(1 << 20);

/**
 * A disk image being written: a file, which appears under its name only when it is complete and in which zeros are holes, or a block device,
 * to which everything is written. Rejects with ImageError IMAGE_WRITE.
 */
export class DiskOutput {
  readonly #path: string;
  /** Null: a device. */
  readonly #temporary: string | null;
  readonly file: FileHandle;
  #open = true;
  /** All before it is written; on a device, what lies between is filled with zeros. */
  #end = 0;

  private constructor(path: string, temporary: string | null, file: FileHandle) {
    this.#path = path;
    this.#temporary = temporary;
    this.file = file;
  }

  /** `size` in bytes. */
  static async open(path: string, size: number): Promise<DiskOutput> {
    try {
      const stats = statSync(path, { throwIfNoEntry: false });
      if (stats?.isDirectory()) throw new Error('is a directory');
      if (stats?.isBlockDevice()) return new DiskOutput(path, null, await open(path, 'r+'));
      if (stats !== undefined && !stats.isFile())
        throw new Error('a disk image is not written in order: give a file or a block device');
      const target = stats === undefined ? resolve(path) : realpathSync(path);
      const label = basename(target).slice(0, 32);
      const temporary = join(dirname(target), `.${label}.${randomBytes(6).toString('hex')}.tmp`);
      const disk = new DiskOutput(target, temporary, await open(temporary, 'wx+', 0o644));
      await disk.#resize(size);
      return disk;
    } catch (cause) {
      throw new ImageError('IMAGE_WRITE', `${path}: ${reason(cause)}`, { cause });
    }
  }

  async #resize(size: number): Promise<void> {
    try {
      await this.file.truncate(size);
    } catch (cause) {
      await this.discard();
      throw cause;
    }
  }

  /** Writes `bytes` at `offset`. */
  async write(bytes: Uint8Array, offset: number): Promise<void> {
    try {
      await this.fill(offset);
      if (this.#temporary === null) await this.#writeAll(bytes, offset);
      else
        for (const [from, to] of dataRuns(bytes))
          await this.#writeAll(bytes.subarray(from, to), offset + from);
      this.#end = Math.max(this.#end, offset + bytes.length);
    } catch (cause) {
      throw this.#failure(cause);
    }
  }

  /** What has not been written before `offset` is zeros. */
  async fill(offset: number): Promise<void> {
    if (this.#temporary === null) {
      for (let at = this.#end; at < offset; at += ZEROS.length)
        await this.#writeAll(ZEROS.subarray(0, Math.min(ZEROS.length, offset - at)), at);
    }
    this.#end = Math.max(this.#end, offset);
  }

  /** Gives the file its name. */
  async finish(): Promise<void> {
    this.#open = false;
    try {
      await this.file.close();
      if (this.#temporary !== null) await rename(this.#temporary, this.#path);
    } catch (cause) {
      throw this.#failure(cause);
    }
  }

  /** Removes what was written. */
  async discard(): Promise<void> {
    if (this.#open) await this.file.close().catch(() => {});
    this.#open = false;
    if (this.#temporary !== null) await rm(this.#temporary, { force: true });
  }

  async #writeAll(bytes: Uint8Array, offset: number): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      const size = Math.min(bytes.length - done, WRITE_BYTES_MAX);
      const { bytesWritten } = await this.file.write(bytes, done, size, offset + done);
      done += bytesWritten;
    }
  }

  #failure(cause: unknown): ImageError {
    if (cause instanceof ImageError) return cause;
    return new ImageError('IMAGE_WRITE', `${this.#path}: ${reason(cause)}`, { cause });
  }
}

/** Parts of `bytes` between blocks of zeros. */
function* dataRuns(bytes: Uint8Array): Generator<[from: number, to: number]> {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  let from = -1;
  for (let at = 0; at < buffer.length; at += HOLE_BYTES) {
    const end = Math.min(at + HOLE_BYTES, buffer.length);
    const isZero = buffer.compare(ZEROS, 0, end - at, at, end) === 0;
    if (!isZero && from < 0) from = at;
    if (isZero && from >= 0) {
      yield [from, at];
      from = -1;
    }
  }
  if (from >= 0) yield [from, buffer.length];
}
