/**
 * A transport's request slots as the FUSE server sees them: requests in one DataView, replies in another, large data
 * scattered by the transport. One server serves the slots of all channels of its thread.
 */
export interface Channel {
  /** All slots' request bytes; slot `s` begins at `requestAt(s)`. The same objects for the channel's life. */
  readonly requests: DataView;
  readonly requestBytes: Uint8Array;
  readonly replies: DataView;
  readonly replyBytes: Uint8Array;
  requestAt(slot: number): number;
  /** Bytes of the request that are in the slot. */
  requestCopied(slot: number): number;
  /** Bytes of the request in all (a WRITE's payload is not copied). */
  requestTotal(slot: number): number;
  /** Where the slot's reply area begins in `replies`; it holds REPLY_BYTES. */
  replyAt(slot: number): number;
  /** Bytes the requester left for the whole reply. */
  replyCapacity(slot: number): number;
  /**
   * The reply is ready: `inline` bytes of the reply area, and `total` in all with what `readFile` or `writeBytes` put
   * behind. total 0 = no reply (FORGET).
   */
  complete(slot: number, inline: number, total: number): void;
  /** Puts file bytes behind the first `skip` bytes of the reply. Bytes, -EAGAIN (would block), or -errno. */
  readFile(slot: number, skip: number, fd: number, fileOffset: number, length: number): number;
  /** The same off this thread; `done` runs on this thread. */
  readFileBlocking(
    slot: number,
    skip: number,
    fd: number,
    fileOffset: number,
    length: number,
    done: (result: number) => void,
  ): void;
  /** Puts bytes of memory behind the first `skip` bytes of the reply. Bytes there was room for, or -errno. */
  writeBytes(slot: number, skip: number, bytes: Uint8Array, start: number, length: number): number;
  /** Whether a parked slot still belongs to a living connection (false after a detach: its answer is dropped). */
  alive(slot: number, ticket: number): boolean;
  /** A number that changes whenever the slot is given to another request. */
  ticket(slot: number): number;
  /** Publishes completed slots; called by the server after it completed parked requests outside a drain. */
  flush(): void;
}
