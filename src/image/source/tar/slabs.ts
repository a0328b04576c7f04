/** Bytes of a slab. */
const SLAB_SIZE = 1 << 16;

/**
 * Keeps copies of short byte strings as long as a tree lives. In slabs of their own: Buffer's shared pool would keep
 * all the short-lived buffers beside them, too, which for a compressed layer is as much as its data.
 */
export class Slabs {
  #slab: Buffer = Buffer.alloc(0);
  #used = 0;

  keep(bytes: Buffer): Buffer {
    if (bytes.length > SLAB_SIZE / 4) {
      const own = Buffer.allocUnsafeSlow(bytes.length);
      bytes.copy(own);
      return own;
    }
    if (this.#used + bytes.length > this.#slab.length) {
      this.#slab = Buffer.allocUnsafeSlow(SLAB_SIZE);
      this.#used = 0;
    }
    const end = this.#used + bytes.copy(this.#slab, this.#used);
    const kept = this.#slab.subarray(this.#used, end);
    this.#used = end;
    return kept;
  }
}
