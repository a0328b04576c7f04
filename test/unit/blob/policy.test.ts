/** Who is served when: lanes, priorities, deadlines, and what a back end that hangs does to others. */
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Blob } from '../../../src/blob/blob.ts';
import type { CacheFile } from '../../../src/blob/cache-file.ts';
import { type ChunkMapFile, isReady } from '../../../src/blob/chunk-map.ts';
import type { Lander } from '../../../src/blob/lander.ts';
import { LANE_LIMITS, Lanes } from '../../../src/blob/lanes.ts';
import { EvictionCount, OpenCache } from '../../../src/blob/open-cache.ts';
import { UNHURRIED } from '../../../src/blob/source.ts';
import { BlobStore } from '../../../src/blob/store.ts';
import type { ChunkRef } from '../../../src/blob/view.ts';
import { digest } from '../../../src/lib/content-hash.ts';
import type { BlobSpec } from '../../../src/wire/rafs/blob-spec.ts';
import { HeldSource } from '../../support/held-source.ts';
import { referenceCodecs, referenceLander } from './codecs.ts';
import { cacheIn } from './images.ts';

const CHUNK = 4096;
/** Far apart, so that no two chunks come with one read. */
const STRIDE = 16 * CHUNK;
const COUNT = 64;
const data = Buffer.from(Uint8Array.from({ length: COUNT * STRIDE }, (_, i) => (i >> 8) + i + 1));

function spec(id: string): BlobSpec {
  return {
    id,
    objectId: id,
    metaObjectId: id,
    version: 5,
    features: 0,
    compressor: 'none',
    digester: 'sha256',
    chunkCount: COUNT,
    compressedSize: data.length,
    uncompressedSize: data.length,
    ciCompressor: 'none',
    ciOffset: 0,
    ciCompressedSize: 0,
    ciUncompressedSize: 0,
    cipher: null,
  };
}

const contentOf = (index: number) => data.subarray(index * STRIDE, index * STRIDE + CHUNK);

function chunk(index: number, wrong = false): ChunkRef {
  const sha = digest('sha256', contentOf(index));
  if (wrong) sha[0]! ^= 1;
  const place = { compressedOffset: index * STRIDE, uncompressedOffset: index * STRIDE };
  const sizes = { compressedSize: CHUNK, uncompressedSize: CHUNK };
  return { index, record: { blobIndex: 0, index, flags: 0, ...place, ...sizes, crc32c: 0, digest: sha } };
}

const prefetch = { ...UNHURRIED, priority: 'prefetch' } as const;
/** Until everything that can go on without the back end has. */
const settle = () => new Promise((resolve) => setTimeout(resolve, 20));

let dir: string;
let store: BlobStore;
let opened: [Blob, HeldSource][];

async function open(source: HeldSource, id = 'blob', changes = {}): Promise<Blob> {
  const blob = await store.open(spec(id), cacheIn(dir, changes), source);
  opened.push([blob, source]);
  return blob;
}

const held = (place: string, ...ids: string[]) =>
  new HeldSource(new Map((ids.length > 0 ? ids : ['blob']).map((id) => [id, data])), place);

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'policy-'));
  store = new BlobStore(referenceCodecs, referenceLander, () => {});
  opened = [];
});
afterEach(async () => {
  for (const [blob, source] of opened) await store.close(blob, source);
  rmSync(dir, { recursive: true });
});

