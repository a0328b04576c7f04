import { execFileSync } from 'node:child_process';
import {
  closeSync,
  constants,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { StreamOutput } from '../../../../src/image/unpack/stream-output.ts';

let dir: string;
let path: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'unpack-output-'));
  path = join(dir, 'out');
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

describe('a stream into a file', () => {
  test('pieces of all sizes come out one after the other, and only at the end', async () => {
    const output = await StreamOutput.open(path);
    const pieces = [1, 1000, (1 << 20) - 1001, 1, 1 << 20, 3 << 20, 0, 5].map((size, i) =>
      Buffer.alloc(size, i),
    );
    const kept = Buffer.concat(pieces);
    for (const piece of pieces) {
      await output.write(piece);
      piece.fill(0xff);
    }
    expect(existsSync(path)).toBe(false);
    await output.finish();
    expect(output.size).toBe(kept.length);
    expect(output.isFile).toBe(true);
    expect(readFileSync(path).equals(kept)).toBe(true);
    expect(readdirSync(dir)).toEqual(['out']);
  });

  test('discarded, it leaves what was there', async () => {
    writeFileSync(path, 'old');
    const output = await StreamOutput.open(path);
    await output.write(Buffer.alloc(2 << 20));
    await output.discard();
    expect(readFileSync(path, 'utf8')).toBe('old');
    expect(readdirSync(dir)).toEqual(['out']);
  });

  test('the file behind a symbolic link is replaced, not the link', async () => {
    mkdirSync(join(dir, 'real'));
    writeFileSync(join(dir, 'real/file'), 'old');
    symlinkSync('real/file', path);
    const output = await StreamOutput.open(path);
    await output.write(Buffer.from('new'));
    await output.finish();
    expect(lstatSync(path).isSymbolicLink()).toBe(true);
    expect(readFileSync(join(dir, 'real/file'), 'utf8')).toBe('new');
  });

  test('a directory is refused, and a directory that is not there', async () => {
    await expect(StreamOutput.open(dir)).rejects.toThrow('is a directory');
    await expect(StreamOutput.open(join(dir, 'none/out'))).rejects.toMatchObject({ code: 'IMAGE_WRITE' });
  });

  test('a full device is an error that names it', async () => {
    const output = await StreamOutput.open('/dev/full');
    expect(output.isFile).toBe(false);
    await output.write(Buffer.from('x'));
    await expect(output.finish()).rejects.toThrow(/\/dev\/full: .*ENOSPC/);
    await output.discard();
  });
});

describe('a stream into a named pipe', () => {
  beforeEach(() => {
    execFileSync('mkfifo', [path]);
  });

  test('an abort ends the wait for a reader', async () => {
    const abort = new AbortController();
    const opening = StreamOutput.open(path, abort.signal);
    abort.abort();
    await expect(opening).rejects.toMatchObject({ code: 'IMAGE_ABORTED' });
  });

  test('an abort ends the wait for a reader that does not read', async () => {
    const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const abort = new AbortController();
    const output = await StreamOutput.open(path, abort.signal);
    const writing = output.write(Buffer.alloc(4 << 20));
    await Promise.race([writing, delay(50)]);
    abort.abort();
    await expect(writing).rejects.toMatchObject({ code: 'IMAGE_ABORTED' });
    await output.discard();
    closeSync(reader);
  });
});
