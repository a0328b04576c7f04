/** What the API asks of the daemon behind it. The daemon implements it and answers with ControlErrors. */
import { CodedError } from '../../lib/coded-error.ts';

/** Why the daemon does not do what it was asked: by code what the answer must name beside the message. */
export interface ControlFailures {
  DAEMON_ENDING: null;
  /** The event that the daemon's state does not have. */
  LIFE_UNEXPECTED_EVENT: string;
  MOUNT_EXISTS: null;
  MOUNT_NOT_FOUND: 'remount' | 'unmount';
  MOUNT_LIMIT: null;
  MOUNT_BAD_PATH: null;
  /** The type that was asked for, which does not exist. */
  MOUNT_BAD_TYPE: string;
  MOUNT_CONFIG_UNPARSED: null;
  MOUNT_CONFIG_INVALID: null;
  /** Code of the error, if it has one: `ENOENT` where the system refused the file, others where it is no bootstrap. */
  MOUNT_BAD_SUPERBLOCK: string | undefined;
  MOUNT_BAD_BLOBS: null;
  /** Code of the error that a queue worker answered. */
  MOUNT_WORKER_FAILED: string;
  MOUNT_NOT_SUPPORTED: null;
  /** A value that may not be set at run time. */
  CONFIG_REFUSED: null;
}

/**
 * An error of the daemon that its caller gets to know. The message names what is wrong and the rule; it knows nothing
 * of HTTP.
 */
export class ControlError<
  Code extends keyof ControlFailures = keyof ControlFailures,
> extends CodedError<Code> {
  readonly about: ControlFailures[Code];

  constructor(code: Code, about: ControlFailures[Code], message: string, options?: ErrorOptions) {
    super(code, message, options);
    this.about = about;
  }
}

/** States of the daemon's life, by upstream's names. */
export type DaemonState = 'INIT' | 'READY' | 'RUNNING' | 'STOPPED';

/** A mount as GET /api/v1/daemon shows it. */
export interface BackendInfo {
  backend_type: 'Rafs';
  mountpoint: string;
  mounted_time: string;
  /** The configuration in the form of version 2, without secrets. */
  config: unknown;
}

/** GET /api/v1/daemon (service/src/daemon.rs of upstream). */
export interface DaemonInfo {
  version: { package_ver: string; git_commit: string; build_time: string; profile: string; rustc: string };
  id: string | null;
  supervisor: string | null;
  state: DaemonState;
  backend_collection: Record<string, BackendInfo> | null;
}

/** GET /api/v1/daemon/events: sizes in bytes. */
export interface Events {
  max_errors: number;
  total_errors: number;
  max_size: number;
  total_size: number;
  errors: string[];
}

/** What to mount, and where. */
export interface MountRequest {
  readonly mountpoint: string;
  readonly fsType: string;
  readonly source: string;
  /** Text of a configuration; `configPath` instead when it is a file (2020); neither: the daemon's own. */
  readonly config?: string;
  readonly configPath?: string;
  readonly prefetchFiles: readonly string[];
}

/**
 * Counters of one mount over all queue workers, as GET /api/v1/metrics shows them (utils/src/metrics.rs of upstream).
 */
export interface FsMetrics {
  files_account_enabled: boolean;
  access_pattern_enabled: boolean;
  record_latest_read_files_enabled: boolean;
  measure_latency: boolean;
  id: string;
  nr_opens: number;
  data_read: number;
  block_count_read: number[];
  fop_hits: number[];
  fop_errors: number[];
  fop_cumulative_latency_total: number[];
  read_latency_dist: number[];
}

/** The counters that can be asked for; `latest` are the inodes read since it was last asked. */
export type MetricsKind = 'global' | 'files' | 'latest' | 'pattern' | 'backend' | 'blobcache';

/** The daemon. Its methods throw ControlErrors and, for defects and a world that is wrong, any others. */
export interface Control {
  info(): DaemonInfo;
  /** False when the level is none of upstream's. */
  setLogLevel(level: string): boolean;
  events(): Events;
  start(): void;
  /** Begins the end; the process is gone soon after. */
  exit(): void;
  mount(request: MountRequest): Promise<void>;
  /** Mounts, replacing what is there (2020). */
  mountOver(request: MountRequest): Promise<void>;
  remount(request: MountRequest): Promise<void>;
  unmount(mountpoint: string): Promise<void>;
  /** Undefined: nothing is mounted there. */
  superblock(mountpoint: string): unknown;
  /** Values set at run time under a configuration's id (null: under none), see RuntimeConfig. Throws CONFIG_REFUSED. */
  setRuntimeConfig(id: string | null, values: Readonly<Record<string, string>>): void;
  runtimeConfig(id: string | null): Record<string, string>;
  /** Undefined: nothing is counted under this id. Without an id there must be exactly one. */
  metrics(kind: MetricsKind, id: string | null): Promise<unknown>;
  /** Requests that are being served. */
  inflight(): Promise<unknown[]>;
  /** Every mount's counters, for the Prometheus page. */
  allMetrics(): Promise<FsMetrics[]>;
}