describe('a back end that hangs', () => {
  it('gets a lane full of reads and starves no other place', async () => {
    const [sick, healthy] = [held('sick', 'sick'), held('healthy', 'healthy')];
    const [one, two] = [await open(sick, 'sick'), await open(healthy, 'healthy')];
    for (let i = 0; i < COUNT; i++) one.fetch([chunk(i)]).catch(() => {});
    await vi.waitFor(() => expect(sick.reads).toHaveLength(LANE_LIMITS.demand));
    const other = two.fetch([chunk(0)]);
    await vi.waitFor(() => expect(healthy.reads).toHaveLength(1));
    healthy.reads[0]!.finish();
    expect(await other).toBe(null);
    await settle();
    expect(sick.reads).toHaveLength(LANE_LIMITS.demand);
  });

  it('shares its lanes among all mounts from that place', async () => {
    const [one, two] = [held('same', 'a'), held('same', 'b')];
    const [a, b] = [await open(one, 'a'), await open(two, 'b')];
    for (let i = 0; i < COUNT; i++) {
      a.fetch([chunk(i)]).catch(() => {});
      b.fetch([chunk(i)]).catch(() => {});
    }
    await settle();
    expect(one.reads.length + two.reads.length).toBe(LANE_LIMITS.demand);
  });

  it('has no more calls after its mounts went and others came', async () => {
    const lanes = new Lanes();
    const source = held('sick', 'sick');
    for (let mount = 0; mount < 5; mount++) {
      const led = lanes.lead(source);
      for (let i = 0; i < 20; i++) led.read('sick', i, Buffer.alloc(1)).catch(() => {});
      await settle();
      await led.close();
    }
    expect(source.reads).toHaveLength(LANE_LIMITS.demand);
  });

  it('fails its readers at their deadline and serves the next ones', async () => {
    const source = held('slow');
    const blob = await open(source);
    const late = blob.fetch([chunk(3)], { ...UNHURRIED, deadlineMs: performance.now() + 30 });
    await expect(late).rejects.toMatchObject({ code: 'BLOB_TIMEOUT' });
    const again = blob.fetch([chunk(3)]);
    source.reads[0]!.finish();
    expect(await again).toBe(null);
    expect(source.reads).toHaveLength(0);
  });

  it('is left for another mount of the same blob, when its own mount goes', async () => {
    const [sick, healthy] = [held('sick'), held('healthy')];
    const blob = await open(sick);
    expect(await open(healthy)).toBe(blob);
    const waiting = blob.fetch([chunk(2)]);
    await vi.waitFor(() => expect(sick.reads).toHaveLength(1));
    await store.close(blob, sick);
    opened.shift();
    await vi.waitFor(() => expect(healthy.reads).toHaveLength(1));
    healthy.reads[0]!.finish();
    expect(await waiting).toBe(null);
  });

  it('that fails yields to that of another mount of the same blob', async () => {
    const [sick, healthy] = [held('sick'), held('healthy')];
    const blob = await open(sick);
    await open(healthy);
    const waiting = blob.fetch([chunk(2)]);
    await vi.waitFor(() => expect(sick.reads).toHaveLength(1));
    sick.reads[0]!.fail(new Error('reset'));
    await vi.waitFor(() => expect(healthy.reads).toHaveLength(1));
    healthy.reads[0]!.finish();
    expect(await waiting).toBe(null);
    const next = blob.fetch([chunk(3)]);
    await vi.waitFor(() => expect(healthy.reads).toHaveLength(1));
    healthy.reads[0]!.finish();
    expect(await next).toBe(null);
    expect(sick.reads).toHaveLength(0);
  });

  it('does not fail the mount of another that opens the same blob meanwhile', async () => {
    const broken = held('broken');
    broken.size = () => new Promise((_, reject) => setTimeout(() => reject(new Error('reset')), 20));
    const healthy = held('healthy');
    const first = store.open(spec('blob'), cacheIn(dir), broken);
    const second = open(healthy);
    await expect(first).rejects.toThrow('reset');
    expect((await second).id).toBe('blob');
  });

  it('keeps no mount from going: readers are told, files are closed', async () => {
    const source = held('dead');
    const blob = await open(source);
    const waiting = Array.from({ length: 20 }, (_, i) => blob.fetch([chunk(i)]));
    await vi.waitFor(() => expect(source.reads).toHaveLength(LANE_LIMITS.demand));
    const outcomes = Promise.allSettled(waiting);
    await store.close(blob, source);
    opened = [];
    for (const outcome of await outcomes) {
      expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'BLOB_CLOSED' } });
    }
    // What it says at last is heard by nobody: the files may be another mount's by now.
    const next = held('alive');
    const fresh = await open(next);
    for (const read of [...source.reads]) read.finish();
    await settle();
    expect(isReady(new Uint8Array(fresh.view().ready!), 0)).toBe(false);
  });
});

