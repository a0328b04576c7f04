import { setImmediate as nextTurn } from 'node:timers/promises';

/** How long synchronous work may keep the event loop, and so a signal, waiting. */
const TURN_MS = 20;

/** Lets the event loop run now and then during long synchronous work, and ends it when a signal is aborted. */
export class Turns {
  readonly #signal: AbortSignal | undefined;
  readonly #abortError: () => Error;
  #lastMs = performance.now();

  /** `abortError` makes what is thrown once the signal is aborted. */
  constructor(signal: AbortSignal | undefined, abortError: () => Error) {
    this.#signal = signal;
    this.#abortError = abortError;
  }

  /** A promise when it is time; it rejects when the signal is aborted. */
  next(): Promise<void> | undefined {
    return performance.now() - this.#lastMs < TURN_MS ? undefined : this.#giveWay();
  }

  /** Throws if the signal is aborted. */
  throwIfAborted(): void {
    if (this.#signal?.aborted) throw this.#abortError();
  }

  async #giveWay(): Promise<void> {
    await nextTurn();
    this.#lastMs = performance.now();
    this.throwIfAborted();
  }
}
