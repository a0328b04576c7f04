/** What nydusd is told at start, after argv has been read. */
export interface NydusdOptions {
  readonly sock: string;
  readonly apisock: string | null;
  readonly bootstrap: string | null;
  readonly config: string | null;
  readonly localfsDir: string | null;
  readonly virtualMountpoint: string;
  readonly id: string | null;
  readonly logLevel: string;
  readonly logFile: string | null;
  /** Megabytes, 0 = no rotation. */
  readonly logRotationSizeMb: number;
  /** 0 = leave as it is. */
  readonly rlimitNofile: number;
  /** A file with one path per line, or (2020) the paths themselves. */
  readonly prefetchFiles: readonly string[];
  readonly requestQueues: number;
  readonly tag: string | null;
  /** Busy polling before a worker sleeps, microseconds. */
  readonly pollUs: number;
  readonly exitOnDisconnect: boolean;
}
