/**
 * The configuration document, version 2, complete with the back ends that are not served yet: a file written for
 * upstream must be understood, so that the refusal can name the feature instead of a parse error. Field names are
 * upstream's (api/src/config.rs of dragonflyoss/nydus). Unknown fields are dropped.
 */
import { z } from 'zod';
import type {
  Backend,
  BackendType,
  Cache,
  CacheType,
  Config,
  ExternalBackend,
  Filecache,
  Fscache,
  Prefetch,
  Rafs,
} from './config.ts';

/** Largest size that batch and amplification fields accept. */
export const BATCH_SIZE_MAX: number = 0x1000_0000;

const text = z.string();
const flag = z.boolean().default(false);
const count = z.int().nonnegative();
const u32 = count.max(0xffff_ffff, 'must fit 32 bits');
const required = text.min(1, 'must not be empty');
const batchSize = count.max(BATCH_SIZE_MAX, `must be at most ${BATCH_SIZE_MAX}`);

interface FlatProxy {
  proxy?: unknown;
  proxy_fallback?: unknown;
  proxy_ping_url?: unknown;
  proxy_check_interval?: unknown;
}

/** The 2020 README writes the proxy as a bare URL with three flat keys beside it; lift that into the object. */
function liftFlatProxy(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  const record = value as FlatProxy;
  if (typeof record.proxy !== 'string') return value;
  const proxy: Record<string, unknown> = { url: record.proxy };
  if (record.proxy_fallback !== undefined) proxy.fallback = record.proxy_fallback;
  if (record.proxy_ping_url !== undefined) proxy.ping_url = record.proxy_ping_url;
  if (record.proxy_check_interval !== undefined) proxy.check_interval = record.proxy_check_interval;
  return { ...record, proxy };
}

const proxy = z.object({
  url: text.default(''),
  ping_url: text.default(''),
  fallback: z.boolean().default(true),
  check_interval: count.default(5),
  use_http: flag,
  check_pause_elapsed: count.default(300),
  dragonfly_scheduler_endpoint: text.default(''),
});

/** What every back end that speaks HTTP has. */
const http = {
  skip_verify: flag,
  ca_cert_files: z.array(text).default([]),
  timeout: u32.default(5),
  connect_timeout: u32.default(5),
  retry_limit: u32.default(0),
  proxy: proxy.default(() => proxy.parse({})),
};

const localdisk = z.object({ device_path: required, disable_gpt: flag });

const localfs = z
  .object({ blob_file: text.default(''), dir: text.default(''), alt_dirs: z.array(text).default([]) })
  .refine((value) => value.blob_file !== '' || value.dir !== '', {
    message: 'needs `dir` (the directory with the blobs) or `blob_file`',
  });

const oss = z.preprocess(
  liftFlatProxy,
  z.object({
    scheme: text.default('https'),
    endpoint: required,
    bucket_name: text.default(''),
    object_prefix: text.default(''),
    access_key_id: text.default(''),
    access_key_secret: text.default(''),
    ...http,
  }),
);

const s3 = z.preprocess(
  liftFlatProxy,
  z.object({
    scheme: text.default('https'),
    endpoint: text.default(''),
    region: required,
    bucket_name: required,
    object_prefix: text.default(''),
    access_key_id: text.default(''),
    access_key_secret: text.default(''),
    ...http,
  }),
);

const registry = z.preprocess(
  liftFlatProxy,
  z.object({
    scheme: text.default('https'),
    host: required,
    repo: required,
    auth: text.optional(),
    registry_token: text.optional(),
    blob_url_scheme: text.default(''),
    blob_redirected_host: text.default(''),
    ...http,
  }),
);

const httpProxy = z.preprocess(liftFlatProxy, z.object({ addr: required, path: text.default(''), ...http }));

/** Schema of each back end's own section, by the name that `backend.type` uses. */
const backendSections: Readonly<Record<BackendType, z.ZodType>> = {
  localdisk,
  localfs,
  oss,
  s3,
  registry,
  'http-proxy': httpProxy,
};

const backendTypes = Object.keys(backendSections) as BackendType[];

