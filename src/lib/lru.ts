/** Byte strings by name, at most so many bytes together; what was used least recently goes first. */
export class ByteLru {
  readonly #limitBytes: number;
  readonly #entries = new Map<string, Uint8Array>();
  #bytes = 0;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  /** Bytes kept. */
  get bytes(): number {
    return this.#bytes;
  }

  get(name: string): Uint8Array | undefined {
    const bytes = this.#entries.get(name);
    if (!bytes) return undefined;
    this.#entries.delete(name);
    this.#entries.set(name, bytes);
    return bytes;
  }

  /**
   * `bytes` must own its memory: a view would keep the whole of its buffer. What takes more than half of the room is
   * not kept.
   */
  put(name: string, bytes: Uint8Array): void {
    if (bytes.length > this.#limitBytes / 2) return;
    this.#remove(name);
    this.#entries.set(name, bytes);
    this.#bytes += bytes.length;
    for (const oldest of this.#entries.keys()) {
      if (this.#bytes <= this.#limitBytes) break;
      this.#remove(oldest);
    }
  }

  /** Forgets all whose name begins so. */
  drop(prefix: string): void {
    for (const name of [...this.#entries.keys()]) if (name.startsWith(prefix)) this.#remove(name);
  }

  #remove(name: string): void {
    this.#bytes -= this.#entries.get(name)?.length ?? 0;
    this.#entries.delete(name);
  }
}
