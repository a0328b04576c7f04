/**
 * Request slots: the private memory in which a ring's requests and replies live between pop and flush.
 *
 * `requests`: slotCount × REQUEST_BYTES, the readable bytes of a chain copied once (no double fetch). A page and a
 * cache line, so that the headers of a batch do not share one set of the cache. `replies`: slotCount × REPLY_BYTES,
 * where out headers and small replies are built. `state`: slotCount × STATE_WORDS int32, the row of a slot, as named by
 * `State`.
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
  /**
   * Set by the server before flush: bytes of the reply area which flush scatters to the start of the writable part (≤
   * REPLY_BYTES).
   */
  inline: 3,
  /** Set by the server before flush: used.len, i.e. inline bytes plus what ringRead/ringWrite put behind them. */
  total: 4,
  /** Changes whenever the addon gives the slot out or takes it back. Only the addon writes it. */
  ticket: 5,
} as const;
