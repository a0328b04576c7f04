import { Errno } from '../lib/errno.ts';
import { OutHeader } from '../wire/fuse.ts';
import { type FileSystem, PENDING, type ReadSink, type Resume } from './filesystem.ts';
import type { ParkedRequest, ParkedRequests } from './parked.ts';
import { LARGE, type RequestContext } from './request.ts';

/** Extents of one READ: 1 MiB of 4 KiB chunks, each elsewhere, and a few to spare. */
const EXTENTS_MAX = 512;
/** Words of an extent: descriptor, offset in the file, length, position in the answer. */
const WORDS = 4;

/**
 * Collects where a READ's bytes are, then moves them into the reply. Neighbouring extents of a file become one system
 * call. One instance serves all READs of a server, one after the other.
 */
export class ReadPlan implements ReadSink {
  supplied: Uint8Array | null = null;
  readonly #parked: ParkedRequests;
  readonly #extents = new Float64Array(EXTENTS_MAX * WORDS);
  #request!: RequestContext;
  #count = 0;
  /** Bytes planned so far, in order, and their limit. */
  #planned = 0;
  #limit = 0;
  /** What the file system relies on, and how it was. */
  #relied: Int32Array | null = null;
  #seen = 0;

  constructor(parked: ParkedRequests) {
    this.#parked = parked;
  }

  /** Serves the READ `request` of `size` bytes at `offset`. LARGE, PENDING or -errno. */
  serve(fs: FileSystem, request: RequestContext, offset: number, size: number): number {
    this.#request = request;
    this.#limit = size;
    for (;;) {
      this.#count = 0;
      this.#planned = 0;
      this.#relied = null;
      this.supplied = request.supplied;
      const result = fs.read(request.hi, request.lo, offset, size, this);
      if (result < 0) return result;
      request.large = this.#planned;
      const moved = this.#move();
      if (moved !== LARGE || !isOutdated(this.#relied, this.#seen)) return moved;
    }
  }

  relyOn(count: Int32Array): void {
    this.#relied = count;
    this.#seen = count[0]!;
  }

  fromFile(fd: number, fileOffset: number, length: number): number {
    const take = Math.min(length, this.#limit - this.#planned);
    if (take <= 0) return 0;
    const e = this.#extents;
    const last = (this.#count - 1) * WORDS;
    const joins =
      this.#count > 0 &&
      e[last] === fd &&
      e[last + 1]! + e[last + 2]! === fileOffset &&
      e[last + 3]! + e[last + 2]! === this.#planned;
    if (joins) {
      e[last + 2]! += take;
    } else {
      if (this.#count === EXTENTS_MAX) return -Errno.EIO;
      const at = this.#count++ * WORDS;
      e[at] = fd;
      e[at + 1] = fileOffset;
      e[at + 2] = take;
      e[at + 3] = this.#planned;
    }
    this.#planned += take;
    return take;
  }

  fromBytes(bytes: Uint8Array, start: number, length: number): number {
    const take = Math.min(length, this.#limit - this.#planned, bytes.length - start);
    if (take <= 0) return 0;
    const { channel, slot } = this.#request;
    const n = channel.writeBytes(slot, OutHeader.size + this.#planned, bytes, start, take);
    if (n !== take) return -Errno.EIO;
    this.#planned += take;
    return take;
  }

  later(): Resume {
    return this.#parked.later(this.#request);
  }

  /** Moves the planned file bytes, or has a pool thread read from where the page cache lacks them. */
  #move(): number {
    const e = this.#extents;
    const { channel, slot } = this.#request;
    for (let i = 0; i < this.#count; i++) {
      const at = i * WORDS;
      const length = e[at + 2]!;
      const n = channel.readFile(slot, OutHeader.size + e[at + 3]!, e[at]!, e[at + 1]!, length);
      if (n === length) continue;
      if (n < 0 && n !== -Errno.EAGAIN) return -Errno.EIO;
      advance(e, at, Math.max(n, 0));
      const parked = this.#parked.park(this.#request);
      parked.reading = true;
      const extents = e.slice(at, this.#count * WORDS);
      this.#readBlocking(parked, extents, this.#planned, this.#relied, this.#seen);
      return PENDING;
    }
    return LARGE;
  }

  /** Reads extents on a pool thread, one after the other, then answers with `total` bytes. */
  #readBlocking(
    parked: ParkedRequest,
    extents: Float64Array,
    total: number,
    relied: Int32Array | null,
    seen: number,
  ): void {
    const { channel, slot } = parked;
    const length = extents[2]!;
    const skip = OutHeader.size + extents[3]!;
    channel.readFileBlocking(slot, skip, extents[0]!, extents[1]!, length, (result) => {
      // A file that ends before its bitmap says, or fails: the request cannot be answered with less.
      if (result <= 0) {
        this.#parked.answer(parked, -Errno.EIO, 0);
      } else if (result < length) {
        advance(extents, 0, result);
        this.#readBlocking(parked, extents, total, relied, seen);
      } else if (extents.length > WORDS) {
        this.#readBlocking(parked, extents.subarray(WORDS), total, relied, seen);
      } else if (isOutdated(relied, seen)) {
        this.#parked.repeat(parked, null);
      } else {
        this.#parked.answer(parked, LARGE, total);
      }
    });
  }
}

function isOutdated(relied: Int32Array | null, seen: number): boolean {
  return relied !== null && relied[0] !== seen;
}

/** The extent at `at` of `extents` lacks `got` bytes less than before. */
function advance(extents: Float64Array, at: number, got: number): void {
  extents[at + 1]! += got;
  extents[at + 2]! -= got;
  extents[at + 3]! += got;
}
