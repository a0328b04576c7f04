/** Waiting for descriptors on the event loop of the thread. */
export interface PollCalls {
  /** uv_poll on this thread's loop; `events` 1 = readable, 4 = disconnect. Returns a handle ≥ 0. */
  pollStart(fd: number, events: number, onReady: (events: number) => void): number;
  /** Stops and closes the poll; the fd may be closed once this returns. */
  pollStop(handle: number): number;
}
