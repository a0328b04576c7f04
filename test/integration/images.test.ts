/** Every image of the fixtures through a nydusd process, as a guest sees it. */
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { addon } from '../support/addon.ts';
import { ConnectedGuest } from '../support/connected-guest.ts';
import { differences, missingBlobs, mountImage } from '../support/images.ts';
import { Nydusd } from '../support/nydusd.ts';
import { FIXTURES, imageNames } from '../support/rafs-fixtures.ts';

const all = process.env.NYDUS_FIXTURES;

/** 5 GiB, nearly all of it zeros: not read as a whole. */
const HUGE = /-huge$/;
const HUGE_FILE_BYTES = 5_368_709_123;
/** Bytes of the sparse file around which everything is zero. */
const HUGE_DATA: readonly { at: number; text: string }[] = [
  { at: 0, text: 'start' },
  { at: 4_294_967_294, text: 'over the 4 GiB line' },
  { at: HUGE_FILE_BYTES - 3, text: 'end' },
];

async function checkHuge(guest: ConnectedGuest, name: string): Promise<void> {
  const { client } = guest;
  const node = await client.walk(`/${name}/five-gib`);
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
    expect(Buffer.concat(seen).equals(expected), `${name} at ${at}`).toBe(true);
  }
  expect(await client.read(node, HUGE_FILE_BYTES, 4096)).toHaveLength(0);
}

async function check(guest: ConnectedGuest, root: string, name: string): Promise<string[]> {
  if (!HUGE.test(name)) return differences(guest.client, root, name);
  await checkHuge(guest, name);
  return differences(guest.client, root, name, { ignore: ['sha256'] });
}

describe.each([
  { name: 'the repository', root: FIXTURES, skip: false },
  { name: 'NYDUS_FIXTURES (skipped when unset)', root: all ?? '', skip: all === undefined },
])('the images of $name', ({ root, skip }) => {
  test.skipIf(skip)(
    'all mounted at once, each is equal to its manifest, contents included',
    async () => {
      await using daemon = new Nydusd();
      await daemon.ready();
      // The same blob as others', with its chunks at other places: two layouts cannot share a cache file.
      const cacheOf = (name: string) =>
        join(daemon.directory, name === 'v5-aligned' ? 'cache-aligned' : 'cache');
      const mounted: string[] = [];
      for (const name of imageNames(root)) {
        const { status, text } = await mountImage(daemon, root, name, { workDir: cacheOf(name) });
        const missing = missingBlobs(root, name);
        if (missing.length === 0) {
          expect(text, name).toBe('');
          mounted.push(name);
        } else {
          expect(status, name).toBe(500);
          expect(text, name).toContain(missing[0]);
        }
      }
      using guest = await ConnectedGuest.connect(addon, daemon.sock);
      for (const name of mounted) expect(await check(guest, root, name), name).toEqual([]);
      // What is cached must be what was fetched.
      for (const name of mounted) expect(await check(guest, root, name), `${name}, cached`).toEqual([]);
      expect(daemon.stderr).not.toContain('"level":"error"');
    },
    300_000,
  );
});
