/**
 * A configuration after parsing, whatever form it came in: the shape of upstream's version 2, by its field names
 * (api/src/config.rs of dragonflyoss/nydus), so that it can be shown as it is.
 */
export interface Config {
  version: 2;
  id: string;
  backend: Backend;
  external_backends: ExternalBackend[];
  cache: Cache;
  rafs: Rafs;
  overlay: { upper_dir: string; work_dir: string } | null;
}

export type BackendType = 'localdisk' | 'localfs' | 'oss' | 's3' | 'registry' | 'http-proxy';

/** The section named by `type` is set, the others are null. */
export interface Backend {
  type: BackendType;
  localdisk: { device_path: string; disable_gpt: boolean } | null;
  localfs: { blob_file: string; dir: string; alt_dirs: string[] } | null;
  oss: ObjectStore | null;
  s3: (ObjectStore & { region: string }) | null;
  registry: Registry | null;
  'http-proxy': (HttpBackend & { addr: string; path: string }) | null;
}

/** What every back end that speaks HTTP has. Timeouts in seconds, 0 = none. */
interface HttpBackend {
  skip_verify: boolean;
  ca_cert_files: string[];
  timeout: number;
  connect_timeout: number;
  retry_limit: number;
  proxy: Proxy;
}

interface Proxy {
  url: string;
  ping_url: string;
  fallback: boolean;
  /** Seconds. */
  check_interval: number;
  use_http: boolean;
  check_pause_elapsed: number;
  dragonfly_scheduler_endpoint: string;
}

interface ObjectStore extends HttpBackend {
  scheme: string;
  endpoint: string;
  bucket_name: string;
  object_prefix: string;
  access_key_id: string;
  access_key_secret: string;
}

interface Registry extends HttpBackend {
  scheme: string;
  host: string;
  repo: string;
  auth?: string | undefined;
  registry_token?: string | undefined;
  blob_url_scheme: string;
  blob_redirected_host: string;
}

export interface ExternalBackend {
  patch: Record<string, string>;
  type: string;
  config: Record<string, string>;
}

/** `blobcache` and `filecache` name one thing, so do `''` and `dummycache`: no cache. */
export type CacheType = 'blobcache' | 'filecache' | 'fscache' | 'dummycache' | '';

export interface Cache {
  type: CacheType;
  /** Store compressed bytes. */
  compressed: boolean;
  validate: boolean;
  prefetch: Prefetch;
  filecache: Filecache | null;
  fscache: Fscache | null;
}

export interface Filecache {
  work_dir: string;
  disable_indexed_map: boolean;
  enable_encryption: boolean;
  enable_convergent_encryption: boolean;
  encryption_key: string;
}

export interface Fscache {
  work_dir: string;
}

export interface Prefetch {
  enable: boolean;
  threads: number;
  /** Bytes. */
  batch_size: number;
  /** Bytes per second, 0 = no limit. */
  bandwidth_limit: number;
  prefetch_all: boolean;
  stream_prefetch: boolean;
}

/** Behaviour of one mounted image. */
export interface Rafs {
  mode: 'direct' | 'cached';
  /** Bytes. */
  batch_size: number;
  validate: boolean;
  enable_xattr: boolean;
  iostats_files: boolean;
  access_pattern: boolean;
  latest_read_files: boolean;
  prefetch: Prefetch;
}
