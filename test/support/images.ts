/** Images of a fixtures directory, mounted through the API of a daemon. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { openBootstrap } from '../../src/rafs/bootstrap.ts';
import type { FuseClient } from './fuse-client.ts';
import type { Answer, Nydusd } from './nydusd.ts';
import { bootstrapBytes } from './rafs-fixtures.ts';
import { compareWithManifest, type WalkOptions } from './tree.ts';

export interface MountOptions {
  /** Where the cache is; none: no cache at all. */
  readonly workDir?: string;
  /** Instead of the collection's blobs. */
  readonly blobDir?: string;
  readonly compressed?: boolean;
  readonly validate?: boolean;
  readonly mode?: 'direct' | 'cached';
}

/** The bootstrap's file, or the blob at whose end it is. */
export function sourceOf(root: string, name: string): string {
  const inline = join(root, 'images', name, 'inline');
  if (!existsSync(inline)) return join(root, 'images', name, 'image.boot');
  return join(root, 'blobs', readFileSync(inline, 'utf8').trim());
}

/** Ids of blobs which the image needs and the collection does not have. */
export function missingBlobs(root: string, name: string): string[] {
  return openBootstrap(bootstrapBytes(root, name), name)
    .blobs.map(({ id }) => id)
    .filter((id) => !/^x+$/.test(id) && !existsSync(join(root, 'blobs', id)));
}

export function mountImage(
  daemon: Nydusd,
  root: string,
  name: string,
  options: MountOptions,
  mountpoint = `/${name}`,
  method: 'POST' | 'PUT' = 'POST',
): Promise<Answer> {
  const { workDir, blobDir = join(root, 'blobs'), compressed, validate, mode = 'direct' } = options;
  const cache = workDir === undefined ? {} : { type: 'blobcache', compressed, config: { work_dir: workDir } };
  const config = {
    device: { backend: { type: 'localfs', config: { dir: blobDir } }, cache },
    mode,
    digest_validate: validate,
    enable_xattr: true,
  };
  const body = { fs_type: 'rafs', source: sourceOf(root, name), config: JSON.stringify(config) };
  return daemon.call(method, `/api/v1/mount?mountpoint=${mountpoint}`, JSON.stringify(body));
}

/** Differences between what the guest sees of a mount and the image's manifest. */
export async function differences(
  client: FuseClient,
  root: string,
  name: string,
  options: WalkOptions = {},
  mountpoint = `/${name}`,
): Promise<string[]> {
  const manifest = readFileSync(join(root, 'images', name, 'manifest'), 'utf8').trim();
  const plain = join(root, 'manifests', `${manifest}.tsv`);
  const file = existsSync(plain) ? plain : `${plain}.gz`;
  return compareWithManifest(client, file, { ...options, root: await client.walk(mountpoint) });
}

export interface BackendReads {
  readonly read_count: number;
  readonly read_errors: number;
  readonly read_amount_total: number;
}

export async function backendReads(daemon: Nydusd, mountpoint: string): Promise<BackendReads> {
  const { status, text } = await daemon.call('GET', `/api/v1/metrics/backend?id=${mountpoint}`);
  if (status !== 200) throw new Error(`metrics of ${mountpoint}: ${text}`);
  return JSON.parse(text) as BackendReads;
}
