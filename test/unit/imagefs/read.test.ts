import { createHash } from 'node:crypto';
import { openSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { BlobView, ChunkFetcher, ChunkRef } from '../../../src/blob/view.ts';
import { Attr, Entry, PENDING } from '../../../src/fuse/filesystem.ts';
import type { RafsFileSystem } from '../../../src/imagefs/filesystem.ts';
import { openBootstrap } from '../../../src/rafs/open-bootstrap.ts';
import {
  bootstrapBytes,
  emptyViews,
  escapeName,
  FIXTURES,
  list,
  manifestRows,
  openFileSystem,
} from '../../support/rafs-fixtures.ts';
import { CollectingSink } from '../../support/read-sink.ts';

/** Views over the blobs themselves: right where they hold uncompressed bytes at uncompressed offsets. */
function rawViews(name: string, overrides: Partial<BlobView> = {}): BlobView[] {
  const bootstrap = openBootstrap(bootstrapBytes(FIXTURES, name), name);
  return emptyViews(bootstrap).map((view, i) => ({
    ...view,
    fd: openSync(join(FIXTURES, 'blobs', bootstrap.blobs[i]!.id), 'r'),
    ready: null,
    ...overrides,
  }));
}

function find(fs: RafsFileSystem, path: string): number {
  let lo = fs.rootLo;
  for (const part of path.split('/').filter((text) => text !== '')) {
    const found = (list(fs, lo) as { name: Buffer; lo: number }[]).find(
      ({ name }) => escapeName(name) === part,
    );
    if (found === undefined) throw new Error(`no ${path}`);
    lo = found.lo;
  }
  return lo;
}

function sizeOf(fs: RafsFileSystem, lo: number): number {
  const attr = new Attr();
  fs.getattr(0, lo, attr);
  return attr.size;
}

/** Files of an image: path, size, sha256. */
function files(name: string): [string, number, string][] {
  const rows = manifestRows(FIXTURES, name).filter((row) => row[1] === 'file');
  return rows.map((row) => [row[0]!, Number(row[6]), row[11]!]);
}

describe('content of every file, read in odd steps', () => {
  for (const name of ['v5-none-blake3', 'v6-tarfs']) {
    it(name, () => {
      const fs = openFileSystem(bootstrapBytes(FIXTURES, name), { blobs: rawViews(name) });
      for (const [path, size, sha256] of files(name)) {
        if (path.length > 200) continue;
        const lo = find(fs, path);
        const sink = new CollectingSink();
        for (let offset = 0; offset < size; ) {
          const read = fs.read(0, lo, offset, 70_001, sink);
          expect(read).toBe(Math.min(70_001, size - offset));
          offset += read;
        }
        expect([path, createHash('sha256').update(sink.bytes).digest('hex')]).toEqual([path, sha256]);
      }
    });
  }
});

describe('a read', () => {
  const name = 'v6-chunks64k-zstd';
  const buffer = bootstrapBytes(FIXTURES, name);
  const [path, size] = files(name).find((row) => row[1] > 300_000)!;

  it('of chunks which follow each other in the cache is one file read', () => {
    const blobs = emptyViews(openBootstrap(buffer, name)).map((view) => ({
      ...view,
      fd: openSync('/dev/zero', 'r'),
      ready: null,
    }));
    const fs = openFileSystem(buffer, { blobs });
    const sink = new CollectingSink();
    const lo = find(fs, path);
    expect(fs.read(0, lo, 1000, 200_000, sink)).toBe(200_000);
    const total = sink.parts.reduce((sum, part) => sum + part.length, 0);
    expect(total).toBe(200_000);
    expect(sink.calls.length).toBeLessThan(4);
  });

  it('behind the end, or of nothing, is empty', () => {
    const fs = openFileSystem(buffer);
    const lo = find(fs, path);
    expect(sizeOf(fs, lo)).toBe(size);
    expect(fs.read(0, lo, size, 4096, new CollectingSink())).toBe(0);
    expect(fs.read(0, lo, size + 1e12, 4096, new CollectingSink())).toBe(0);
    expect(fs.read(0, lo, 0, 0, new CollectingSink())).toBe(0);
  });

  it('of chunks that are missing fetches exactly those, once each, and goes on when they are there', async () => {
    const bootstrap = openBootstrap(buffer, name);
    const blobs = emptyViews(bootstrap).map((view) => ({ ...view, fd: openSync('/dev/zero', 'r') }));
    const asked: ChunkRef[] = [];
    const fetcher: ChunkFetcher = {
      fetch(blob, chunks, done) {
        asked.push(...chunks);
        const bits = new Uint8Array(blob.ready!);
        for (const { index } of chunks) bits[index >> 3]! |= 0x80 >> (index & 7);
        setImmediate(() => done(0, null));
      },
    };
    const fs = openFileSystem(buffer, { blobs, fetcher });
    const lo = find(fs, path);
    const sink = new CollectingSink();
    expect(fs.read(0, lo, 65536 + 5, 65536, sink)).toBe(PENDING);
    expect(sink.calls).toEqual([]);
    expect(await sink.resumed).toBe(0);
    expect(new Set(asked.map(({ index }) => index)).size).toBe(asked.length);
    expect(asked.length).toBeLessThanOrEqual(2);
    expect(fs.read(0, lo, 65536 + 5, 65536, sink)).toBe(65536);
  });

  it('fails with the errno of the fetch', async () => {
    const fetcher: ChunkFetcher = {
      fetch: (_blob, _chunks, done) => void setImmediate(() => done(-5, null)),
    };
    const fs = openFileSystem(buffer, { fetcher });
    const sink = new CollectingSink();
    expect(fs.read(0, find(fs, path), 0, 10, sink)).toBe(PENDING);
    expect(await sink.resumed).toBe(-5);
  });

  it('of a chunk that the cache could not take resumes with its bytes, and with what is in the cache', async () => {
    const blobs = emptyViews(openBootstrap(buffer, name)).map((view) => ({
      ...view,
      fd: openSync('/dev/zero', 'r'),
    }));
    const asked: number[] = [];
    const fetcher: ChunkFetcher = {
      fetch: (_blob, chunks, done) => {
        asked.push(...chunks.map(({ index }) => index));
        setImmediate(() =>
          done(
            0,
            chunks.map(() => new Uint8Array(65536).fill(7)),
          ),
        );
      },
    };
    const fs = openFileSystem(buffer, { blobs, fetcher });
    const lo = find(fs, path);
    expect(fs.read(0, lo, 0, 65536, new CollectingSink())).toBe(PENDING);
    const first = asked[0]!;
    new Uint8Array(blobs[0]!.ready!)[first >> 3]! |= 0x80 >> (first & 7);
    const sink = new CollectingSink();
    expect(fs.read(0, lo, 0, 131072, sink)).toBe(PENDING);
    expect(await sink.resumed).toBe(0);
    const expected = Buffer.concat([Buffer.alloc(65536), Buffer.alloc(65536, 7)]);
    expect(expected.equals(sink.supplied!)).toBe(true);
  });

  it('of a blob without cache file resumes with exactly the bytes of the range', async () => {
    const blobs = emptyViews(openBootstrap(buffer, name)).map((view) => ({
      ...view,
      delivery: 'bytes' as const,
    }));
    const fetcher: ChunkFetcher = {
      fetch: (_blob, chunks, done) =>
        void setImmediate(() =>
          done(
            0,
            chunks.map(({ index }) => new Uint8Array(65536).fill(index + 1)),
          ),
        ),
    };
    const fs = openFileSystem(buffer, { blobs, fetcher });
    const lo = find(fs, path);
    const sink = new CollectingSink();
    expect(fs.read(0, lo, 65530, 12, sink)).toBe(PENDING);
    expect(await sink.resumed).toBe(0);
    expect(fs.read(0, lo, 65530, 12, sink)).toBe(12);
    expect(sink.bytes.subarray(0, 6).every((byte) => byte === sink.bytes[0])).toBe(true);
    expect(sink.bytes.subarray(6).every((byte) => byte === sink.bytes[6])).toBe(true);
  });

  it('of a chunk outside its blob is EIO, reported once', () => {
    const bad: string[] = [];
    const blobs = emptyViews(openBootstrap(buffer, name)).map((view) => ({
      ...view,
      ready: null,
      size: 100,
    }));
    const fs = openFileSystem(buffer, { blobs, onBadInode: (_lo, reason) => bad.push(reason) });
    const lo = find(fs, path);
    expect(fs.read(0, lo, 0, 10, new CollectingSink())).toBe(-5);
    expect(fs.read(0, lo, 0, 10, new CollectingSink())).toBe(-5);
    expect(bad).toEqual(['chunk outside its blob']);
  });

  it('of a cache file that ends too early is EIO', () => {
    const blobs = emptyViews(openBootstrap(buffer, name)).map((view) => ({
      ...view,
      ready: null,
      fd: openSync('/dev/null', 'r'),
    }));
    const fs = openFileSystem(buffer, { blobs });
    expect(fs.read(0, find(fs, path), 0, 10, new CollectingSink())).toBe(-5);
  });

  it('carries the v5 chunk record with its digest to the fetcher', () => {
    const refs: ChunkRef[] = [];
    const fetcher: ChunkFetcher = { fetch: (_blob, chunks) => void refs.push(...chunks) };
    const fs = openFileSystem(bootstrapBytes(FIXTURES, 'v5-chunks64k-lz4_block'), { fetcher });
    fs.read(0, find(fs, path), 0, 10, new CollectingSink());
    expect(refs[0]!.record!.uncompressedSize).toBe(65536);
    expect(refs[0]!.record!.digest.buffer.byteLength).toBe(32);
  });
});

describe('names, owners and seeks', () => {
  it('answers a missing name with a negative entry for ever', () => {
    const fs = openFileSystem(bootstrapBytes(FIXTURES, 'v6-merge3'));
    for (const name of ['nothing', '\x01', '\u{10ffff}', 'x'.repeat(255)]) {
      const entry = new Entry();
      entry.nodeLo = 5;
      expect(fs.lookup(0, fs.rootLo, Buffer.from(name), 0, Buffer.byteLength(name), entry)).toBe(0);
      expect([entry.nodeHi, entry.nodeLo, entry.validMs]).toEqual([0, 0, Number.POSITIVE_INFINITY]);
    }
  });

  it("shows the mount's owner where the image has none", () => {
    for (const name of ['v5-repeatable', 'v6-repeatable']) {
      const fs = openFileSystem(bootstrapBytes(FIXTURES, name), { uid: 1234, gid: 99 });
      const attr = new Attr();
      fs.getattr(0, fs.rootLo, attr);
      expect([attr.uid, attr.gid]).toEqual([1234, 99]);
    }
  });

  it('seeks data and the hole at the end', () => {
    const fs = openFileSystem(bootstrapBytes(FIXTURES, 'v6-zstd-blake3'));
    const lo = find(fs, '/bin/tool');
    expect(fs.lseek(0, lo, 5, 3)).toBe(5);
    expect(fs.lseek(0, lo, 5, 4)).toBe(9001);
    expect(fs.lseek(0, lo, 9001, 3)).toBe(-6);
    expect(fs.lseek(0, lo, 5, 0)).toBe(-22);
  });

  it('refuses to open for writing, and files as directories', () => {
    const fs = openFileSystem(bootstrapBytes(FIXTURES, 'v5-none-blake3'));
    const lo = find(fs, '/bin/tool');
    expect(fs.open(0, lo, 1, { fhHi: 0, fhLo: 0, flags: 0 })).toBe(-30);
    expect(fs.opendir(0, lo, 0, { fhHi: 0, fhLo: 0, flags: 0 })).toBe(-20);
    expect(fs.read(0, fs.rootLo, 0, 10, new CollectingSink())).toBe(-21);
  });

  it('answers xattr sizes, ERANGE and ENODATA', () => {
    const fs = openFileSystem(bootstrapBytes(FIXTURES, 'v6-zstd-blake3'));
    const lo = find(fs, '/bin/capable');
    const name = Buffer.from('security.capability');
    const out = new Uint8Array(100);
    expect(fs.getxattr(0, lo, name, 0, name.length, out, 0, 0)).toBe(20);
    expect(fs.getxattr(0, lo, name, 0, name.length, out, 0, 19)).toBe(-34);
    expect(fs.getxattr(0, lo, name, 0, name.length - 1, out, 0, 100)).toBe(-61);
    expect(fs.listxattr(0, lo, out, 0, 0)).toBe(20);
    const without = openFileSystem(bootstrapBytes(FIXTURES, 'v6-zstd-blake3'), { xattrs: false });
    expect(without.getxattr(0, lo, name, 0, name.length, out, 0, 100)).toBe(-61);
  });
});