/** `backend`: a type and the section of the same name; other sections may be there and are not looked at. */
export const backend: z.ZodType<Backend> = z
  .object({
    type: z.enum(backendTypes),
    localdisk: z.unknown().optional(),
    localfs: z.unknown().optional(),
    oss: z.unknown().optional(),
    s3: z.unknown().optional(),
    registry: z.unknown().optional(),
    'http-proxy': z.unknown().optional(),
  })
  .transform((value, context) => {
    const section = backendSections[value.type].safeParse(value[value.type] ?? {});
    if (!section.success) {
      for (const issue of section.error.issues) {
        context.addIssue({ code: 'custom', message: issue.message, path: [value.type, ...issue.path] });
      }
      return z.NEVER;
    }
    const none = { localdisk: null, localfs: null, oss: null, s3: null, registry: null, 'http-proxy': null };
    return { type: value.type, ...none, [value.type]: section.data } as Backend;
  });

/** `prefetch` as an absent object is shown: nothing on, all counts 0. */
export const noPrefetch: Prefetch = {
  enable: false,
  threads: 0,
  batch_size: 0,
  bandwidth_limit: 0,
  prefetch_all: false,
  stream_prefetch: false,
};

const prefetch: z.ZodType<Prefetch> = z
  .object({
    enable: z.boolean(),
    threads: count.default(8),
    batch_size: batchSize.default(1 << 20),
    bandwidth_limit: u32.default(0),
    prefetch_all: flag,
    stream_prefetch: flag,
  })
  .refine((value) => !value.enable || (value.threads >= 1 && value.threads <= 1024), {
    message: 'must be 1 to 1024 when prefetch is enabled',
    path: ['threads'],
  });

export const filecache: z.ZodType<Filecache> = z.object({
  work_dir: required.default('.'),
  disable_indexed_map: flag,
  enable_encryption: flag,
  enable_convergent_encryption: flag,
  encryption_key: text.default(''),
});

export const fscache: z.ZodType<Fscache> = z.object({ work_dir: required.default('.') });

/**
 * The cache types which upstream knows; `blobcache` and `filecache` are two names of one thing, so are `''` and
 * `dummycache`.
 */
export const cacheType: z.ZodType<CacheType> = z.enum([
  'blobcache',
  'filecache',
  'fscache',
  'dummycache',
  '',
]);

const cache: z.ZodType<Cache> = z
  .object({
    type: cacheType.default(''),
    compressed: flag,
    validate: flag,
    prefetch: prefetch.default(noPrefetch),
    filecache: filecache.nullable().default(null),
    fscache: fscache.nullable().default(null),
  })
  .refine((value) => !['blobcache', 'filecache'].includes(value.type) || value.filecache !== null, {
    message: 'is required because `cache.type` is blobcache; give it a `work_dir`',
    path: ['filecache'],
  });

/** Behaviour of one mounted image. */
const rafs: z.ZodType<Rafs> = z.object({
  mode: z.enum(['direct', 'cached']).default('direct'),
  batch_size: batchSize.default(1 << 20),
  validate: flag,
  enable_xattr: flag,
  iostats_files: flag,
  access_pattern: flag,
  latest_read_files: flag,
  prefetch: prefetch.default(noPrefetch),
});

export const externalBackend: z.ZodType<ExternalBackend> = z.object({
  patch: z.record(text, text).default({}),
  type: text.default(''),
  config: z.record(text, text).default({}),
});

const overlay = z.object({ upper_dir: required, work_dir: required });

/** A parsed document; what may be absent in the file is filled in by the loader. */
type DocumentV2 = Omit<Config, 'backend' | 'cache' | 'rafs'> & {
  backend?: Backend | undefined;
  cache: Cache | null;
  rafs: Rafs | null;
};

/** The whole document. `backend`, `cache` and `rafs` may be absent in a file that only sets an id. */
export const configV2: z.ZodType<DocumentV2> = z.object({
  version: z.literal(2),
  id: text.default(''),
  backend: backend.optional(),
  external_backends: z.array(externalBackend).default([]),
  cache: cache.nullable().default(null),
  rafs: rafs.nullable().default(null),
  overlay: overlay.nullable().default(null),
});
