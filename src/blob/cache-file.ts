import { closeSync, constants, fstatSync, ftruncateSync, openSync, read } from 'node:fs';
import { promisify } from 'node:util';
import { writeAll } from '../lib/file/write.ts';
import { BlobError } from '../wire/blob-error.ts';

const readFd = promisify(read);

/** A sparse file of a blob's bytes. Reads and writes run on pool threads. */
export class CacheFile {
  readonly fd: number;
  readonly path: string;

  private constructor(fd: number, path: string) {
    this.fd = fd;
    this.path = path;
  }

  /**
   * Opens or creates `path` with `size` bytes; a smaller file is extended. A larger one belongs to another blob:
   * BlobError BLOB_CACHE_SIZE. `size` null: the size is not known, the file grows as it is written.
   */
  static open(path: string, size: number | null): CacheFile {
    const fd = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o644);
    try {
      const found = fstatSync(fd);
      if (!found.isFile()) throw new BlobError('BLOB_CACHE_SIZE', `cache file ${path} is not a regular file`);
      if (size !== null && found.size > size) {
        const rule = `the blob has ${size}; remove it or use another work_dir`;
        throw new BlobError('BLOB_CACHE_SIZE', `cache file ${path} has ${found.size} bytes, ${rule}`);
      }
      if (size !== null && found.size < size) ftruncateSync(fd, size);
      return new CacheFile(fd, path);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  /** `size` bytes at `offset`, or null where the file ends before. */
  async read(offset: number, size: number): Promise<Uint8Array | null> {
    const into = Buffer.allocUnsafeSlow(size);
    let done = 0;
    while (done < size) {
      const { bytesRead } = await readFd(this.fd, into, done, size - done, offset + done);
      if (bytesRead === 0) return null;
      done += bytesRead;
    }
    return into;
  }

  /** Writes all of `bytes`; rejects with the file's error (ENOSPC). */
  write(offset: number, bytes: Uint8Array): Promise<void> {
    return writeAll(this.fd, bytes, offset);
  }

  close(): void {
    closeSync(this.fd);
  }
}
