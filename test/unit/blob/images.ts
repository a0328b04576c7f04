import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { CacheConfig } from '../../../src/blob/cache-config.ts';
import type { BlobSource } from '../../../src/blob/source.ts';
import { extractBootstrap } from '../../../src/blob/toc.ts';
import type { BlobRow, Bootstrap } from '../../../src/rafs/bootstrap.ts';
import { ChunkDigests } from '../../../src/rafs/chunk-digests.ts';
import { openBootstrap } from '../../../src/rafs/open-bootstrap.ts';
import { LocalfsSource } from '../../../src/source/localfs.ts';
import type { BlobSpec } from '../../../src/wire/rafs/blob-spec.ts';
import { BlobFeature } from '../../../src/wire/rafs/flags.ts';
import { referenceCodecs } from './codecs.ts';

/** The committed subset, and the whole collection where NYDUS_FIXTURES names it. */
export const subset: string = join(import.meta.dirname, '../../fixtures');
export const collection: string | undefined = process.env.NYDUS_FIXTURES;

export interface TestBlob {
  readonly spec: BlobSpec;
  readonly digests: Uint8Array;
}

/** Images of a fixture folder of which every blob is there too. */
export function imageNames(root: string): string[] {
  return readdirSync(join(root, 'images')).sort();
}

export async function openImage(
  root: string,
  name: string,
): Promise<{ bootstrap: Bootstrap; blobs: TestBlob[] }> {
  const folder = join(root, 'images', name);
  const inline = existsSync(join(folder, 'inline'))
    ? readFileSync(join(folder, 'inline'), 'utf8').trim()
    : null;
  const source = new LocalfsSource({ dir: join(root, 'blobs') });
  const bytes = inline
    ? await extractBootstrap(source, inline, referenceCodecs)
    : readFileSync(join(folder, 'image.boot'));
  await source.close();
  const bootstrap = openBootstrap(new Uint8Array(bytes).buffer, name);
  return { bootstrap, blobs: bootstrap.blobs.map((row) => toBlob(bootstrap, row, inline)) };
}

function toBlob(bootstrap: Bootstrap, row: BlobRow, inline: string | null): TestBlob {
  const separate = (row.features & BlobFeature.separate) !== 0 && row.metaDigest;
  const id = inline && !separate && row.features & BlobFeature.inlinedFsMeta ? inline : row.id;
  const cipher = row.cipherKey && row.cipherIv ? { key: row.cipherKey, iv: row.cipherIv } : null;
  const meta = separate ? (inline ?? Buffer.from(row.metaDigest!).toString('hex')) : id;
  const spec = { ...row, id, objectId: id, metaObjectId: meta, version: bootstrap.version, cipher };
  const digests = new Uint8Array(32 * row.chunkCount);
  const known = new ChunkDigests(bootstrap);
  for (let i = 0; i < row.chunkCount; i++) digests.set(known.find(row.index, i)?.digest ?? [], i * 32);
  return { spec, digests };
}

export function cacheIn(workDir: string, changes: Partial<CacheConfig> = {}): CacheConfig {
  return {
    kind: 'file',
    workDir,
    compressed: false,
    validate: false,
    disableIndexedMap: false,
    amplifyBytes: 0,
    ...changes,
  };
}

/** Counts reads of chunk data and can be made to fail. */
export class CountingSource implements BlobSource {
  readonly kind = 'localfs';
  readonly place: string;
  readonly #inner: BlobSource;
  reads = 0;
  bytes = 0;
  failures = 0;

  constructor(inner: BlobSource) {
    this.#inner = inner;
    this.place = inner.place;
  }

  size(objectId: string): Promise<number> {
    return this.#inner.size(objectId);
  }

  async read(objectId: string, offset: number, into: Uint8Array): Promise<void> {
    this.reads++;
    this.bytes += into.length;
    await new Promise((resolve) => setTimeout(resolve, 1));
    if (this.failures > 0) {
      this.failures--;
      throw new Error('back end is down');
    }
    return this.#inner.read(objectId, offset, into);
  }

  openLocal(objectId: string): Promise<number | null> {
    return this.#inner.openLocal(objectId);
  }

  close(): Promise<void> {
    return this.#inner.close();
  }
}
