/** Every image of the fixtures through a nydusd process, as a guest sees it. */
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { addon } from '../support/addon.ts';
import { ConnectedGuest } from '../support/connected-guest.ts';
import { checkImage, missingBlobs, mountImage } from '../support/images.ts';
import { Nydusd } from '../support/nydusd.ts';
import { FIXTURES, imageNames } from '../support/rafs-fixtures.ts';

const all = process.env.NYDUS_FIXTURES;

describe.each([
  { name: 'the repository', root: FIXTURES, skip: false },
  { name: 'NYDUS_FIXTURES (skipped when unset)', root: all ?? '', skip: all === undefined },
])('the images of $name', ({ root, skip }) => {
  test.skipIf(skip)(
    'all mounted at once, each is equal to its manifest, contents included',
    async () => {
      await using daemon = new Nydusd();
      await daemon.ready();
      // v5-aligned has the blob of others with its chunks at other places: only one of them can have the cache file.
      const workDir = join(daemon.directory, 'cache');
      const mounted: string[] = [];
      for (const name of imageNames(root)) {
        const { status, text } = await mountImage(daemon, root, name, { workDir });
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
      for (const name of mounted) expect(await checkImage(guest.client, root, name), name).toEqual([]);
      // What is cached must be what was fetched.
      for (const name of mounted)
        expect(await checkImage(guest.client, root, name), `${name}, cached`).toEqual([]);
      expect(daemon.stderr).not.toContain('"level":"error"');
    },
    300_000,
  );
});
