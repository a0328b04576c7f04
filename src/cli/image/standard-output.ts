const BUFFER_CHARACTERS = 1 << 16;

/** Many lines for standard output, which waits when nobody reads. */
export class Output {
  #text = '';

  constructor() {
    // A failed write is reported by its callback; without a listener it would end the process with a stack.
    if (process.stdout.listenerCount('error') === 0) process.stdout.on('error', () => {});
  }

  /** Adds a line; resolves when there is room for more. */
  async line(text: string): Promise<void> {
    this.#text += `${text}\n`;
    if (this.#text.length >= BUFFER_CHARACTERS) await this.end();
  }

  /** Writes what is left. Rejects when the reader is gone. */
  async end(): Promise<void> {
    const text = this.#text;
    this.#text = '';
    if (text !== '')
      await new Promise<void>((resolve, reject) =>
        process.stdout.write(text, (error) => (error ? reject(error) : resolve())),
      );
  }
}