describe('a reader', () => {
  it('never waits for what was read ahead of need', async () => {
    const source = held('busy');
    const blob = await open(source);
    for (let i = 0; i < 32; i++) blob.fetch([chunk(i)], prefetch).catch(() => {});
    await vi.waitFor(() => expect(source.reads).toHaveLength(LANE_LIMITS.prefetch));
    const demand = blob.fetch([chunk(40)]);
    await vi.waitFor(() => expect(source.reads).toHaveLength(LANE_LIMITS.prefetch + 1));
    const read = source.reads.at(-1)!;
    expect(read.options.priority).toBe('demand');
    read.finish();
    expect(await demand).toBe(null);
  });

  it('takes a chunk that waits to be prefetched into the faster lane', async () => {
    const source = held('busy');
    const blob = await open(source);
    for (let i = 0; i < 32; i++) blob.fetch([chunk(i)], prefetch).catch(() => {});
    await vi.waitFor(() => expect(source.reads).toHaveLength(LANE_LIMITS.prefetch));
    const demand = blob.fetch([chunk(31)]);
    await vi.waitFor(() => expect(source.reads.at(-1)!.offset).toBe(31 * STRIDE));
    source.reads.at(-1)!.finish();
    expect(await demand).toBe(null);
  });

  it('who comes at the moment in which a prefetch begins has the chunk, not the end of its wait', async () => {
    for (let turns = 0; turns < 12; turns++) {
      const source = held('any', `blob${turns}`);
      const blob = await open(source, `blob${turns}`);
      const early = blob.fetch([chunk(5)], prefetch);
      for (let i = 0; i < turns; i++) await null;
      const demand = blob.fetch([chunk(5)]);
      const answering = setInterval(() => source.reads[0]?.finish(), 1);
      expect(await Promise.all([early, demand]), `after ${turns} turns`).toEqual([null, null]);
      clearInterval(answering);
    }
  });

  it.each([
    ['joins', 39],
    ['has a read of its own', 50],
  ])('who %s lands before what nobody waits for', async (_, index) => {
    const waits: (() => void)[] = [];
    const slow: Lander = {
      land: (job) =>
        new Promise<void>((resolve) => waits.push(resolve)).then(() => referenceLander.land(job)),
    };
    store = new BlobStore(referenceCodecs, slow, () => {});
    const source = held('quick');
    const blob = await open(source);
    const answering = setInterval(() => source.reads[0]?.finish(), 1);
    let landed = 0;
    for (let i = 0; i < 40; i++) {
      blob.fetch([chunk(i)], prefetch).then(
        () => landed++,
        () => {},
      );
    }
    await vi.waitFor(() => expect(waits.length).toBeGreaterThan(0));
    await settle();
    const demand = blob.fetch([chunk(index)]);
    const landing = setInterval(() => waits.shift()?.(), 2);
    expect(await demand).toBe(null);
    expect(landed).toBeLessThan(20);
    await vi.waitFor(() => expect(landed).toBe(40), { timeout: 10_000 });
    clearInterval(answering);
    clearInterval(landing);
  });

  it('joins a prefetch that is under way: the chunk is read once', async () => {
    const source = held('busy');
    const blob = await open(source);
    const early = blob.fetch([chunk(5)], prefetch);
    await vi.waitFor(() => expect(source.reads).toHaveLength(1));
    const demand = blob.fetch([chunk(5)]);
    await settle();
    expect(source.reads).toHaveLength(1);
    source.reads[0]!.finish();
    expect(await Promise.all([early, demand])).toEqual([null, null]);
  });

  it('has its chunk while the rest of the read is on its way', async () => {
    const source = held('trickle');
    const near = (index: number): ChunkRef => {
      const ref = chunk(0);
      const at = index * CHUNK;
      const bytes = data.subarray(at, at + CHUNK);
      return {
        index,
        record: {
          ...ref.record!,
          index,
          compressedOffset: at,
          uncompressedOffset: at,
          digest: digest('sha256', bytes),
        },
      };
    };
    const blob = await open(source);
    const first = blob.fetch([near(0)]);
    const last = blob.fetch([near(1), near(2), near(3)]);
    await vi.waitFor(() => expect(source.reads).toHaveLength(1));
    expect(source.reads[0]!.size).toBe(4 * CHUNK);
    source.reads[0]!.give(CHUNK + 1);
    expect(await first).toBe(null);
    let isThere = false;
    void last.then(() => {
      isThere = true;
    });
    await settle();
    expect(isThere).toBe(false);
    source.reads[0]!.finish();
    expect(await last).toBe(null);
  });

  it('has what came before the read broke', async () => {
    const source = held('broken');
    const blob = await open(source);
    const both = [chunk(0), chunk(1)].map((ref) => blob.fetch([ref]));
    await vi.waitFor(() => expect(source.reads).toHaveLength(2));
    source.reads[1]!.give(CHUNK);
    await settle();
    source.reads[1]!.fail(new Error('reset'));
    source.reads[0]!.fail(new Error('reset'));
    const outcomes = await Promise.allSettled(both);
    expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'fulfilled']);
  });
});

