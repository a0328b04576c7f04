import { close, constants, fstatSync, openSync, realpathSync, statSync } from 'node:fs';
import { Socket } from 'node:net';
import { basename, dirname, resolve } from 'node:path';
import { promisify } from 'node:util';
import { openPipe } from '../../lib/file/pipe.ts';
import { PrivateFile } from '../../lib/file/replace.ts';
import { writeAll } from '../../lib/file/write.ts';
import { growPipe } from '../../native/libc.ts';
import { writeFailure } from '../model/error.ts';

const closeFd = promisify(close);

/** Small pieces are gathered up to this before they are written. */
const BUFFER_BYTES = 1 << 20;
const STDOUT = 1;

/** Where gathered bytes go. */
interface Sink {
  write(bytes: Uint8Array): Promise<void>;
  close(): Promise<void>;
}

/**
 * A stream of bytes into a file, which appears under its name only when it is complete, or into a pipe, a device or
 * standard output (`-`), which take them as they come. However slow the reader of a pipe is, the event loop goes on,
 * and a signal ends the wait.
 */
export class StreamOutput {
  readonly #path: string;
  readonly #sink: Sink;
  /** Null: a pipe or a device. */
  readonly #file: PrivateFile | null;
  readonly #signal: AbortSignal | undefined;
  readonly #buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
  #filled = 0;
  #open = true;
  /** Bytes taken so far. */
  size = 0;

  private constructor(path: string, sink: Sink, file: PrivateFile | null, signal: AbortSignal | undefined) {
    this.#path = path;
    this.#sink = sink;
    this.#file = file;
    this.#signal = signal;
  }

  /** Rejects with ImageError IMAGE_WRITE or IMAGE_ABORTED. Waits until somebody reads a named pipe. */
  static async open(path: string, signal?: AbortSignal): Promise<StreamOutput> {
    try {
      if (path === '-') return new StreamOutput('standard output', openStandardOutput(signal), null, signal);
      const stream = await openStream(path, signal);
      if (stream !== null) return new StreamOutput(path, stream, null, signal);
      const target = resolveLinks(path);
      const file = await PrivateFile.create(dirname(target), basename(target));
      return new StreamOutput(target, new FdSink(file.fd, false), file, signal);
    } catch (cause) {
      throw writeFailure(path, cause, signal);
    }
  }

  /** Whether it is a file, not a pipe or a device. */
  get isFile(): boolean {
    return this.#file !== null;
  }

  /** Takes all of `bytes`, which may be changed once the promise is kept. */
  async write(bytes: Uint8Array): Promise<void> {
    this.size += bytes.length;
    if (bytes.length > BUFFER_BYTES - this.#filled) {
      await this.#flush();
      if (bytes.length >= BUFFER_BYTES) return this.#writeOut(bytes);
    }
    this.#buffer.set(bytes, this.#filled);
    this.#filled += bytes.length;
  }

  /** Writes what is left and gives the file its name. */
  async finish(): Promise<void> {
    await this.#flush();
    this.#open = false;
    try {
      await this.#sink.close();
      await this.#file?.moveTo(this.#path);
    } catch (cause) {
      throw writeFailure(this.#path, cause, this.#signal);
    }
  }

  /** Removes what was written. Harmless after `finish`. */
  async discard(): Promise<void> {
    if (this.#open) await this.#sink.close().catch(() => {});
    this.#open = false;
    this.#file?.discard();
  }

  async #flush(): Promise<void> {
    const filled = this.#filled;
    this.#filled = 0;
    await this.#writeOut(this.#buffer.subarray(0, filled));
  }

  async #writeOut(bytes: Uint8Array): Promise<void> {
    try {
      this.#signal?.throwIfAborted();
      await this.#sink.write(bytes);
    } catch (cause) {
      throw writeFailure(this.#path, cause, this.#signal);
    }
  }
}

/** A file or a device: a pool thread waits for it. */
class FdSink implements Sink {
  readonly #fd: number;
  readonly #isOwn: boolean;

  /** `isOwn`: it is closed with this sink. */
  constructor(fd: number, isOwn: boolean) {
    this.#fd = fd;
    this.#isOwn = isOwn;
  }

  write(bytes: Uint8Array): Promise<void> {
    return writeAll(this.#fd, bytes);
  }

  async close(): Promise<void> {
    if (this.#isOwn) await closeFd(this.#fd);
  }
}

/** A pipe or socket: nobody waits in a thread, which could not be ended. */
class PipeSink implements Sink {
  readonly #socket: Socket;

  constructor(fd: number, signal: AbortSignal | undefined) {
    growPipe(fd, BUFFER_BYTES);
    this.#socket = new Socket({ fd, readable: false, writable: true });
    // Errors reach whoever writes; that of an abort nobody.
    this.#socket.on('error', () => {});
    signal?.addEventListener('abort', () => this.#socket.destroy(new Error('interrupted')), { once: true });
  }

  write(bytes: Uint8Array): Promise<void> {
    return new Promise((done, fail) => {
      this.#socket.write(bytes, (error) => (error ? fail(error) : done()));
    });
  }

  close(): Promise<void> {
    return new Promise((done) => {
      this.#socket.once('close', () => done());
      if (this.#socket.destroyed) done();
      else this.#socket.destroy();
    });
  }
}

function openStandardOutput(signal: AbortSignal | undefined): Sink {
  const stats = fstatSync(STDOUT);
  if (stats.isCharacterDevice() && process.stdout.isTTY)
    throw new Error('is a terminal: give a file, or lead it into a pipe');
  if (stats.isSocket()) return new PipeSink(STDOUT, signal);
  if (!stats.isFIFO()) return new FdSink(STDOUT, false);
  // Opened anew, so that other writers of this pipe do not find it set not to block.
  return new PipeSink(openSync(`/proc/self/fd/${STDOUT}`, constants.O_WRONLY | constants.O_NONBLOCK), signal);
}

/** The pipe or device at `path`; null if it is a file or nothing. */
async function openStream(path: string, signal: AbortSignal | undefined): Promise<Sink | null> {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats === undefined || stats.isFile()) return null;
  if (stats.isDirectory()) throw new Error('is a directory');
  if (!stats.isFIFO()) return new FdSink(openSync(path, 'w'), true);
  return new PipeSink(await openPipe(path, signal), signal);
}

/** What the path leads to: a file behind a symbolic link is replaced, not the link. */
function resolveLinks(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return resolve(path);
  }
}
