import { randomBytes } from 'node:crypto';
import fs, { closeSync, openSync, renameSync, rmSync } from 'node:fs';
import { rename } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { writeAll } from './write.ts';

const open = promisify(fs.open);
const close = promisify(fs.close);

/** To read and write, and only if nothing has the name: not even a link that somebody put there. */
const FLAGS = 'wx+';
const MODE = 0o644;
/** The target's name may be as long as a name can be; the hidden one must not be longer. */
const LABEL_CHARACTERS_MAX = 32;

/**
 * A file in the making, hidden beside the name that it will get: whoever opens that name sees all of it or what was
 * there before. All methods throw, or reject with, the system's errors.
 */
export class PrivateFile {
  readonly fd: number;
  readonly #path: string;
  #isOpen = true;
  #isMoved = false;

  private constructor(path: string, fd: number) {
    this.#path = path;
    this.fd = fd;
  }

  /** An empty file in `directory`. `label`: what people who find it should know it by. */
  static createSync(directory: string, label: string): PrivateFile {
    const path = hiddenPath(directory, label);
    return new PrivateFile(path, openSync(path, FLAGS, MODE));
  }

  /** As `createSync`, without holding the thread. */
  static async create(directory: string, label: string): Promise<PrivateFile> {
    const path = hiddenPath(directory, label);
    return new PrivateFile(path, await open(path, FLAGS, MODE));
  }

  /** Closes the file and gives it its name, in the same directory. */
  moveToSync(path: string): void {
    this.close();
    renameSync(this.#path, path);
    this.#isMoved = true;
  }

  /** As `moveToSync`, without holding the thread: either may wait for the disk. */
  async moveTo(path: string): Promise<void> {
    if (this.#isOpen) {
      this.#isOpen = false;
      await close(this.fd);
    }
    await rename(this.#path, path);
    this.#isMoved = true;
  }

  /** Closes the file if it is open. */
  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    closeSync(this.fd);
  }

  /** Removes the file unless it has its name. Who has it open may go on, and closes it. */
  remove(): void {
    if (!this.#isMoved) rmSync(this.#path, { force: true });
  }

  /** Closes and removes what has no name yet. Harmless at any time. */
  discard(): void {
    this.close();
    this.remove();
  }
}

/**
 * Puts `bytes` in the place of the file at `path`, or makes it: whole, or not at all. Does not hold the thread.
 * Rejects with the system's error.
 */
export async function replaceFile(path: string, bytes: Uint8Array): Promise<void> {
  const file = await PrivateFile.create(dirname(path), basename(path));
  try {
    await writeAll(file.fd, bytes);
    await file.moveTo(path);
  } finally {
    file.discard();
  }
}

function hiddenPath(directory: string, label: string): string {
  return join(directory, `.${label.slice(0, LABEL_CHARACTERS_MAX)}.${randomBytes(6).toString('hex')}.tmp`);
}
