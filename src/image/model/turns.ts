import { setImmediate as nextTurn } from 'node:timers/promises';
import { ImageError } from './error.ts';

/** How long synchronous work may keep the event loop, and so a signal, waiting. */
const TURN_MS = 20;

/** Lets the event loop run now and then during long synchronous work, and ends it when the signal is aborted. */
export class Turns {
  readonly #signal: AbortSignal | undefined;
  #last = performance.now();

  constructor(signal: AbortSignal | undefined) {
    this.#signal = signal;
  }

  /** A promise when it is time; it rejects with IMAGE_ABORTED. */
  next(): Promise<void> | undefined {
    return performance.now() - this.#last < TURN_MS ? undefined : this.#giveWay();
  }

  /** Throws IMAGE_ABORTED if the signal is aborted. */
  check(): void {
    if (this.#signal?.aborted) throw new ImageError('IMAGE_ABORTED', 'interrupted');
  }

  async #giveWay(): Promise<void> {
    await nextTurn();
    this.#last = performance.now();
    this.check();
  }
}
