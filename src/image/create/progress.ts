import type { Turns } from '../../lib/turns.ts';

/** How far a build is. */
export interface Progress {
  entries: number;
  bytes: number;
  /** 0 while it is not known. */
  bytesTotal: number;
}

/** Counts what a build has seen, and lets the event loop run between entries. */
export class BuildProgress {
  readonly #progress: Progress = { entries: 0, bytes: 0, bytesTotal: 0 };
  readonly #onProgress: ((progress: Progress) => void) | undefined;
  readonly #turns: Turns;

  constructor(onProgress: ((progress: Progress) => void) | undefined, turns: Turns) {
    this.#onProgress = onProgress;
    this.#turns = turns;
  }

  /** Another entry of the tree was met. A promise when others must have their turn: await it. */
  readonly onEntry = (): Promise<void> | undefined => {
    this.#progress.entries++;
    this.#onProgress?.(this.#progress);
    return this.#turns.next();
  };

  /** More data was stored, or found stored. */
  readonly onChunk = (bytes: number): void => {
    this.#progress.bytes += bytes;
    this.#onProgress?.(this.#progress);
  };

  /** How many bytes it will be. */
  expect(bytesTotal: number): void {
    this.#progress.bytesTotal = bytesTotal;
  }
}
