/**
 * The JSON form of 2020 (`device`, `mode`, `digest_validate`, …), which most deployments still write, turned into
 * `Config`.
 */
import { z } from 'zod';
import type { Backend, Cache, CacheType, Config, ExternalBackend, Prefetch } from './config.ts';
import { BATCH_SIZE_MAX, backend, cacheType, externalBackend, filecache, fscache, noPrefetch } from './v2.ts';

interface CacheV1 {
  type: CacheType;
  compressed: boolean;
  validate: boolean;
  config: Record<string, unknown>;
}

interface PrefetchV1 {
  enable: boolean;
  threads_count: number;
  merging_size: number;
  bandwidth_rate: number;
  prefetch_all: boolean;
  stream_prefetch: boolean;
}

/** A parsed document of version 1; `device.cache.config` is still unchecked. */
interface ConfigV1 {
  device: { id: string; backend: Backend; external_backends: ExternalBackend[]; cache: CacheV1 };
  mode: 'direct' | 'cached';
  digest_validate: boolean;
  iostats_files: boolean;
  access_pattern: boolean;
  latest_read_files: boolean;
  enable_xattr: boolean;
  amplify_io: number;
  fs_prefetch?: PrefetchV1 | undefined;
}

const flag = z.boolean().default(false);
const count = z.int().nonnegative();
const batchSize = count.max(BATCH_SIZE_MAX, `must be at most ${BATCH_SIZE_MAX}`);

/** `http-proxy` exists in version 2 only. */
const backendV1: z.ZodType<Backend> = z
  .object({
    type: z.enum(['localdisk', 'localfs', 'oss', 's3', 'registry']),
    config: z.record(z.string(), z.unknown()),
  })
  .transform((value, context) => {
    const parsed = backend.safeParse({ type: value.type, [value.type]: value.config });
    if (parsed.success) return parsed.data;
    for (const issue of parsed.error.issues) {
      // The user wrote `device.backend.config.X`, not `backend.<type>.X`.
      context.addIssue({ code: 'custom', message: issue.message, path: ['config', ...issue.path.slice(1)] });
    }
    return z.NEVER;
  });

const cacheV1: z.ZodType<CacheV1> = z.object({
  type: cacheType.default(''),
  compressed: flag,
  validate: flag,
  config: z.record(z.string(), z.unknown()).default({}),
});

const prefetchV1: z.ZodType<PrefetchV1> = z
  .object({
    enable: flag,
    threads_count: count.default(8),
    merging_size: batchSize.default(1 << 20),
    bandwidth_rate: count.max(0xffff_ffff, 'must fit 32 bits').default(0),
    // Upstream prefetches everything as soon as the object exists.
    prefetch_all: z.boolean().default(true),
    stream_prefetch: flag,
  })
  .refine((value) => !value.enable || (value.threads_count >= 1 && value.threads_count <= 1024), {
    message: 'must be 1 to 1024 when prefetch is enabled',
    path: ['threads_count'],
  });

/** The whole document. `mode` has no default upstream. */
export const configV1: z.ZodType<ConfigV1> = z.object({
  device: z.object({
    id: z.string().default(''),
    backend: backendV1,
    external_backends: z.array(externalBackend).default([]),
    cache: cacheV1.default({ type: '', compressed: false, validate: false, config: {} }),
  }),
  mode: z.enum(['direct', 'cached']),
  digest_validate: flag,
  iostats_files: flag,
  access_pattern: flag,
  latest_read_files: flag,
  enable_xattr: flag,
  amplify_io: batchSize.default(1 << 20),
  fs_prefetch: prefetchV1.optional(),
});

function convertPrefetch(value: PrefetchV1 | undefined): Prefetch {
  if (value === undefined) return noPrefetch;
  return {
    enable: value.enable,
    threads: value.threads_count,
    batch_size: value.merging_size,
    bandwidth_limit: value.bandwidth_rate,
    prefetch_all: value.prefetch_all,
    stream_prefetch: value.stream_prefetch,
  };
}

function convertCache(value: CacheV1, prefetch: Prefetch): Cache {
  const file = value.type === 'blobcache' || value.type === 'filecache';
  return {
    type: value.type,
    compressed: value.compressed,
    validate: value.validate,
    // Only an enabled prefetch reaches the cache; upstream shows a disabled one with prefetch_all set.
    prefetch: prefetch.enable ? prefetch : { ...noPrefetch, prefetch_all: true },
    filecache: file ? filecache.parse(value.config) : null,
    fscache: value.type === 'fscache' ? fscache.parse(value.config) : null,
  };
}

/** Version 1 → the shape of version 2. Throws ZodError (paths below `device.cache.config`) for a bad cache section. */
export function fromV1(value: ConfigV1): Config {
  const prefetch = convertPrefetch(value.fs_prefetch);
  return {
    version: 2,
    id: value.device.id,
    backend: value.device.backend,
    external_backends: value.device.external_backends,
    cache: convertCache(value.device.cache, prefetch),
    rafs: {
      mode: value.mode,
      batch_size: value.amplify_io,
      validate: value.digest_validate,
      enable_xattr: value.enable_xattr,
      iostats_files: value.iostats_files,
      access_pattern: value.access_pattern,
      latest_read_files: value.latest_read_files,
      prefetch,
    },
    overlay: null,
  };
}
