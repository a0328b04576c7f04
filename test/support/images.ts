/** Images of a fixtures directory, mounted through the API of a daemon. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { openBootstrap } from '../../src/rafs/open-bootstrap.ts';
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
  /** Bytes up to which a read of the back end is extended. */
  readonly amplifyBytes?: number;
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
  const {
    workDir,
    blobDir = join(root, 'blobs'),
    compressed,
    validate,
    mode = 'direct',
    amplifyBytes,
  } = options;
  const cache = workDir === undefined ? {} : { type: 'blobcache', compressed, config: { work_dir: workDir } };
  const config = {
    // Caches are counted under this id.
    device: { id: mountpoint, backend: { type: 'localfs', config: { dir: blobDir } }, cache },
    mode,
    digest_validate: validate,
    amplify_io: amplifyBytes,
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

/** 5 GiB, nearly all of it zeros: not read as a whole. */
const HUGE = /-huge$/;
const HUGE_FILE_BYTES = 5_368_709_123;
/** Bytes of the sparse file around which everything is zero. */
const HUGE_DATA: readonly { at: number; text: string }[] = [
  { at: 0, text: 'start' },
  { at: 4_294_967_294, text: 'over the 4 GiB line' },
  { at: HUGE_FILE_BYTES - 3, text: 'end' },
];

/** The places of the sparse file that hold data, and its end. */
async function checkHuge(client: FuseClient, mountpoint: string): Promise<string[]> {
  const wrong: string[] = [];
  const node = await client.walk(`${mountpoint}/five-gib`);
  for (const { at, text } of HUGE_DATA) {
    const begin = Math.max(0, at - 70_000);
    const end = Math.min(HUGE_FILE_BYTES, at + 70_000);
    const expected = Buffer.alloc(end - begin);
    expected.write(text, at - begin);
    const seen: Uint8Array[] = [];
    for (let offset = begin; offset < end; ) {
      const bytes = await client.read(node, offset, Math.min(128 << 10, end - offset));
      if (bytes.length === 0) throw new Error(`end of file at ${offset}`);
      seen.push(bytes);
      offset += bytes.length;
    }
    if (!Buffer.concat(seen).equals(expected)) wrong.push(`/five-gib: wrong bytes around ${at}`);
  }
  const beyond = await client.read(node, HUGE_FILE_BYTES, 4096);
  if (beyond.length > 0) wrong.push('/five-gib: bytes after its end');
  return wrong;
}

/** Differences between a mount and its image's manifest, contents included; `-huge` images in samples. */
export async function checkImage(
  client: FuseClient,
  root: string,
  name: string,
  mountpoint = `/${name}`,
): Promise<string[]> {
  if (!HUGE.test(name)) return differences(client, root, name, {}, mountpoint);
  const data = await checkHuge(client, mountpoint);
  return [...data, ...(await differences(client, root, name, { ignore: ['sha256'] }, mountpoint))];
}

export interface BackendReads {
  readonly read_count: number;
  readonly read_errors: number;
  readonly read_amount_total: number;
}

/** GET /api/v1/metrics/backend of a mount. */
export async function backendReads(daemon: Nydusd, mountpoint: string): Promise<BackendReads> {
  const { status, text } = await daemon.call('GET', `/api/v1/metrics/backend?id=${mountpoint}`);
  if (status !== 200) throw new Error(`metrics of ${mountpoint}: ${text}`);
  return JSON.parse(text) as BackendReads;
}

/** Chunks that the mount's blobs have brought since they were opened. */
export async function chunksFetched(daemon: Nydusd, mountpoint: string): Promise<number> {
  const { status, text } = await daemon.call('GET', `/api/v1/metrics/blobcache?id=${mountpoint}`);
  if (status !== 200) throw new Error(`metrics of ${mountpoint}: ${text}`);
  return (JSON.parse(text) as { partial_hits: number }).partial_hits;
}
