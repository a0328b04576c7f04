/** Runs jobs of the same key one after the other, jobs of different keys side by side. */
export class KeyedQueue {
  readonly #tails: Map<string, Promise<unknown>> = new Map();

  /** The job's result; a failed job does not hinder the next. */
  async run<T>(key: string, job: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(key) ?? Promise.resolve();
    const mine = before.then(job, job);
    const settled = mine.then(
      () => {},
      () => {},
    );
    this.#tails.set(key, settled);
    try {
      return await mine;
    } finally {
      if (this.#tails.get(key) === settled) this.#tails.delete(key);
    }
  }
}
