import { constants, openSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

/** How often a pipe is tried while nobody reads it. */
const RETRY_MS = 20;

/**
 * Opens the named pipe at `path` for writing once somebody reads it. Opened the usual way it would hold the thread
 * until then, signals included. The descriptor does not block. Rejects with the system's error, or with the reason of
 * the signal when that is aborted.
 */
export async function openPipe(path: string, signal?: AbortSignal): Promise<number> {
  for (;;) {
    signal?.throwIfAborted();
    try {
      return openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
    } catch (error) {
      const hasNoReader = (error as NodeJS.ErrnoException).code === 'ENXIO';
      if (!hasNoReader) throw error;
    }
    await delay(RETRY_MS, undefined, { signal });
  }
}
