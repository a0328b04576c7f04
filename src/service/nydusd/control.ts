/** What the API asks of the daemon behind it. The daemon implements it; errors it throws are ApiErrors. */

export type DaemonState = 'INIT' | 'READY' | 'RUNNING' | 'STOPPED' | 'UNKNOWN';

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

export interface Events {
  max_errors: number;
  total_errors: number;
  max_size: number;
  total_size: number;
  errors: string[];
}

export interface MountRequest {
  readonly mountpoint: string;
  readonly fsType: string;
  readonly source: string;
  /** Text of a configuration; `configPath` instead when it is a file (2020); neither: the daemon's own. */
  readonly config?: string;
  readonly configPath?: string;
  readonly prefetchFiles: readonly string[];
}

/** Counters of one mount over all queue workers, as GET /api/v1/metrics shows them (utils/src/metrics.rs of upstream). */
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

export type MetricsKind = 'global' | 'files' | 'latest' | 'pattern' | 'backend' | 'blobcache';

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
  superblock(mountpoint: string): unknown;
  /** Undefined: nothing is counted under this id. Without an id there must be exactly one. */
  metrics(kind: MetricsKind, id: string | null): Promise<unknown>;
  /** Requests that are being served. */
  inflight(): Promise<unknown[]>;
  /** Every mount's counters, for the Prometheus page. */
  allMetrics(): Promise<FsMetrics[]>;
}
