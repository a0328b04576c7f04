import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { createWriteStream, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  type ByteSource,
  openByteSource,
  openDecompressed,
} from '../../../../../src/image/source/tar/byte-source.ts';
import { bytesSource } from '../../../../support/tars.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'byte-source-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

async function drain(source: ByteSource): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for (let piece = await source.next(); piece !== null; piece = await source.next())
    pieces.push(Buffer.from(piece));
  return Buffer.concat(pieces);
}

function fifo(): string {
  const path = join(dir, 'fifo');
  execFileSync('mkfifo', [path]);
  return path;
}

const openFiles = (): number => readdirSync('/proc/self/fd').length;

describe('a source', () => {
  test('gives the bytes of a file and of a fifo, and ends', async () => {
    const bytes = randomBytes(1_000_000);
    writeFileSync(join(dir, 'file'), bytes);
    const pipe = fifo();
    for (const path of [join(dir, 'file'), pipe]) {
      const source = openByteSource(Buffer.from(path));
      if (path === pipe) createWriteStream(pipe).end(bytes);
      expect((await drain(source)).equals(bytes)).toBe(true);
      expect(await source.next()).toBeNull();
      source.close();
    }
  });

  test('waits for a fifo that has no writer yet, and the wait can be ended', async () => {
    const abort = new AbortController();
    const source = openByteSource(Buffer.from(fifo()), abort.signal);
    const waiting = source.next();
    const early = await Promise.race([waiting, sleep(50, 'still waiting')]);
    expect(early).toBe('still waiting');
    abort.abort();
    await expect(waiting).rejects.toMatchObject({ code: 'IMAGE_ABORTED' });
    source.close();
  });

  test('is refused at once when the signal was aborted before', async () => {
    const source = openByteSource(Buffer.from(fifo()), AbortSignal.abort());
    await expect(Promise.resolve(source.next())).rejects.toMatchObject({ code: 'IMAGE_ABORTED' });
    source.close();
  });

  test('reads a character device', async () => {
    const source = openByteSource(Buffer.from('/dev/zero'));
    expect((await source.next())![0]).toBe(0);
    source.close();
    expect(await openByteSource(Buffer.from('/dev/null')).next()).toBeNull();
  });

  test('is neither a directory nor a terminal nor absent, and says which', () => {
    expect(() => openByteSource(Buffer.from('/dev/ptmx'))).toThrow(
      '/dev/ptmx: a tar archive is read from a file',
    );
    expect(() => openByteSource(Buffer.from(dir))).toThrow(`${dir}: a tar archive is read from a file`);
    expect(() => openByteSource(Buffer.from(join(dir, 'none')))).toThrow(/none: ENOENT/);
  });

  test('gives its descriptor back, read to the end or not', async () => {
    const path = join(dir, 'file.gz');
    writeFileSync(path, gzipSync(randomBytes(1_000_000)));
    const before = openFiles();
    for (const isRead of [true, false]) {
      const source = await openDecompressed(openByteSource(Buffer.from(path)));
      if (isRead) await drain(source);
      else await source.next();
      source.close();
    }
    expect(openFiles()).toBe(before);
  });
});

describe('decompression', () => {
  const bytes = Buffer.concat([randomBytes(300_000), Buffer.alloc(900_000)]);

  test('is none for plain bytes, and of all members of a gzip, in pieces of any size', async () => {
    const members = Buffer.concat([
      gzipSync(bytes.subarray(0, 1000)),
      gzipSync(''),
      gzipSync(bytes.subarray(1000)),
    ]);
    for (const [packed, pieceSize] of [
      [bytes, 5],
      [bytes, 1 << 20],
      [members, 100],
      [members, members.length],
    ] as const)
      expect((await drain(await openDecompressed(bytesSource(packed, pieceSize)))).equals(bytes)).toBe(true);
  });

  test('leaves sources alone that are shorter than a magic', async () => {
    for (const text of ['', 'a', 'abc'])
      expect((await drain(await openDecompressed(bytesSource(Buffer.from(text), 1)))).toString()).toBe(text);
  });

  test('names the source whose gzip is cut or damaged', async () => {
    const packed = gzipSync(bytes);
    const damaged = Buffer.from(packed);
    damaged[200_000]! ^= 0xff;
    for (const [broken, reason] of [
      [packed.subarray(0, -100), /^test\.tar: gzip: unexpected end of file$/],
      [damaged, /^test\.tar: gzip: /],
    ] as const) {
      const source = await openDecompressed(bytesSource(broken, 10_000));
      await expect(drain(source)).rejects.toMatchObject({
        code: 'IMAGE_UNREADABLE',
        message: expect.stringMatching(reason),
      });
    }
  });

  test('of other programs is refused by name', async () => {
    await expect(openDecompressed(bytesSource(zstdCompressSync(bytes)))).rejects.toThrow(
      'test.tar: compressed by zstd',
    );
  });

  test('passes on why the source failed', async () => {
    const failing: ByteSource = {
      name: 'x',
      next: (() => {
        const pieces = [gzipSync(bytes).subarray(0, 1000)];
        return () => pieces.pop() ?? Promise.reject(new Error('disk on fire'));
      })(),
      close: () => {},
    };
    await expect(drain(await openDecompressed(failing))).rejects.toThrow('x: gzip: disk on fire');
  });
});
