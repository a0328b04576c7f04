import type { Config } from './config.ts';

/** The configuration as GET /api/v1/daemon shows it: secrets left out. */
export function withoutSecrets(config: Config): Config {
  const { registry, oss, s3 } = config.backend;
  const blank = <T extends { access_key_id: string; access_key_secret: string }>(
    value: T | null,
  ): T | null => (value === null ? null : { ...value, access_key_id: '', access_key_secret: '' });
  return {
    ...config,
    backend: {
      ...config.backend,
      oss: blank(oss),
      s3: blank(s3),
      registry: registry === null ? null : { ...registry, auth: undefined, registry_token: undefined },
    },
    cache: {
      ...config.cache,
      filecache: config.cache.filecache === null ? null : { ...config.cache.filecache, encryption_key: '' },
    },
  };
}
