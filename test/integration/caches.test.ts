/** The kinds of caches through a nydusd process, and cache directories which the original left. */
import { cpSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { addon } from '../support/addon.ts';
import { ConnectedGuest } from '../support/connected-guest.ts';
import {
  backendReads,
  checkImage,
  chunksFetched,
  type MountOptions,
  missingBlobs,
  mountImage,
} from '../support/images.ts';
import { Nydusd } from '../support/nydusd.ts';
import { FIXTURES, imageNames } from '../support/rafs-fixtures.ts';

const all = process.env.NYDUS_FIXTURES;
const root = all ?? FIXTURES;
/** With other chunk places than the images that share its blob, so not over the same cache. */
const ALIGNED = 'v5-aligned';
const names = imageNames(root).filter((name) => name !== ALIGNED && missingBlobs(root, name).length === 0);

const variants: readonly { name: string; cached: boolean; options: MountOptions }[] = [
  { name: 'no cache', cached: false, options: {} },
  { name: 'compressed bytes in the cache', cached: true, options: { compressed: true } },
  { name: 'digests validated', cached: true, options: { validate: true } },
  { name: 'digests validated, no cache', cached: false, options: { validate: true } },
  { name: 'mode cached', cached: true, options: { mode: 'cached' } },
];

test.each(variants)('$name: every image is equal to its manifest, twice', async ({ cached, options }) => {
  await using daemon = new Nydusd(['--log-level', 'warn']);
  await daemon.ready();
  const workDir = join(daemon.directory, 'cache');
  const mounted: string[] = [];
  for (const name of names) {
    const { status, text } = await mountImage(daemon, root, name, { ...options, ...(cached && { workDir }) });
    if (options.validate === true && name.endsWith('-tarfs')) {
      expect(status).toBe(500);
      expect(text).toContain('a tarfs image has no digests');
    } else {
      expect(text, name).toBe('');
      mounted.push(name);
    }
  }
  using guest = await ConnectedGuest.connect(addon, daemon.sock);
  for (const name of mounted) expect(await checkImage(guest.client, root, name), name).toEqual([]);
  for (const name of mounted) expect(await checkImage(guest.client, root, name), name).toEqual([]);
  expect(daemon.stderr).not.toContain('"level":"error"');
}, 300_000);

/** Bits of the chunk map (after its header of 4 KiB) that are not set. */
function missingChunks(directory: string, chunks: number): number {
  const file = readdirSync(directory).find((name) => name.endsWith('.chunk_map'))!;
  const bits = readFileSync(join(directory, file)).subarray(4096);
  let missing = 0;
  for (let i = 0; i < chunks; i++) if ((bits[i >> 3]! & (0x80 >> (i & 7))) === 0) missing++;
  return missing;
}

describe.skipIf(all === undefined)('cache directories of the original (NYDUS_FIXTURES)', () => {
  const caches = all === undefined ? [] : readdirSync(join(root, 'caches'));

  test.each(caches)('%s: what is there is not fetched', async (cache) => {
    const [name, kind] = cache.split('.') as [string, string | undefined];
    await using daemon = new Nydusd(['--log-level', 'warn']);
    await daemon.ready();
    const workDir = join(daemon.directory, 'cache');
    cpSync(join(root, 'caches', cache), workDir, { recursive: true });
    const options = { workDir, compressed: kind === 'compressed', amplifyBytes: 0 };
    expect((await mountImage(daemon, root, name, options)).text).toBe('');
    const cold = { ...options, workDir: join(daemon.directory, 'cold') };
    expect((await mountImage(daemon, root, name, cold, '/cold')).text).toBe('');
    using guest = await ConnectedGuest.connect(addon, daemon.sock);
    expect(await checkImage(guest.client, root, name, '/cold')).toEqual([]);
    const chunks = await chunksFetched(daemon, '/cold');
    const missing = missingChunks(workDir, chunks);
    expect(missing > 0).toBe(kind === 'partial');

    expect(await checkImage(guest.client, root, name)).toEqual([]);
    expect(await chunksFetched(daemon, `/${name}`)).toBe(missing);
    const { read_count, read_errors, read_amount_total } = await backendReads(daemon, `/${name}`);
    expect(read_errors).toBe(0);
    expect(read_count > 0).toBe(missing > 0);
    const whole = await backendReads(daemon, '/cold');
    if (missing > 0) expect(read_amount_total).toBeLessThan(whole.read_amount_total);
  });
});
