import { type GaveUp, gaveUp, type Patience, within } from './deadline.ts';

/** At most `limit` are inside at a time; the others wait in order, each as long as it likes. */
export class Gate {
  #free: number;
  readonly #waiting = new Set<() => void>();

  constructor(limit: number) {
    this.#free = limit;
  }

  /** How many wait. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /**
   * Resolves with a place, which its holder gives back by calling it, once. Rejects with `error(why)` when the
   * patience ends before there is one.
   */
  async enter(patience: Patience, error: (why: GaveUp) => Error): Promise<() => void> {
    const why = gaveUp(patience);
    if (why !== null) throw error(why);
    if (this.#free > 0) {
      this.#free--;
      return this.#place();
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.add(resolve);
    try {
      await within(promise, patience, error);
    } catch (cause) {
      // A place that came at the last moment goes to the next one.
      if (!this.#waiting.delete(resolve)) this.#release();
      throw cause;
    }
    return this.#place();
  }

  /** Runs `work` inside. */
  async run<T>(patience: Patience, error: (why: GaveUp) => Error, work: () => Promise<T>): Promise<T> {
    const leave = await this.enter(patience, error);
    try {
      return await work();
    } finally {
      leave();
    }
  }

  #place(): () => void {
    let isHeld = true;
    return () => {
      if (!isHeld) return;
      isHeld = false;
      this.#release();
    };
  }

  #release(): void {
    const [next] = this.#waiting;
    if (next === undefined) {
      this.#free++;
      return;
    }
    this.#waiting.delete(next);
    next();
  }
}
