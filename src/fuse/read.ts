import { Errno } from '../lib/errno.ts';
import { OutHeader } from '../wire/fuse.ts';
import type { Channel } from './channel.ts';
import type { ReadSink } from './filesystem.ts';

/** Extents of one READ: 1 MiB of 4 KiB chunks, each elsewhere, and a few to spare. */
const EXTENTS_MAX = 512;
const WORDS = 4;

/** Parks a READ whose data is not there yet. */
export type Park = () => (result: number, bytes?: Uint8Array) => void;

/**
 * Collects where a READ's bytes are, then moves them into the reply. Neighbouring extents of a file become one system call.
 * One instance serves all READs of a thread, one after the other.
 */
export class ReadPlan implements ReadSink {
  supplied: Uint8Array | null = null;
  /** Bytes planned so far, in order. */
  planned = 0;
  readonly #extents = new Float64Array(EXTENTS_MAX * WORDS);
  #count = 0;
  #channel: Channel | null = null;
  #slot = 0;
  #room = 0;
  readonly #park: Park;

  constructor(park: Park) {
    this.#park = park;
  }

  /** Begins a READ into `slot`, for at most `room` bytes. */
  begin(channel: Channel, slot: number, room: number, supplied: Uint8Array | null): void {
    this.#channel = channel;
    this.#slot = slot;
    this.#room = room;
    this.#count = 0;
    this.planned = 0;
    this.supplied = supplied;
  }

  fromFile(fd: number, fileOffset: number, length: number): number {
    const take = Math.min(length, this.#room - this.planned);
    if (take <= 0) return 0;
    const e = this.#extents;
    const last = (this.#count - 1) * WORDS;
    const joins =
      this.#count > 0 &&
      e[last] === fd &&
      e[last + 1]! + e[last + 2]! === fileOffset &&
      e[last + 3]! + e[last + 2]! === this.planned;
    if (joins) {
      e[last + 2]! += take;
    } else {
      if (this.#count === EXTENTS_MAX) return -Errno.EIO;
      const at = this.#count++ * WORDS;
      e[at] = fd;
      e[at + 1] = fileOffset;
      e[at + 2] = take;
      e[at + 3] = this.planned;
    }
    this.planned += take;
    return take;
  }

  fromBytes(bytes: Uint8Array, start: number, length: number): number {
    const take = Math.min(length, this.#room - this.planned, bytes.length - start);
    if (take <= 0) return 0;
    const n = this.#channel!.writeBytes(this.#slot, OutHeader.size + this.planned, bytes, start, take);
    if (n !== take) return -Errno.EIO;
    this.planned += take;
    return take;
  }

  later(): (result: number, bytes?: Uint8Array) => void {
    return this.#park();
  }

  /**
   * Moves the planned file bytes. Returns 0, -errno, or the number of extents left (> 0) when the page cache lacks bytes:
   * then `rest` gives what a pool thread must read.
   */
  move(): number {
    const e = this.#extents;
    for (let i = 0; i < this.#count; i++) {
      const at = i * WORDS;
      const length = e[at + 2]!;
      const n = this.#channel!.readFile(this.#slot, OutHeader.size + e[at + 3]!, e[at]!, e[at + 1]!, length);
      if (n === length) continue;
      if (n < 0 && n !== -Errno.EAGAIN) return n;
      const got = Math.max(n, 0);
      e[at + 1]! += got;
      e[at + 2] = length - got;
      e[at + 3]! += got;
      this.#first = i;
      return this.#count - i;
    }
    return 0;
  }

  #first = 0;

  /** A copy of the extents that `move` left: rows of [fd, fileOffset, length, position]. */
  rest(): Float64Array {
    return this.#extents.slice(this.#first * WORDS, this.#count * WORDS);
  }
}
