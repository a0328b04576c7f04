import { closeSync, fstatSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type BlobSource, type ReadOptions, UNHURRIED } from '../../src/blob/source.ts';

/** A place of the kind under test, whose content and health the suite governs. */
export interface SourceBench {
  /** Opens a source over the place; several may be open. */
  open(): BlobSource;
  /** Makes or replaces an object. */
  put(id: string, bytes: Uint8Array): Promise<void>;
  /** Makes an object shorter while sources have it open. */
  cut(id: string, size: number): Promise<void>;
  /** Calls about the object fail until it is called with false. */
  break(id: string, isBroken: boolean): Promise<void>;
  close(): Promise<void>;
}

const SIZE = 300_000;
const bytesOf = (seed: number, size = SIZE) =>
  Buffer.from(Uint8Array.from({ length: size }, (_, i) => (i * 31 + (i >> 8) * 7 + seed) & 0xff));

type Read = (offset: number, size: number, options?: Partial<ReadOptions>, id?: string) => Promise<Buffer>;

/** What a test works with. */
interface Place {
  bench: SourceBench;
  source: BlobSource;
  readonly read: Read;
}

function gives(place: Place): void {
  it('names its kind and place', () => {
    expect(place.source.kind).toMatch(/^[a-z0-9-]+$/);
    expect(place.source.place.startsWith(place.source.kind)).toBe(true);
    const other = place.bench.open();
    expect(other.place).toBe(place.source.place);
    return other.close();
  });

  it('tells the size of an object and reads any range of it, exactly', async () => {
    const bytes = bytesOf(1);
    expect(await place.source.size('blob')).toBe(SIZE);
    for (const [offset, size] of [
      [0, SIZE],
      [0, 1],
      [SIZE - 1, 1],
      [4095, 8194],
      [123_457, 100_001],
    ] as const) {
      expect(
        (await place.read(offset, size)).equals(bytes.subarray(offset, offset + size)),
        `${offset}`,
      ).toBe(true);
    }
  });

  it('tells as much of a read as there is, in order, never more', async () => {
    const told: number[] = [];
    let started = 0;
    await place.read(1000, 200_000, { onBytes: (filled) => told.push(filled), onStart: () => started++ });
    expect(told).toEqual([...told].sort((a, b) => a - b));
    for (const filled of told) expect(filled).toBeLessThanOrEqual(200_000);
    if (told.length > 0) expect(told.at(-1)).toBe(200_000);
    expect(started).toBeLessThanOrEqual(1);
  });

  it('bytes it has told of are final', async () => {
    const into = Buffer.alloc(200_000);
    const wanted = bytesOf(1).subarray(1000);
    await place.source.read('blob', 1000, into, {
      ...UNHURRIED,
      onBytes: (filled) => expect(into.subarray(0, filled).equals(wanted.subarray(0, filled))).toBe(true),
    });
  });

  it('serves ranges that are asked for at the same time', async () => {
    const bytes = bytesOf(1);
    const offsets = Array.from({ length: 40 }, (_, i) => i * 7000);
    const parts = await Promise.all(offsets.map((offset) => place.read(offset, 7000)));
    expect(Buffer.concat(parts).equals(bytes.subarray(0, 280_000))).toBe(true);
  });
}

function refuses(place: Place): void {
  it('refuses a read beyond the end, naming object, offset and what there was', async () => {
    const short = place.read(SIZE - 10, 20);
    await expect(short).rejects.toMatchObject({ code: 'SOURCE_SHORT_READ', name: 'SourceError' });
    await expect(short).rejects.toThrow(/blob.*299990.*20 bytes.*10/s);
    await expect(place.read(SIZE + 5, 1)).rejects.toMatchObject({ code: 'SOURCE_SHORT_READ' });
  });

  it('says that an object is not there, and finds it when it comes', async () => {
    await expect(place.source.size('late')).rejects.toMatchObject({ code: 'SOURCE_NOT_FOUND' });
    await expect(place.source.size('late')).rejects.toThrow('late');
    await expect(place.read(0, 1, {}, 'late')).rejects.toMatchObject({ code: 'SOURCE_NOT_FOUND' });
    await place.bench.put('late', bytesOf(2, 10));
    expect(await place.source.size('late')).toBe(10);
    expect(await place.read(0, 10, {}, 'late')).toEqual(bytesOf(2, 10));
  });

  it('an object that shrinks is a short read, not zeros', async () => {
    await place.read(0, 10);
    await place.bench.cut('blob', 100_000);
    await expect(place.read(99_990, 20)).rejects.toMatchObject({ code: 'SOURCE_SHORT_READ' });
    expect((await place.read(0, 100_000)).equals(bytesOf(1).subarray(0, 100_000))).toBe(true);
  });
}

function givesUp(place: Place): void {
  it('gives up before it begins: deadline over, or nobody waits', async () => {
    const late = { deadlineMs: performance.now() - 1 };
    const aborted = { signal: AbortSignal.abort() };
    await expect(place.read(0, 10, late)).rejects.toMatchObject({
      code: 'SOURCE_TIMEOUT',
      name: 'SourceError',
    });
    await expect(place.read(0, 10, aborted)).rejects.toMatchObject({ code: 'SOURCE_ABORTED' });
    await expect(place.source.size('blob', { ...UNHURRIED, ...late })).rejects.toMatchObject({
      code: 'SOURCE_TIMEOUT',
    });
    expect(await place.read(0, 10)).toEqual(bytesOf(1).subarray(0, 10));
  });

  it('a read that is given up on the way settles, and the next one is whole', async () => {
    const abort = new AbortController();
    const first = place.read(0, SIZE, { signal: abort.signal }).then(
      (bytes) => bytes.equals(bytesOf(1)),
      (error) => error.code === 'SOURCE_ABORTED',
    );
    abort.abort();
    expect(await first).toBe(true);
    expect((await place.read(0, SIZE)).equals(bytesOf(1))).toBe(true);
  });

  it('after a failure the same call succeeds', async () => {
    await place.bench.break('blob', true);
    await expect(place.read(0, 10)).rejects.toMatchObject({ name: 'SourceError' });
    await place.bench.break('blob', false);
    expect(await place.read(0, 10)).toEqual(bytesOf(1).subarray(0, 10));
  });

  it('a local descriptor, where it lends one, outlives it', async () => {
    const fd = await place.source.openLocal('blob');
    if (fd === null) return;
    await place.source.close();
    expect(fstatSync(fd).size).toBe(SIZE);
    closeSync(fd);
  });

  it.each([
    '',
    '.',
    '..',
    '../blob',
    'a/b',
    'a\0b',
  ])('does not follow the id %j out of its place', async (id) => {
    await expect(place.source.size(id)).rejects.toMatchObject({ name: 'SourceError' });
    await expect(place.read(0, 1, {}, id)).rejects.toMatchObject({ name: 'SourceError' });
  });
}

/** What every BlobSource does, whatever is behind it. `make` begins a test with an empty place. */
export function describeSource(name: string, make: () => Promise<SourceBench>): void {
  describe(`as a source of blobs, ${name}`, () => {
    const place = {
      read: async (offset, size, options = {}, id = 'blob') => {
        const into = Buffer.alloc(size);
        await place.source.read(id, offset, into, { ...UNHURRIED, ...options });
        return into;
      },
    } as Place;

    beforeEach(async () => {
      place.bench = await make();
      place.source = place.bench.open();
      await place.bench.put('blob', bytesOf(1));
    });
    afterEach(async () => {
      await place.source.close();
      await place.bench.close();
    });

    gives(place);
    refuses(place);
    givesUp(place);
  });
}
