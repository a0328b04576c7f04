import { performance } from 'node:perf_hooks';
import { mebibytes } from './common.ts';

/** Work that takes longer says how far it is. */
const AFTER_MS = 2000;
const EVERY_MS = 200;

/**
 * Shows how far work is, on one line of the terminal which is rewritten in place, once it has taken a while; undefined
 * where standard error is no terminal. `text` gets a state and the seconds it took to get there.
 */
export function progressLine<Progress>(
  text: (progress: Progress, seconds: number) => string,
): ((progress: Progress) => void) | undefined {
  if (!process.stderr.isTTY) return undefined;
  const startedMs = performance.now();
  let nextMs = startedMs + AFTER_MS;
  return (progress) => {
    const nowMs = performance.now();
    if (nowMs < nextMs) return;
    nextMs = nowMs + EVERY_MS;
    process.stderr.write(`\r\x1b[K${text(progress, (nowMs - startedMs) / 1000)}`);
  };
}

/** Takes the line away: whatever is said next begins a line. */
export function endProgress(): void {
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
}

/** `12.0 MiB of 34.0 MiB, 56.0 MiB/s`: how far reading or copying is. */
export function bytesDone(
  progress: { readonly bytes: number; readonly bytesTotal: number },
  seconds: number,
): string {
  const { bytes, bytesTotal } = progress;
  return `${mebibytes(bytes)} of ${mebibytes(bytesTotal)}, ${mebibytes(bytes / seconds)}/s`;
}
