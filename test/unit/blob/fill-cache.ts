/** Fills the cache directory argv[2] chunk by chunk until it is killed; a line for each. */
import { join } from 'node:path';
import { BlobStore } from '../../../src/blob/store.ts';
import { LocalfsSource } from '../../../src/source/localfs.ts';
import { referenceCodecs, referenceLander } from './codecs.ts';
import { cacheIn, openImage, subset } from './images.ts';

const source = new LocalfsSource({ dir: join(subset, 'blobs') });
const test = (await openImage(subset, 'v6-zstd-blake3')).blobs[0]!;
const store = new BlobStore(referenceCodecs, referenceLander, () => {});
const blob = await store.open(test.spec, cacheIn(process.argv[2]!), source);
process.stdout.write('filling\n');
for (let i = 0; i < test.spec.chunkCount; i++) {
  await blob.fetch([{ index: i, record: null }]);
  process.stdout.write(`${i}\n`);
}