describe('a chunk', () => {
  /** Fetches chunks at once. */
  async function fill(blob: Blob, source: HeldSource, ...indexes: number[]): Promise<void> {
    const fetching = blob.fetch(indexes.map((index) => chunk(index)));
    await vi.waitFor(() => expect(source.reads.length).toBeGreaterThan(0));
    while (source.reads.length > 0) source.reads[0]!.finish();
    expect(await fetching).toBe(null);
  }
  const place = (index: number) => ({ index, offset: index * STRIDE, size: CHUNK });
  const path = () => join(dir, 'blob.blob.data');
  const cached = (index: number) => readFileSync(path()).subarray(index * STRIDE, index * STRIDE + CHUNK);

  it('that is evicted gives its room back, is marked everywhere first, and is fetched anew', async () => {
    const source = held('any');
    const blob = await open(source);
    await fill(blob, source, 1);
    await fill(blob, source, 2);
    const { ready, evictions } = blob.view();
    const count = new Int32Array(evictions!)[0]!;
    const blocks = statSync(path()).blocks;
    expect(blob.evict([place(1)])).toBe(CHUNK);
    expect(new Int32Array(evictions!)[0]).not.toBe(count);
    expect(isReady(new Uint8Array(ready!), 1)).toBe(false);
    expect(isReady(new Uint8Array(ready!), 2)).toBe(true);
    expect(cached(1).every((byte) => byte === 0)).toBe(true);
    expect(cached(2).equals(contentOf(2))).toBe(true);
    expect(statSync(path()).blocks).toBe(blocks - CHUNK / 512);
    await fill(blob, source, 1);
    expect(cached(1).equals(contentOf(1))).toBe(true);
  });

  it('that is evicted is gone for the next process, too', async () => {
    const source = held('any');
    const blob = await open(source);
    await fill(blob, source, 1);
    await fill(blob, source, 2);
    blob.evict([place(1)]);
    const other = new BlobStore(referenceCodecs, referenceLander, () => {});
    const again = await other.open(spec('blob'), cacheIn(dir), source);
    const ready = new Uint8Array(again.view().ready!);
    expect([isReady(ready, 1), isReady(ready, 2)]).toEqual([false, true]);
    await other.close(again, source);
  });

  it('of a complete cache can be evicted, though its map says in one word that all are there', async () => {
    const source = held('any');
    const all = Array.from({ length: COUNT }, (_, i) => i);
    const first = await open(source);
    for (const index of all) await fill(first, source, index);
    await store.close(first, source);
    opened = [];
    const blob = await open(source);
    blob.evict([place(7)]);
    await store.close(blob, source);
    opened = [];
    const again = await open(source);
    const ready = new Uint8Array(again.view().ready!);
    expect(all.filter((index) => !isReady(ready, index))).toEqual([7]);
  });

  it('that is on its way is not evicted', async () => {
    const source = held('any');
    const blob = await open(source);
    const fetching = blob.fetch([chunk(1)]);
    await vi.waitFor(() => expect(source.reads).toHaveLength(1));
    expect(blob.evict([place(1)])).toBe(0);
    source.reads[0]!.finish();
    expect(await fetching).toBe(null);
    expect(cached(1).equals(contentOf(1))).toBe(true);
  });

  it('that one mount finds corrupt in the cache is served by no other any more', async () => {
    const source = held('any');
    const trusting = await open(source);
    await fill(trusting, source, 1);
    const strict = await open(source, 'blob', { validate: true });
    const { ready, evictions } = trusting.view();
    const count = new Int32Array(evictions!)[0]!;
    const fetching = strict.fetch([chunk(1, true)]).catch((error) => error);
    await vi.waitFor(() => expect(source.reads).toHaveLength(1));
    expect(isReady(new Uint8Array(ready!), 1)).toBe(false);
    expect(new Int32Array(evictions!)[0]).not.toBe(count);
    source.reads[0]!.finish();
    expect(await fetching).toMatchObject({ code: 'BLOB_CORRUPT' });
    await fill(trusting, source, 1);
  });

  it('of a data file that is gone is not believed because its map is there', async () => {
    const source = held('any');
    const blob = await open(source);
    await fill(blob, source, 1);
    await store.close(blob, source);
    opened = [];
    rmSync(path());
    const again = await open(source);
    expect(isReady(new Uint8Array(again.view().ready!), 1)).toBe(false);
    await fill(again, source, 1);
    expect(cached(1).equals(contentOf(1))).toBe(true);
  });

  it('that was found corrupt is not believed where the map cannot be written', () => {
    const map = {
      has: () => true,
      clear: () => {
        throw new Error('EIO');
      },
      set: () => {},
    };
    const cache = new OpenCache({} as CacheFile, map as unknown as ChunkMapFile, new EvictionCount());
    expect(cache.has(3)).toBe(true);
    cache.distrust(3);
    expect(cache.has(3)).toBe(false);
    cache.mark(3);
    expect(cache.has(3)).toBe(true);
  });
});
