import { Errno } from '../lib/errno.ts';
import { InHeader, OutHeader } from '../wire/fuse.ts';
import type { Channel } from './channel.ts';
import { DirentBuffer } from './dirent.ts';
import { Attr, Entry, Opened, Statfs } from './filesystem.ts';

/** Result of an operation that is not answered. As PENDING, outside the range of byte counts and errnos. */
export const NO_REPLY = -0x40000001;
/** Result of an operation whose reply is not in the reply area: the request's `large` bytes lie behind the header. */
export const LARGE = -0x40000002;

/** The largest xattr value, list of xattr names (XATTR_SIZE_MAX, XATTR_LIST_MAX of Linux) and link target. */
const SCRATCH_BYTES = 64 << 10;

/**
 * The request being served: where its arguments are, where its reply goes, and objects that handlers use again and
 * again. One instance per server, given from call to call; nothing in it outlives the request.
 */
export class RequestContext {
  channel!: Channel;
  slot = 0;
  requests!: DataView;
  requestBytes!: Uint8Array;
  replies!: DataView;
  /** Where the request begins in `requests`. */
  at = 0;
  hi = 0;
  lo = 0;
  opcode = 0;
  /** Arguments begin at `args`, and what was copied of the request ends at `end`. */
  args = 0;
  end = 0;
  /** Where the reply's body goes in the reply area. */
  out = 0;
  /** Bytes the client left for the whole reply, and for what follows the header. */
  capacity = 0;
  room = 0;
  /** Bytes behind the header, scattered by `sendLarge` or read from files. */
  large = 0;
  /** The clock (performance.now) when its latency began. */
  startedMs = 0;
  /** What a READ was resumed with: bytes from its offset on, or null. */
  supplied: Uint8Array | null = null;
  readonly attr: Attr = new Attr();
  readonly entry: Entry = new Entry();
  readonly opened: Opened = new Opened();
  readonly stat: Statfs = new Statfs();
  readonly dirents: DirentBuffer = new DirentBuffer();
  readonly scratch: Uint8Array = new Uint8Array(SCRATCH_BYTES);

  /** Makes the request in `slot` the present one. False for one without a whole header: nothing else is set then. */
  take(channel: Channel, slot: number): boolean {
    this.channel = channel;
    this.slot = slot;
    const copied = channel.requestCopied(slot);
    if (copied < InHeader.size) return false;
    const { requests } = channel;
    const at = channel.requestAt(slot);
    this.requests = requests;
    this.requestBytes = channel.requestBytes;
    this.replies = channel.replies;
    this.at = at;
    this.opcode = requests.getUint32(at + InHeader.opcode, true);
    this.lo = requests.getUint32(at + InHeader.nodeid, true);
    this.hi = requests.getUint32(at + InHeader.nodeid + 4, true);
    this.args = at + InHeader.size;
    this.end = at + Math.min(this.length, copied);
    this.out = channel.replyAt(slot) + OutHeader.size;
    this.capacity = channel.replyCapacity(slot);
    this.room = Math.max(0, this.capacity - OutHeader.size);
    return true;
  }

  /** Bytes that the header claims. */
  get length(): number {
    return this.requests.getUint32(this.at + InHeader.len, true);
  }

  /** Whether the claimed length holds the header and lies within the chain. */
  get hasSoundLength(): boolean {
    const { length } = this;
    return length >= InHeader.size && length <= this.channel.requestTotal(this.slot);
  }

  get uniqueLo(): number {
    return this.requests.getUint32(this.at + InHeader.unique, true);
  }

  get uniqueHi(): number {
    return this.requests.getUint32(this.at + InHeader.unique + 4, true);
  }

  /** Scatters `length` bytes behind the header; returns LARGE or -errno. */
  sendLarge(bytes: Uint8Array, length: number): number {
    if (length > this.room) return -Errno.ERANGE;
    if (length > 0) {
      const written = this.channel.writeBytes(this.slot, OutHeader.size, bytes, 0, length);
      if (written !== length) return -Errno.EIO;
    }
    this.large = length;
    return LARGE;
  }

  /**
   * Writes the out header and completes the slot: `inline` bytes are in the reply area, `total` in all. `error` is 0 or
   * -errno. A client that left no room for a header gets nothing.
   */
  reply(error: number, inline: number, total: number): void {
    if (this.capacity < OutHeader.size) {
      this.replyNothing();
      return;
    }
    const { replies } = this;
    const at = this.out - OutHeader.size;
    replies.setUint32(at + OutHeader.len, total, true);
    replies.setInt32(at + OutHeader.error, error, true);
    replies.setUint32(at + OutHeader.unique, this.uniqueLo, true);
    replies.setUint32(at + OutHeader.unique + 4, this.uniqueHi, true);
    this.channel.complete(this.slot, inline, total);
  }

  /** Completes the slot without an answer. */
  replyNothing(): void {
    this.channel.complete(this.slot, 0, 0);
  }
}
