import fs, { realpathSync, statSync } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import { promisify } from 'node:util';
import { PrivateFile } from '../../lib/file/replace.ts';
import { writeAll } from '../../lib/file/write.ts';
import { writeFailure } from '../model/error.ts';

const open = promisify(fs.open);
const close = promisify(fs.close);
const truncate = promisify(fs.ftruncate);

/** Zeros of this size and alignment become holes. */
const HOLE_BYTES = 4096;
const ZEROS = Buffer.alloc(1 << 20);

/**
 * A disk image being written: a file, which appears under its name only when it is complete and in which zeros are
 * holes, or a block device, to which everything is written. Rejects with ImageError IMAGE_WRITE.
 */
export class DiskOutput {
  readonly #path: string;
  /** Null: a device. */
  readonly #file: PrivateFile | null;
  /** To read and write. */
  readonly fd: number;
  #open = true;
  /** All before it is written; on a device, what lies between is filled with zeros. */
  #end = 0;

  private constructor(path: string, fd: number, file: PrivateFile | null) {
    this.#path = path;
    this.fd = fd;
    this.#file = file;
  }

  /** `size` in bytes. */
  static async open(path: string, size: number): Promise<DiskOutput> {
    try {
      const stats = statSync(path, { throwIfNoEntry: false });
      if (stats?.isDirectory()) throw new Error('is a directory');
      if (stats?.isBlockDevice()) return new DiskOutput(path, await open(path, 'r+'), null);
      if (stats !== undefined && !stats.isFile())
        throw new Error('a disk image is not written in order: give a file or a block device');
      const target = stats === undefined ? resolve(path) : realpathSync(path);
      const file = await PrivateFile.create(dirname(target), basename(target));
      const disk = new DiskOutput(target, file.fd, file);
      await disk.#resize(size);
      return disk;
    } catch (cause) {
      throw writeFailure(path, cause);
    }
  }

  async #resize(size: number): Promise<void> {
    try {
      await truncate(this.fd, size);
    } catch (cause) {
      await this.discard();
      throw cause;
    }
  }

  /** Writes `bytes` at `offset`. */
  async write(bytes: Uint8Array, offset: number): Promise<void> {
    try {
      await this.fill(offset);
      if (this.#file === null) await writeAll(this.fd, bytes, offset);
      else
        for (const [from, to] of dataRuns(bytes))
          await writeAll(this.fd, bytes.subarray(from, to), offset + from);
      this.#end = Math.max(this.#end, offset + bytes.length);
    } catch (cause) {
      throw writeFailure(this.#path, cause);
    }
  }

  /** What has not been written before `offset` is zeros. */
  async fill(offset: number): Promise<void> {
    if (this.#file === null) {
      for (let at = this.#end; at < offset; at += ZEROS.length)
        await writeAll(this.fd, ZEROS.subarray(0, Math.min(ZEROS.length, offset - at)), at);
    }
    this.#end = Math.max(this.#end, offset);
  }

  /** Gives the file its name. */
  async finish(): Promise<void> {
    this.#open = false;
    try {
      if (this.#file === null) await close(this.fd);
      else await this.#file.moveTo(this.#path);
    } catch (cause) {
      throw writeFailure(this.#path, cause);
    }
  }

  /** Removes what was written. */
  async discard(): Promise<void> {
    if (this.#file === null && this.#open) await close(this.fd).catch(() => {});
    this.#open = false;
    this.#file?.discard();
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
