/** How long somebody waits. */
export interface Patience {
  /** `performance.now()` after which nobody waits any more; Infinity: for ever. */
  readonly deadlineMs: number;
  /** Ends the wait before that. */
  readonly signal: AbortSignal | null;
}

/** Waits for ever: for what cannot fail to come. */
export const PATIENT: Patience = { deadlineMs: Number.POSITIVE_INFINITY, signal: null };

/** Why a wait ended without a result. */
export type GaveUp = 'deadline' | 'signal';

/** The longest time that a timer of Node takes. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/** Whether the wait is over before it began. */
export function gaveUp({ deadlineMs, signal }: Patience): GaveUp | null {
  if (signal?.aborted) return 'signal';
  return performance.now() >= deadlineMs ? 'deadline' : null;
}

/**
 * Settles as `work` does, or rejects with `error(why)` when the patience ends first; `work` itself goes on, and what
 * becomes of it then is nobody's concern.
 */
export function within<T>(work: Promise<T>, patience: Patience, error: (why: GaveUp) => Error): Promise<T> {
  const { deadlineMs, signal } = patience;
  if (deadlineMs === Number.POSITIVE_INFINITY && signal === null) return work;
  return new Promise((resolve, reject) => {
    const end = (why: GaveUp) => {
      clear();
      // Nobody listens to `work` any more: its failure is no unhandled rejection.
      work.catch(() => {});
      reject(error(why));
    };
    const onAbort = () => end('signal');
    const leftMs = deadlineMs - performance.now();
    const timer = leftMs <= TIMER_MS_MAX ? setTimeout(() => end('deadline'), Math.max(0, leftMs)) : undefined;
    const clear = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    };
    if (signal?.aborted) return end('signal');
    signal?.addEventListener('abort', onAbort, { once: true });
    work.then(
      (value) => {
        clear();
        resolve(value);
      },
      (reason) => {
        clear();
        reject(reason);
      },
    );
  });
}
