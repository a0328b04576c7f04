/** Decoded chunks of caches that keep none on disk, least recently used out first: a sequential reader asks for a chunk many times. */
export class DecodedCache {
  readonly #limitBytes: number;
  readonly #entries = new Map<string, Uint8Array>();
  #bytes = 0;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get(blob: number, key: number): Uint8Array | undefined {
    const name = `${blob}:${key}`;
    const bytes = this.#entries.get(name);
    if (!bytes) return undefined;
    this.#entries.delete(name);
    this.#entries.set(name, bytes);
    return bytes;
  }

  /** `bytes` must own its memory: a view would keep the whole of its buffer. */
  put(blob: number, key: number, bytes: Uint8Array): void {
    if (bytes.length > this.#limitBytes / 2) return;
    this.#remove(`${blob}:${key}`);
    this.#entries.set(`${blob}:${key}`, bytes);
    this.#bytes += bytes.length;
    for (const name of this.#entries.keys()) {
      if (this.#bytes <= this.#limitBytes) break;
      this.#remove(name);
    }
  }

  /** Forgets all chunks of a blob. */
  drop(blob: number): void {
    for (const name of [...this.#entries.keys()]) if (name.startsWith(`${blob}:`)) this.#remove(name);
  }

  #remove(name: string): void {
    this.#bytes -= this.#entries.get(name)?.length ?? 0;
    this.#entries.delete(name);
  }
}
