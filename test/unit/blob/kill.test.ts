import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { isReady } from '../../../src/blob/chunk-map.ts';
import { BlobStore } from '../../../src/blob/store.ts';
import { LocalfsSource } from '../../../src/source/localfs.ts';
import { referenceCodecs, referenceLander } from './codecs.ts';
import { CountingSource, cacheIn, openImage, subset } from './images.ts';

/** Runs the filler and kills it `afterChunks` after it began. */
function fillAndKill(dir: string, afterChunks: number): Promise<void> {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'fill-cache.ts'), dir], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let lines = 0;
  child.stdout.on('data', (text: Buffer) => {
    lines += text.toString().split('\n').length - 1;
    if (lines >= afterChunks) child.kill('SIGKILL');
  });
  return new Promise((resolve) => child.once('exit', () => resolve()));
}

it('a process killed while it fills a cache leaves no bit set for data that was not written', async () => {
  const test = (await openImage(subset, 'v6-zstd-blake3')).blobs[0]!;
  let ready = 0;
  for (const afterChunks of [0, 1, 5, 20, 60]) {
    const dir = mkdtempSync(join(tmpdir(), 'kill-'));
    await fillAndKill(dir, afterChunks);
    const source = new CountingSource(new LocalfsSource({ dir: join(subset, 'blobs') }));
    const store = new BlobStore(referenceCodecs, referenceLander, () => {});
    const plain = await store.open(test.spec, cacheIn(dir), source);
    const bits = new Uint8Array(plain.view().ready!);
    const set = Array.from({ length: test.spec.chunkCount }, (_, i) => i).filter((i) => isReady(bits, i));
    await store.close(plain, source);
    const checked = await store.open(test.spec, cacheIn(dir, { validate: true }), source, test.digests);
    source.reads = 0;
    await checked.fetch(set.map((index) => ({ index, record: null })));
    expect({ reads: source.reads, corrupt: checked.counters.chunksCorrupt }).toEqual({
      reads: 0,
      corrupt: 0,
    });
    await store.close(checked, source);
    await source.close();
    rmSync(dir, { recursive: true });
    ready += set.length;
  }
  expect(ready).toBeGreaterThan(0);
});
