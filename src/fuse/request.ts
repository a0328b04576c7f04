import type { DirentBuffer } from './dirent.ts';
import { Attr, Entry, type FileSystem, Opened, Statfs } from './filesystem.ts';

/** Results of a handler beside byte counts, -errno and PENDING. */
export const NO_REPLY = -0x40000001;
export const LARGE = -0x40000002;

/** The largest value an xattr or a link target may have, and a list of names (Linux: XATTR_SIZE_MAX, XATTR_LIST_MAX). */
const SCRATCH_BYTES = 64 << 10;

/**
 * The request being served: where its arguments are, where its reply goes, and objects that handlers use again and again. One
 * instance per thread; nothing in it outlives the call.
 */
export abstract class RequestContext {
  abstract readonly fs: FileSystem;
  abstract readonly dirents: DirentBuffer;
  requests!: DataView;
  requestBytes!: Uint8Array;
  replies!: DataView;
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
  /** Bytes scattered behind the header by `sendLarge`. */
  large = 0;
  /** The client negotiated that OPEN need not be served. */
  noOpen = false;
  readonly attr: Attr = new Attr();
  readonly entry: Entry = new Entry();
  readonly opened: Opened = new Opened();
  readonly stat: Statfs = new Statfs();
  readonly scratch: Uint8Array = new Uint8Array(SCRATCH_BYTES);

  /** Scatters `length` bytes behind the header; returns LARGE or -errno. */
  abstract sendLarge(bytes: Uint8Array, length: number): number;
  /** READ of the present request; returns LARGE, PENDING or -errno. */
  abstract read(offset: number, size: number): number;
  abstract init(): number;
  abstract destroy(): void;
}
