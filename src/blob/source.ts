import { CodedError } from '../lib/coded-error.ts';
import type { Patience } from '../lib/deadline.ts';

/** Who waits for a read, most urgent first: a guest; a guest that will soon; nobody yet. */
export const priorities = ['demand', 'readahead', 'prefetch'] as const;
export type Priority = (typeof priorities)[number];

/** Whether who waits with priority `a` comes before who waits with `b`. */
export function isMoreUrgent(a: Priority, b: Priority): boolean {
  return priorities.indexOf(a) < priorities.indexOf(b);
}

/** How much a read matters, and how long. */
export interface ReadOptions extends Patience {
  readonly priority: Priority;
  /** The read has left all queues and takes a part of the back end from now on. */
  readonly onStart?: () => void;
  /**
   * So many bytes from the start of `into` are there and will not change. Called in order; it need not be called at
   * all.
   */
  readonly onBytes?: (filled: number) => void;
}

/** For tools, whose user ends them when it takes too long: no deadline, before all others. */
export const UNHURRIED: ReadOptions = {
  priority: 'demand',
  deadlineMs: Number.POSITIVE_INFINITY,
  signal: null,
};

/**
 * Where compressed blob bytes come from: localfs now; registry, OSS, S3, http-proxy and peers implement the same.
 *
 * Whatever rejects does so with a SourceError that names the object and the place. A call whose patience has ended
 * before it begins rejects with SOURCE_TIMEOUT or SOURCE_ABORTED; one that is under way then ends as soon as the back
 * end lets it, and settles only when it touches nothing of the caller's any more. Who cannot wait for that leaves it
 * behind. Calls may run side by side, and a failed one may be made again.
 */
export interface BlobSource {
  /** Name of the back end for logs and metrics, e.g. `localfs`. */
  readonly kind: string;
  /** Names the place: sources of one place have their limits in common, whoever mounts from it. */
  readonly place: string;
  /** Size of the object in bytes. */
  size(objectId: string, options?: ReadOptions): Promise<number>;
  /** Reads exactly `into.length` bytes at `offset`; rejects on a short read. */
  read(objectId: string, offset: number, into: Uint8Array, options?: ReadOptions): Promise<void>;
  /** A local fd with the object's bytes, if there is one (localfs); the caller closes it. Null otherwise. */
  openLocal(objectId: string, options?: ReadOptions): Promise<number | null>;
  /** Gives up what is open. Does not wait for calls that a back end keeps; they end by themselves. */
  close(): Promise<void>;
}

/** `size` bytes at `offset` in a buffer of their own. The caller has bound `size`. Rejects as `BlobSource.read`. */
export async function readAt(
  source: BlobSource,
  objectId: string,
  offset: number,
  size: number,
): Promise<Uint8Array> {
  const bytes = Buffer.allocUnsafeSlow(size);
  await source.read(objectId, offset, bytes);
  return bytes;
}

/** Why a back end gave no bytes; stable. */
type SourceErrorCode =
  | 'SOURCE_NOT_FOUND'
  | 'SOURCE_SHORT_READ'
  | 'SOURCE_IO'
  | 'SOURCE_TIMEOUT'
  | 'SOURCE_ABORTED';

/** A back end could not give the bytes. */
export class SourceError extends CodedError<SourceErrorCode> {}

/** The error of a call whose patience has ended. `what` names object and place. */
export function impatient(what: string): (why: 'deadline' | 'signal') => SourceError {
  return (why) =>
    why === 'deadline'
      ? new SourceError('SOURCE_TIMEOUT', `${what}: no answer before the deadline`)
      : new SourceError('SOURCE_ABORTED', `${what}: given up, nobody waits for it any more`);
}
