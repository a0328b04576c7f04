import { closeSync, constants, fstatSync, openSync, read, readSync } from 'node:fs';
import { Socket } from 'node:net';
import { isatty } from 'node:tty';
import { createGunzip } from 'node:zlib';
import { ImageError, interrupted, reason } from '../../model/error.ts';

/** Bytes from first to last, once. */
export interface ByteSource {
  /** For messages. */
  readonly name: string;
  /**
   * The next bytes, at least one, valid until the next call; null at the end. A promise only where it has to wait. A
   * source that counts how far it was read (`GzipSource`) gives no more than `wanted`; others may.
   */
  next(wanted?: number): Buffer | null | Promise<Buffer | null>;
  /** Frees what it holds, also before the end. */
  close(): void;
}

/** Bytes read of a file at a time. */
const PIECE_SIZE = 1 << 18;
/** Names of standard input. The kernel opens /dev/stdin anew, which it refuses for a socket. */
const STANDARD_INPUT: readonly string[] = ['-', '/dev/stdin', '/dev/fd/0', '/proc/self/fd/0'];

/** Whether `path` means standard input. */
export function isStandardInput(path: string): boolean {
  return STANDARD_INPUT.includes(path);
}

/**
 * Opens a file, fifo, character device or socket for reading from its start; `-` and /dev/stdin are standard
 * input. Waits for the writer of a fifo without blocking the event loop. Aborting `signal` ends a wait with
 * IMAGE_ABORTED. Throws ImageError.
 */
export function openByteSource(path: Buffer, signal?: AbortSignal): ByteSource {
  const isStdin = isStandardInput(path.toString());
  const name = isStdin ? 'standard input' : path.toString();
  let fd = 0;
  try {
    // Without O_NONBLOCK, opening a fifo blocks until there is a writer.
    if (!isStdin) fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const stats = fstatSync(fd);
    if (stats.isFile()) return new FileSource(fd, name);
    if (stats.isFIFO() || stats.isSocket()) return new PipeSource(fd, name, signal);
    if (stats.isCharacterDevice() && !isatty(fd)) return new DeviceSource(fd, name);
    closeSync(fd);
  } catch (cause) {
    throw new ImageError('IMAGE_UNREADABLE', `${name}: ${reason(cause)}`, { cause });
  }
  const rule = 'a tar archive is read from a file, a named pipe or a character device that is no terminal';
  throw new ImageError('IMAGE_BAD_SOURCE', `${name}: ${rule}`);
}

/** Reads synchronously: a copy out of the page cache, mostly. */
class FileSource implements ByteSource {
  readonly name: string;
  readonly #fd: number;
  readonly #buffer = Buffer.allocUnsafeSlow(PIECE_SIZE);

  constructor(fd: number, name: string) {
    this.#fd = fd;
    this.name = name;
  }

