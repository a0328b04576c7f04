import { constants, openSync } from 'node:fs';
import { type FileHandle, open, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { type BlobSource, impatient, type ReadOptions, SourceError, UNHURRIED } from '../blob/source.ts';
import { gaveUp } from '../lib/deadline.ts';

/** The `localfs` backend section of a nydusd configuration. */
export interface LocalfsConfig {
  readonly dir?: string;
  /** Serves every blob id from this one file. Wins over `dir`. */
  readonly blob_file?: string;
  readonly alt_dirs?: readonly string[];
}

/**
 * Blobs as files in a directory. With `alt_dirs`, a missing or empty file in `dir` yields to the first of them that
 * has the blob. Files stay open until `close`. storage/src/backend/localfs.rs.
 */
export class LocalfsSource implements BlobSource {
  readonly kind = 'localfs';
  readonly place: string;
  readonly #config: LocalfsConfig;
  readonly #files = new Map<string, Promise<OpenFile>>();

  /** Throws SourceError when neither `dir` nor `blob_file` says where blobs are. */
  constructor(config: LocalfsConfig) {
    if (!config.dir && !config.blob_file) {
      throw new SourceError('SOURCE_IO', 'backend localfs: one of `dir` and `blob_file` must be given');
    }
    this.#config = config;
    this.place = `localfs ${resolve(config.blob_file || config.dir!)}`;
  }

  async size(objectId: string, options: ReadOptions = UNHURRIED): Promise<number> {
    this.#checkPatience(objectId, options);
    return (await this.#open(objectId)).size;
  }

  async read(
    objectId: string,
    offset: number,
    into: Uint8Array,
    options: ReadOptions = UNHURRIED,
  ): Promise<void> {
    this.#checkPatience(objectId, options);
    const { file, path } = await this.#open(objectId);
    let done = 0;
    while (done < into.length) {
      // A pool thread in a system call cannot be called back; between two calls there is a choice.
      if (done > 0) this.#checkPatience(objectId, options);
      const { bytesRead } = await file
        .read(into, done, into.length - done, offset + done)
        .catch((cause: unknown) => {
          throw new SourceError('SOURCE_IO', `blob ${objectId}: ${path}: ${(cause as Error).message}`, {
            cause,
          });
        });
      if (bytesRead === 0) {
        const place = `blob ${objectId}: ${path} at offset ${offset}`;
        throw new SourceError('SOURCE_SHORT_READ', `${place}: wanted ${into.length} bytes, got ${done}`);
      }
      done += bytesRead;
      options.onBytes?.(done);
    }
  }

  async openLocal(objectId: string, options: ReadOptions = UNHURRIED): Promise<number | null> {
    this.#checkPatience(objectId, options);
    const { file } = await this.#open(objectId);
    return openSync(`/proc/self/fd/${file.fd}`, constants.O_RDONLY);
  }

  /** Files that are being read close behind their last read. */
  async close(): Promise<void> {
    const files = [...this.#files.values()];
    this.#files.clear();
    for (const file of files) void file.then((opened) => opened.file.close()).catch(() => {});
  }

  #checkPatience(objectId: string, options: ReadOptions): void {
    const why = gaveUp(options);
    if (why !== null) throw impatient(`blob ${objectId}: ${this.place}`)(why);
  }

  #open(objectId: string): Promise<OpenFile> {
    const known = this.#files.get(objectId);
    if (known) return known;
    const opening = this.#find(objectId);
    this.#files.set(objectId, opening);
    opening.catch(() => this.#files.delete(objectId));
    return opening;
  }

  async #find(objectId: string): Promise<OpenFile> {
    const { blob_file: blobFile, dir, alt_dirs: altDirs = [] } = this.#config;
    if (blobFile) return openFile(objectId, blobFile);
    // The id comes from an image: it must not lead out of the directory.
    if (objectId === '' || objectId === '.' || objectId === '..' || /[/\0]/.test(objectId)) {
      throw new SourceError(
        'SOURCE_NOT_FOUND',
        `blob id ${JSON.stringify(objectId)} is not a plain file name`,
      );
    }
    const first = join(dir!, objectId);
    if (altDirs.length === 0 || (await sizeOf(first)) > 0) return openFile(objectId, first);
    for (const alt of altDirs) {
      const path = join(alt, objectId);
      if ((await sizeOf(path)) > 0) return openFile(objectId, path);
    }
    return openFile(objectId, first);
  }
}

interface OpenFile {
  readonly file: FileHandle;
  readonly path: string;
  readonly size: number;
}

async function sizeOf(path: string): Promise<number> {
  return stat(path).then(
    (found) => (found.isFile() ? found.size : 0),
    () => 0,
  );
}

/** O_NONBLOCK: a fifo in the blob directory must not hang the mount. */
async function openFile(objectId: string, path: string): Promise<OpenFile> {
  let file: FileHandle | undefined;
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const found = await file.stat();
    if (!found.isFile())
      throw new SourceError('SOURCE_IO', `blob ${objectId}: ${path} is not a regular file`);
    return { file, path, size: found.size };
  } catch (cause) {
    await file?.close();
    if (cause instanceof SourceError) throw cause;
    const missing = (cause as NodeJS.ErrnoException).code === 'ENOENT';
    const code = missing ? 'SOURCE_NOT_FOUND' : 'SOURCE_IO';
    throw new SourceError(code, `blob ${objectId}: ${(cause as Error).message}`, { cause });
  }
}
