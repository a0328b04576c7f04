import type { BlobView } from '../../../blob/view.ts';

/** A mount as the queue workers learn of it: plain data, structured-cloneable. */
export interface MountSpec {
  /** Serial of the mount: the high word of its nodeids. Never reused while a guest may remember it. */
  readonly serial: number;
  /** Normalised absolute path in the pseudo tree. */
  readonly path: string;
  /** Sealed memfd with the bootstrap, and its size. */
  readonly bootstrapFd: number;
  readonly bootstrapSize: number;
  readonly blobs: readonly BlobView[];
  /** Shown where the bootstrap has no owners (EXPLICIT_UID_GID unset). */
  readonly uid: number;
  readonly gid: number;
  readonly xattrs: boolean;
  /** digest_validate: inode digests of v5 are checked when an inode is first used. */
  readonly validate: boolean;
  readonly account: { readonly files: boolean; readonly pattern: boolean; readonly latest: boolean };
}

/** Control thread → queue worker. `id` numbers a request that wants an `ack`. */
export type ToWorker =
  | { type: 'mount'; id: number; spec: MountSpec }
  | { type: 'unmount'; id: number; serial: number }
  | { type: 'attach'; id: number; device: number; queue: number }
  /** `drain`: requests in flight are answered first, see QueueHost. */
  | { type: 'detach'; id: number; device: number; queue: number; drain: boolean }
  /** Answered once no request uses memory older than the present table. */
  | { type: 'memory'; id: number; device: number }
  /** The front-end went, or the device was reset: the FUSE session begins anew. */
  | { type: 'session'; id: number }
  /** Answered with the CounterSnapshot of a mount; `takeLatest` clears the list of inodes read lately. */
  | { type: 'metrics'; id: number; serial: number; takeLatest: boolean }
  /** Answered with the requests being served, as GET /api/v1/metrics/inflight shows them. */
  | { type: 'inflight'; id: number }
  | { type: 'stop'; id: number };

/** Queue worker → control thread. */
export type FromWorker =
  | { type: 'ready' }
  | { type: 'ack'; id: number; result: number; value?: unknown }
  /** Guest memory vanished or a ring broke. */
  | { type: 'fault'; device: number; queue: number; errno: number }
  | {
      type: 'log';
      level: 'debug' | 'info' | 'warn' | 'error';
      fields: Record<string, unknown>;
      message: string;
    };
