/** Images of a collection, changed by `nydus-image`, as a collection of their own. */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { addon } from './addon.ts';
import { ConnectedGuest } from './connected-guest.ts';
import { checkImage, mountImage, sourceOf } from './images.ts';
import { Nydusd } from './nydusd.ts';

const program = join(import.meta.dirname, '../../bin/nydus-image');

export interface Run {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export function runImage(args: readonly string[]): Run {
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' });
  return { code: status, stdout, stderr };
}

export interface Rewritten extends Run {
  /** Where the new bootstrap is. */
  readonly boot: string;
  /** `blobs` of the summary. */
  readonly blobs: readonly string[];
}

/**
 * Runs a command that reads an image of the collection `root` and writes one of the same tree. `argsOf` gets the old
 * bootstrap, and the directory of the new collection's blobs, which are those of `root` and what the command puts
 * there.
 */
export function rewrite(
  root: string,
  name: string,
  out: string,
  argsOf: (source: string, blobDir: string) => readonly string[],
): Rewritten {
  const image = join(out, 'images', name);
  const blobDir = join(out, 'blobs');
  for (const path of [image, blobDir]) mkdirSync(path, { recursive: true });
  cpSync(join(root, 'images', name, 'manifest'), join(image, 'manifest'));
  if (!existsSync(join(out, 'manifests'))) symlinkSync(join(root, 'manifests'), join(out, 'manifests'));
  for (const id of readdirSync(join(root, 'blobs'))) {
    if (!existsSync(join(blobDir, id))) symlinkSync(join(root, 'blobs', id), join(blobDir, id));
  }
  const boot = join(image, 'image.boot');
  const json = join(image, 'out.json');
  const run = runImage([...argsOf(sourceOf(root, name), blobDir), '-O', boot, '-J', json]);
  const blobs = existsSync(json) ? (JSON.parse(readFileSync(json, 'utf8')) as { blobs: string[] }).blobs : [];
  return { ...run, boot, blobs };
}

/**
 * Mounts images of a collection at once and compares each with its manifest, contents included; their digests, too, if
 * they have any.
 */
export async function expectMounted(out: string, names: readonly string[], validate = true): Promise<void> {
  await using daemon = new Nydusd();
  await daemon.ready();
  for (const name of names) {
    const { status, text } = await mountImage(daemon, out, name, { validate });
    expect({ name, status, text }).toEqual({ name, status: 204, text: '' });
  }
  using guest = await ConnectedGuest.connect(addon, daemon.sock);
  for (const name of names) expect(await checkImage(guest.client, out, name), name).toEqual([]);
  expect(daemon.stderr).not.toContain('"level":"error"');
}
