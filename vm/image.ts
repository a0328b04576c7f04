import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { programs } from './daemon.ts';
import { run } from './process.ts';

/** What `nydus-image create` is asked for. */
export interface ImageRequest {
  readonly fsVersion: 5 | 6;
  readonly compressor: 'none' | 'lz4_block' | 'zstd';
  readonly source: string;
  /** Directory for the bootstrap, the blobs, the cache and the config; made if it is not there. */
  readonly directory: string;
}

/** An image on disk and the configuration to mount it with. */
export interface BuiltImage {
  readonly bootstrap: string;
  /** Path of a config file with the content of `config`. */
  readonly configFile: string;
  readonly config: object;
}

/** Builds an image of a directory with `nydus-image create`. */
export function buildImage(want: ImageRequest): BuiltImage {
  const blobs = join(want.directory, 'blobs');
  const cache = join(want.directory, 'cache');
  mkdirSync(blobs, { recursive: true });
  mkdirSync(cache, { recursive: true });
  const bootstrap = join(want.directory, 'image.boot');
  run(join(programs, 'nydus-image'), [
    'create',
    ...['--fs-version', String(want.fsVersion), '--compressor', want.compressor],
    ...['--bootstrap', bootstrap, '--blob-dir', blobs, want.source],
  ]);
  const config = localConfig(blobs, cache);
  const configFile = join(want.directory, 'config.json');
  writeFileSync(configFile, JSON.stringify(config, null, 2));
  return { bootstrap, configFile, config };
}

/** A v1 configuration: blobs from a directory, chunks cached in another. */
export function localConfig(blobs: string, cache: string): object {
  return {
    device: {
      backend: { type: 'localfs', config: { dir: blobs } },
      cache: { type: 'blobcache', config: { work_dir: cache } },
    },
    mode: 'direct',
    digest_validate: false,
    enable_xattr: true,
  };
}