  next(): Buffer | null {
    try {
      const count = readSync(this.#fd, this.#buffer);
      return count === 0 ? null : this.#buffer.subarray(0, count);
    } catch (cause) {
      throw unreadable(this.name, cause);
    }
  }

  close(): void {
    closeSync(this.#fd);
  }
}

/** A device may block: a pool thread reads it. */
class DeviceSource implements ByteSource {
  readonly name: string;
  readonly #fd: number;
  readonly #buffer = Buffer.allocUnsafeSlow(PIECE_SIZE);

  constructor(fd: number, name: string) {
    this.#fd = fd;
    this.name = name;
  }

  next(): Promise<Buffer | null> {
    return new Promise((resolve, reject) => {
      read(this.#fd, this.#buffer, (cause, count) => {
        if (cause !== null) reject(unreadable(this.name, cause));
        else resolve(count === 0 ? null : this.#buffer.subarray(0, count));
      });
    });
  }

  close(): void {
    closeSync(this.#fd);
  }
}

/** A pipe is polled: a pool thread blocked in a read could not be called back. */
class PipeSource implements ByteSource {
  readonly name: string;
  readonly #socket: Socket;
  readonly #iterator: AsyncIterator<Buffer>;
  readonly #signal: AbortSignal | undefined;
  readonly #abort = (): void => {
    this.#socket.destroy(interrupted());
  };

  constructor(fd: number, name: string, signal: AbortSignal | undefined) {
    this.name = name;
    this.#socket = new Socket({ fd, readable: true, writable: false });
    this.#iterator = this.#socket[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
    this.#signal = signal;
    // `next` reports what happens before it is called, too.
    this.#socket.on('error', () => {});
    if (signal?.aborted) this.#abort();
    else signal?.addEventListener('abort', this.#abort);
  }

  async next(): Promise<Buffer | null> {
    try {
      const { done, value } = await this.#iterator.next();
      return done === true ? null : value;
    } catch (cause) {
      throw cause instanceof ImageError ? cause : unreadable(this.name, cause);
    }
  }

  close(): void {
    this.#signal?.removeEventListener('abort', this.#abort);
    this.#socket.destroy();
  }
}

function unreadable(name: string, cause: unknown): ImageError {
  return new ImageError('IMAGE_UNREADABLE', `${name}: ${reason(cause)}`, { cause });
}

/** First bytes of what is compressed by other programs than gzip, and their names. */
const FOREIGN: readonly (readonly [magic: string, program: string])[] = [
  ['28b52ffd', 'zstd'],
  ['425a68', 'bzip2'],
  ['fd377a585a00', 'xz'],
];
const GZIP_MAGIC = Buffer.from([0x1f, 0x8b, 0x08]);
const MAGIC_SIZE = 6;

/**
 * The plain bytes of a source that is gzip, of one member or several, or plain already. Closing it closes `source`, and
 * so does a failure. Throws ImageError for what another program compressed.
 */
export async function openDecompressed(source: ByteSource): Promise<ByteSource> {
  try {
    const { isGzip, source: whole } = await recognizeGzip(source);
    return isGzip ? new GunzipSource(whole) : whole;
  } catch (error) {
    source.close();
    throw error;
  }
}

/**
 * Whether a source is gzip, and a source of the same bytes from the first one on. Throws ImageError for what
 * another program compressed.
 */
export async function recognizeGzip(source: ByteSource): Promise<{ isGzip: boolean; source: ByteSource }> {
  const whole = await peek(source, MAGIC_SIZE);
  const magic = whole.first;
  if (magic.subarray(0, GZIP_MAGIC.length).equals(GZIP_MAGIC)) return { isGzip: true, source: whole };
  const hex = magic.toString('hex');
  const foreign = FOREIGN.find(([start]) => hex.startsWith(start));
  if (foreign === undefined) return { isGzip: false, source: whole };
  const rule = `compressed by ${foreign[1]}: only gzip is read; decompress it into a pipe`;
  throw new ImageError('IMAGE_BAD_SOURCE', `${source.name}: ${rule}`);
}

/** The same bytes, after at least the first `size` of them have been seen. */
async function peek(source: ByteSource, size: number): Promise<ByteSource & { readonly first: Buffer }> {
  let first: Buffer = Buffer.alloc(0);
  for (let piece = await source.next(); piece !== null; piece = await source.next()) {
    first = Buffer.concat([first, piece]);
    if (first.length >= size) break;
  }
  let given = first.length === 0;
  return {
    name: source.name,
    first,
    next: () => {
      if (given) return source.next();
      given = true;
      return first;
    },
    close: () => source.close(),
  };
}

/** Bytes inflated at a time, on a pool thread. */
const INFLATE_SIZE = 1 << 18;

class GunzipSource implements ByteSource {
  readonly name: string;
  readonly #source: ByteSource;
  readonly #gunzip = createGunzip({ chunkSize: INFLATE_SIZE });
  readonly #iterator: AsyncIterator<Buffer> = this.#gunzip[Symbol.asyncIterator]() as AsyncIterator<Buffer>;

  constructor(source: ByteSource) {
    this.name = source.name;
    this.#source = source;
    // `next` reports what happens before it is called, too.
    this.#gunzip.on('error', () => {});
    void this.#feed();
  }

  async next(): Promise<Buffer | null> {
    try {
      const { done, value } = await this.#iterator.next();
      return done === true ? null : value;
    } catch (cause) {
      throw cause instanceof ImageError ? cause : unreadable(`${this.name}: gzip`, cause);
    }
  }

  close(): void {
    this.#gunzip.destroy();
    this.#source.close();
  }

  /** Each piece is inflated before the next is asked for: it may be overwritten then. */
  async #feed(): Promise<void> {
    try {
      for (;;) {
        const piece = await this.#source.next();
        if (this.#gunzip.destroyed) return;
        if (piece === null) break;
        await new Promise<void>((resolve) => this.#gunzip.write(piece, () => resolve()));
      }
      this.#gunzip.end();
    } catch (cause) {
      this.#gunzip.destroy(cause as Error);
    }
  }
}
