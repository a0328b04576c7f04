import { randomBytes } from 'node:crypto';
import { close, constants, fstatSync, openSync, realpathSync, statSync, write } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { Socket } from 'node:net';
import { basename, dirname, join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { growPipe } from '../../native/libc.ts';
import { ImageError, interrupted, reason } from '../model/error.ts';

const writeFd = promisify(write);
const closeFd = promisify(close);

/** Small pieces are gathered up to this before they are written. */
const BUFFER_BYTES = 1 << 20;
/** How often a named pipe is asked whether somebody reads it. */
const READER_POLL_MS = 20;
const STDOUT = 1;

/** Where gathered bytes go. */
interface Sink {
  write(bytes: Uint8Array): Promise<void>;
  close(): Promise<void>;
}

/**
 * A stream of bytes into a file, which appears under its name only when it is complete, or into a pipe, a device or standard output (`-`),
 * which take them as they come. However slow the reader of a pipe is, the event loop goes on, and a signal ends the wait.
 */
export class StreamOutput {
  readonly #path: string;
  readonly #sink: Sink;
  /** Null: no file of ours. */
  readonly #temporary: string | null;
  readonly #signal: AbortSignal | undefined;
  readonly #buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
  #filled = 0;
  #open = true;
  /** Bytes taken so far. */
  size = 0;

  private constructor(path: string, sink: Sink, temporary: string | null, signal: AbortSignal | undefined) {
    this.#path = path;
    this.#sink = sink;
    this.#temporary = temporary;
    this.#signal = signal;
  }

  /** Rejects with ImageError IMAGE_WRITE or IMAGE_ABORTED. Waits until somebody reads a named pipe. */
  static async open(path: string, signal?: AbortSignal): Promise<StreamOutput> {
    try {
      if (path === '-') return new StreamOutput('standard output', openStandardOutput(signal), null, signal);
      const stream = await openStream(path, signal);
      if (stream !== null) return new StreamOutput(path, stream, null, signal);
      const target = resolveLinks(path);
      const label = basename(target).slice(0, 32);
      const temporary = join(dirname(target), `.${label}.${randomBytes(6).toString('hex')}.tmp`);
      const sink = new FdSink(openSync(temporary, 'wx', 0o644));
      return new StreamOutput(target, sink, temporary, signal);
    } catch (cause) {
      throw failure(path, cause, signal);
    }
  }

  /** Whether it is a file, not a pipe or a device. */
  get isFile(): boolean {
    return this.#temporary !== null;
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
      if (this.#temporary !== null) await rename(this.#temporary, this.#path);
    } catch (cause) {
      throw failure(this.#path, cause, this.#signal);
    }
  }

  /** Removes what was written. Harmless after `finish`. */
  async discard(): Promise<void> {
    if (this.#open) await this.#sink.close().catch(() => {});
    this.#open = false;
    if (this.#temporary !== null) await rm(this.#temporary, { force: true });
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
      throw failure(this.#path, cause, this.#signal);
    }
  }
}

function failure(path: string, cause: unknown, signal: AbortSignal | undefined): ImageError {
  if (signal?.aborted) return interrupted();
  return new ImageError('IMAGE_WRITE', `${path}: ${reason(cause)}`, { cause });
}

/** A file or a device: a pool thread waits for it. */
class FdSink implements Sink {
  readonly #fd: number;

  constructor(fd: number) {
    this.#fd = fd;
  }

  async write(bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      done += (await writeFd(this.#fd, bytes, done, bytes.length - done, null)).bytesWritten;
    }
  }

  async close(): Promise<void> {
    if (this.#fd !== STDOUT) await closeFd(this.#fd);
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
  if (!stats.isFIFO()) return new FdSink(STDOUT);
  // Opened anew, so that other writers of this pipe do not find it set not to block.
  return new PipeSink(openSync(`/proc/self/fd/${STDOUT}`, O_WRONLY | O_NONBLOCK), signal);
}

const { O_WRONLY, O_NONBLOCK } = constants;

/** The pipe or device at `path`; null if it is a file or nothing. */
async function openStream(path: string, signal: AbortSignal | undefined): Promise<Sink | null> {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats === undefined || stats.isFile()) return null;
  if (stats.isDirectory()) throw new Error('is a directory');
  if (!stats.isFIFO()) return new FdSink(openSync(path, 'w'));
  for (;;) {
    try {
      return new PipeSink(openSync(path, O_WRONLY | O_NONBLOCK), signal);
    } catch (error) {
      // No reader yet.
      if ((error as NodeJS.ErrnoException).code !== 'ENXIO') throw error;
      await delay(READER_POLL_MS, undefined, { signal });
    }
  }
}

/** What the path leads to: a file behind a symbolic link is replaced, not the link. */
function resolveLinks(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return resolve(path);
  }
}
