import { execFileSync } from 'node:child_process';
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openPipe } from '../../../../src/lib/file/pipe.ts';

let dir: string;
let pipe: string;

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'pipe-'));
  pipe = join(dir, 'pipe');
  execFileSync('mkfifo', [pipe]);
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

test('a pipe is opened once it has a reader', async () => {
  let isOpen = false;
  const opening = openPipe(pipe).then((fd) => {
    isOpen = true;
    return fd;
  });
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(isOpen).toBe(false);
  const reader = openSync(pipe, constants.O_RDONLY | constants.O_NONBLOCK);
  const writer = await opening;
  writeSync(writer, 'hello');
  const bytes = Buffer.alloc(5);
  readSync(reader, bytes);
  expect(bytes.toString()).toBe('hello');
  closeSync(writer);
  closeSync(reader);
});

test('an aborted signal ends the wait', async () => {
  const abort = new AbortController();
  const opening = openPipe(pipe, abort.signal);
  abort.abort();
  await expect(opening).rejects.toMatchObject({ name: 'AbortError' });
  await expect(openPipe(pipe, abort.signal)).rejects.toBe(abort.signal.reason);
});

test('what is not there is an error of the system', async () => {
  await expect(openPipe(join(dir, 'none'))).rejects.toMatchObject({ code: 'ENOENT' });
});
