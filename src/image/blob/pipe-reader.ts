import { closeSync, constants, openSync, statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { ImageError, reason, throwIfInterrupted } from '../model/error.ts';

/** How often a pipe is tried while it has no reader. */
const RETRY_MS = 20;

/**
 * Waits until the named pipe at `path` has a reader: opening it for writing would block the thread until then, signals included. Resolves with what
 * closes this end again, to be called once the pipe has been opened to be written; null if `path` is no pipe. Rejects with IMAGE_ABORTED when
 * the signal is aborted.
 */
export async function waitForReader(path: string, signal?: AbortSignal): Promise<(() => void) | null> {
  if (statSync(path, { throwIfNoEntry: false })?.isFIFO() !== true) return null;
  for (;;) {
    throwIfInterrupted(signal);
    try {
      const fd = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
      return () => closeSync(fd);
    } catch (cause) {
      const noReader = (cause as NodeJS.ErrnoException).code === 'ENXIO';
      if (!noReader) throw new ImageError('IMAGE_WRITE', `${path}: ${reason(cause)}`, { cause });
    }
    await sleep(RETRY_MS);
  }
}
