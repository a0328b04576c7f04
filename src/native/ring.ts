/**
 * Request slots: the private memory in which a ring's requests and replies live between pop and flush.
 *
 * `requests`: slotCount × REQUEST_BYTES, the readable bytes of a chain copied once (no double fetch). A page and a
 * cache line, so that the headers of a batch do not share one set of the cache.
 * `replies`: slotCount × REPLY_BYTES, where out headers and small replies are built.
 * `state`: slotCount × STATE_WORDS int32, the row of a slot, as named by `State`.
 */
export const REQUEST_BYTES = 4160;
export const REPLY_BYTES = 256;
export const STATE_WORDS = 8;

/** Words of a slot's state row. */
export const State = {
  /** Total readable bytes of the chain; only the first REQUEST_BYTES were copied. */
  readable: 0,
  /** Bytes of the request in the slot: min(readable, REQUEST_BYTES). */
  copied: 1,
  /** Total writable bytes of the chain, capped at 2^31-1. */
  writable: 2,
  /** Set by the server before flush: bytes (≤ REPLY_BYTES) of the reply area; they begin the writable part. */
  inline: 3,
  /** Set by the server before flush: used.len, i.e. inline bytes plus what ringRead/ringWrite put behind them. */
  total: 4,
  /** Changes whenever the addon gives the slot out or takes it back. Only the addon writes it. */
  ticket: 5,
} as const;

/**
 * Configuration of a device's rings, by the control thread and only while the ring is detached unless said otherwise.
 */
export interface RingSetupCalls {
  ringSetNum(device: number, queue: number, num: number): number;
  /** Front-end (user) addresses. May be called while attached: takes effect at the next pop. */
  ringSetAddr(device: number, queue: number, desc: bigint, used: bigint, avail: bigint): number;
  ringSetBase(device: number, queue: number, base: number): number;
  /**
   * The device takes the fd (-1 = none) and makes it non-blocking; on an error it stays the caller's. Call and err
   * may be replaced while attached, and one signal is sent on the new call fd. Without a kick fd nothing but the
   * attach itself and a freed slot calls `onKick`.
   */
  ringSetKick(device: number, queue: number, fd: number): number;
  ringSetCall(device: number, queue: number, fd: number): number;
  ringSetErr(device: number, queue: number, fd: number): number;
  /** Next avail index the device would pop (GET_VRING_BASE). */
  ringBase(device: number, queue: number): number;
  /** Zeroes num, addresses, base, closes kick, call, err. */
  ringReset(device: number, queue: number): number;
  /** Maps an in-flight region (vhost-user INFLIGHT_SHMFD) for all queues; -EINVAL when sizes do not fit. */
  inflightSet(
    device: number,
    fd: number,
    offset: number,
    size: number,
    queues: number,
    queueSize: number,
  ): number;
}

/** Rings, on the thread that serves them. */
export interface RingCalls {
  /**
   * Begins serving: translates the ring addresses, resubmits in-flight heads, polls the kick fd on this thread's
   * loop. `requests`, `replies` and `state` are the memory of the slots. `onKick` runs on this thread. Returns a ring
   * handle. -EINVAL num/addresses unset or misaligned, -EFAULT outside guest memory, -EBUSY attached already.
   */
  ringAttach(
    device: number,
    queue: number,
    requests: ArrayBuffer,
    replies: ArrayBuffer,
    state: Int32Array,
    slotCount: number,
    onKick: () => void,
  ): number;
  /** Stops polling, abandons requests in flight (their slots become free), stores the base. Returns the base. */
  ringDetach(ring: number): number;
  /**
   * Pops up to `max` requests: copies each one's readable bytes (at most REQUEST_BYTES) into its slot, fills its
   * state row, and writes the slot numbers to `popped`. Waits at most `spinNs` for the first. Returns the count,
   * -EFAULT (memory vanished), -EPROTO (ring corrupt: broken from now on, its err fd signalled; -EFAULT breaks it
   * too), -ENODEV. A malformed chain is counted, returned to the guest with used.len 0 and not reported here.
   */
  ringPop(ring: number, popped: Int32Array, max: number, spinNs: number): number;
  /**
   * Scatters the slots listed in `done` (reply length in their state row, bytes in their reply area), pushes them used,
   * and publishes once. `total` is cut to the writable part. With `tell` the driver is notified, at most once, of what
   * it was not told of before, if it wants to be; without, a later call must. When requests waited for a free slot,
   * `onKick` is called once more. A slot that is not in flight, or which a pool thread reads into, is -EINVAL, and
   * nothing is flushed.
   */
  ringFlush(ring: number, done: Int32Array, count: number, tell: boolean): number;
  /**
   * Scatters `length` bytes of `bytes` from `offset` behind the first `skip` bytes of the slot's writable part. For
   * replies that do not fit the slot's reply area. Cut to the room there is; returns the bytes written.
   */
  ringWrite(
    ring: number,
    slot: number,
    skip: number,
    bytes: Uint8Array,
    offset: number,
    length: number,
  ): number;
  /**
   * preadv2(RWF_NOWAIT, or plain where unsupported) from `fd` at `fileOffset` straight into the slot's writable part
   * behind `skip` bytes. Returns bytes read, -EAGAIN when the page cache does not have them (use ringReadBlocking),
   * -EFAULT, or the file's errno.
   */
  ringRead(ring: number, slot: number, skip: number, fd: number, fileOffset: number, length: number): number;
  /**
   * The same on a pool thread; `done` gets bytes or -errno on this thread, or is never called after a detach. The
   * slot stays in flight meanwhile.
   */
  ringReadBlocking(
    ring: number,
    slot: number,
    skip: number,
    fd: number,
    fileOffset: number,
    length: number,
    done: (result: number) => void,
  ): number;
  /**
   * Allows notifications and looks once more: 1 = there is work (do not sleep), 0 = sleep (also when all slots are
   * in use: see ringFlush).
   */
  ringArm(ring: number): number;
  /** Counters since attach: [popped, completed, malformed, notified, kicks]. */
  ringStats(ring: number, out: Float64Array): number;
}
