import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { localConfig } from '../../vm/image.ts';
import { differences } from '../../vm/manifest.ts';
import { repository } from '../../vm/process.ts';
import { Stage } from '../../vm/stage.ts';

const TIMEOUT_MS = 600_000;
const fixtures = join(repository, 'test/fixtures');

/** One of each kind of reading: plain v5, v6 with xattrs and devices, batched chunks, a tar.gz, a tar. */
const IMAGES = ['v5-lz4_block-blake3', 'v6-zstd-blake3', 'v6-batch', 'v6-targz-ref', 'v6-tarfs'];

function manifestOf(image: string): string[] {
  const name = readFileSync(join(fixtures, 'images', image, 'manifest'), 'utf8').trim();
  const packed = readFileSync(join(fixtures, 'manifests', `${name}.tsv.gz`));
  return lines(gunzipSync(packed).toString('latin1'));
}

function lines(manifest: string): string[] {
  return manifest.split('\n').filter((line) => line !== '');
}

test(
  'images made by the original nydus-image look in a guest as its nydusd shows them',
  { timeout: TIMEOUT_MS },
  async () => {
    await using stage = new Stage();
    const daemon = await stage.daemon();
    const guest = await stage.boot(daemon);
    await guest.text('mount -t virtiofs nydus /mnt');
    for (const image of IMAGES) {
      const bootstrap = join(fixtures, 'images', image, 'image.boot');
      expect(existsSync(bootstrap), bootstrap).toBe(true);
      const cache = join(stage.directory, `cache-${image}`);
      mkdirSync(cache);
      await daemon.mount(`/${image}`, bootstrap, localConfig(join(fixtures, 'blobs'), cache));
    }
    for (const image of IMAGES) {
      const { code, output } = await guest.run(`walk /mnt/${image}`);
      expect(differences(manifestOf(image), lines(output.toString('latin1'))), image).toEqual([]);
      expect(code, image).toBe(0);
    }
    await guest.powerOff();
  },
);
