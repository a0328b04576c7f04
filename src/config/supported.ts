import type { Config } from './config.ts';

/**
 * What a valid configuration asks for and this version does not do: one sentence that names the field and what to use,
 * or null. Asked at mount, so that a file with such a section can still be loaded and shown.
 */
export function notSupportedYet(config: Config): string | null {
  if (config.backend.type !== 'localfs') {
    return `backend.type "${config.backend.type}" is not supported yet; use "localfs" with the directory of the blobs`;
  }
  if (config.external_backends.length > 0) {
    return 'external_backends is not supported yet; remove it from the configuration';
  }
  if (config.cache.type === 'fscache') {
    return 'cache.type "fscache" is not supported yet; use "blobcache"';
  }
  const file = config.cache.filecache;
  if (file?.enable_encryption || file?.enable_convergent_encryption) {
    return 'cache.filecache.enable_encryption is not supported yet; set it to false';
  }
  if (config.overlay !== null) {
    return 'overlay is not supported yet; remove it and mount read-only';
  }
  return null;
}

/** Prefetch settings that are accepted and do nothing yet, for a log line; null if there are none. */
export function notActiveYet(config: Config, prefetchFiles: readonly string[]): string | null {
  const asked: string[] = [];
  if (config.rafs.prefetch.enable || config.cache.prefetch.enable) asked.push('prefetch');
  if (prefetchFiles.length > 0) asked.push('prefetch_files');
  return asked.length === 0 ? null : `${asked.join(' and ')}: accepted, not active yet`;
}
