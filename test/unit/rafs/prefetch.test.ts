import { expect, it } from 'vitest';
import { openBootstrap } from '../../../src/rafs/bootstrap.ts';
import { prefetchChunks } from '../../../src/rafs/prefetch.ts';
import { bootstrapBytes, FIXTURES } from '../../support/rafs-fixtures.ts';

it('expands the prefetch list to chunks, directories to all below them', () => {
  for (const name of ['v5-prefetch-fs', 'v6-prefetch-fs']) {
    const bootstrap = openBootstrap(bootstrapBytes(FIXTURES, name), name);
    const chunks = [...prefetchChunks(bootstrap)];
    expect(chunks.length).toBeGreaterThan(bootstrap.prefetch.length);
    expect(
      chunks.every(({ blobIndex, chunk }) => blobIndex === 0 && chunk.index < bootstrap.blobs[0]!.chunkCount),
    ).toBe(true);
    const everything = new Set(
      [...prefetchChunks(bootstrap, [bootstrap.rootLo])].map(({ chunk }) => chunk.index),
    );
    expect(everything.size).toBe(bootstrap.blobs[0]!.chunkCount);
  }
});
