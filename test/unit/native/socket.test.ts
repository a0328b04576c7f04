import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { expect, test } from 'vitest';
import { addon, checkSyscall, SystemError } from '../../../src/native/index.ts';
import { eventfd, eventfdRead, eventfdWrite, socketPair } from '../../support/descriptors.ts';

const EAGAIN = -11;
const EMSGSIZE = -90;

function pair(): [number, number] {
  const out = new Int32Array(2);
  expect(socketPair(out)).toBe(0);
  return [out[0]!, out[1]!];
}

const openDescriptors = () => readdirSync('/proc/self/fd').length;

test('descriptors travel with the bytes', () => {
  const [a, b] = pair();
  const event = eventfd();
  expect(addon.sendMsg(a, Buffer.from('hello'), 5, new Int32Array([event, event]))).toBe(5);
  const buffer = new Uint8Array(16);
  const fds = new Int32Array(9);
  expect(addon.recvMsg(b, buffer, 2, 14, fds)).toBe(5);
  expect(Buffer.from(buffer.subarray(2, 7)).toString()).toBe('hello');
  expect(fds[0]).toBe(2);
  eventfdWrite(fds[1]!);
  expect(eventfdRead(event)).toBe(1);
  expect(eventfdRead(event)).toBe(EAGAIN);
  for (const fd of [a, b, event, fds[1]!, fds[2]!]) expect(addon.closeFd(fd)).toBe(0);
});

test('more descriptors than there is room for are all closed', () => {
  const [a, b] = pair();
  const event = eventfd();
  const before = openDescriptors();
  addon.sendMsg(a, new Uint8Array(1), 1, new Int32Array(9).fill(event));
  expect(addon.recvMsg(b, new Uint8Array(1), 0, 1, new Int32Array(9))).toBe(EMSGSIZE);
  expect(openDescriptors()).toBe(before);
  for (const fd of [a, b, event]) addon.closeFd(fd);
});

test('a read tells nothing to read and a closed peer apart', () => {
  const [a, b] = pair();
  const fds = new Int32Array(1);
  expect(addon.recvMsg(b, new Uint8Array(1), 0, 1, fds)).toBe(EAGAIN);
  addon.closeFd(a);
  expect(addon.recvMsg(b, new Uint8Array(1), 0, 1, fds)).toBe(0);
  addon.closeFd(b);
});

test('ranges outside the buffer are refused', () => {
  const [a, b] = pair();
  const fds = new Int32Array(1);
  expect(addon.recvMsg(b, new Uint8Array(8), 4, 5, fds)).toBe(-22);
  expect(addon.recvMsg(b, new Uint8Array(8), 9, 1, fds)).toBe(-22);
  expect(addon.sendMsg(a, new Uint8Array(8), 9, null)).toBe(-22);
  addon.closeFd(a);
  addon.closeFd(b);
});

test('a listening socket is private to its user and accepts', () => {
  const folder = mkdtempSync(join(tmpdir(), 'sock-'));
  const path = join(folder, 's');
  const listener = checkSyscall(addon.listenUnix(path), 'listen');
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(addon.acceptUnix(listener)).toBe(EAGAIN);
  const client = checkSyscall(addon.connectUnix(path), 'connect');
  const server = checkSyscall(addon.acceptUnix(listener), 'accept');
  for (const fd of [listener, client, server]) addon.closeFd(fd);
  rmSync(folder, { recursive: true });
});

test('a path that does not fit is refused, not cut', () => {
  expect(addon.listenUnix(`/tmp/${'x'.repeat(104)}`)).toBe(-36);
  expect(addon.connectUnix('')).toBe(-22);
});

test('a system error carries its name', () => {
  expect(() => checkSyscall(-2, 'open')).toThrow(SystemError);
  expect(new SystemError(-2, 'open')).toMatchObject({
    code: 'ENOENT',
    errno: -2,
    syscall: 'open',
    message: 'open: ENOENT',
  });
});

test('a poll reports readiness until stopped', async () => {
  const event = eventfd();
  let calls = 0;
  await new Promise<void>((resolve) => {
    const handle = addon.pollStart(event, 1, (events) => {
      expect(events).toBe(1);
      eventfdRead(event);
      if (++calls === 2) {
        expect(addon.pollStop(handle)).toBe(0);
        expect(addon.pollStop(handle)).toBe(-9);
        resolve();
      } else {
        eventfdWrite(event);
      }
    });
    eventfdWrite(event);
  });
  addon.closeFd(event);
  expect(calls).toBe(2);
});

test('a worker that is terminated with a poll, a ring and work under way leaves the process alive', async () => {
  const harness = new URL('./ring-harness.ts', import.meta.url).href;
  const index = new URL('../../../src/native/index.ts', import.meta.url).href;
  const descriptors = new URL('../../support/descriptors.ts', import.meta.url).href;
  const source = `
    const { parentPort } = require('node:worker_threads');
    const modules = ['${harness}', '${index}', '${descriptors}'].map((url) => import(url));
    Promise.all(modules).then(([{ Harness }, { addon }, { eventfd, eventfdWrite }]) => {
      new Harness().attach();
      const event = eventfd();
      addon.pollStart(event, 1, () => {});
      eventfdWrite(event);
      const big = new Uint8Array(1 << 24);
      for (let i = 0; i < 8; i++) addon.decodeAsync(3, big, big, () => {});
      const [pieces, digests] = [Float64Array.of(0, big.length, -1, -1, 2, 0), new Uint8Array(32)];
      addon.landUnit(-1, 0, 0, 0, big, big, null, null, pieces, digests, new Int32Array(1), () => {});
      parentPort.postMessage('up');
    });`;
  for (let i = 0; i < 3; i++) {
    const worker = new Worker(source, { eval: true });
    await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
    await worker.terminate();
  }
});

test('a mapping is emptied by unmap and a sealed memfd cannot change', () => {
  const fd = checkSyscall(addon.memfdCreate('sealed', 8192), 'memfd_create');
  const written = addon.map(fd, 0, 8192, true) as ArrayBuffer;
  new Uint8Array(written)[5000] = 9;
  expect(addon.memfdSeal(fd)).toBe(-16);
  expect(addon.unmap(written)).toBe(0);
  expect(written.byteLength).toBe(0);
  expect(addon.unmap(written)).toBe(-22);
  expect(addon.memfdSeal(fd)).toBe(0);
  const view = addon.map(fd, 4999, 2, false) as ArrayBuffer;
  expect([...new Uint8Array(view)]).toEqual([0, 9]);
  expect(addon.map(fd, 8000, 193, false)).toBe(-34);
  expect(addon.map(fd, 0, 8192, true)).toBe(-1);
  expect(addon.unmap(view)).toBe(0);
  addon.closeFd(fd);
});
