import { closeSync, ftruncateSync, openSync } from 'node:fs';
import { expect, test } from 'vitest';
import { addon } from '../../../src/native/index.ts';
import { eventfdRead } from '../../support/descriptors.ts';
import { DATA_AT, Errno, GPA, NEXT, UVA, WRITE } from './ring-harness.ts';
import { direct, ring, served, text } from './rings.ts';

test('a truncated memory file is an error of the ring, not the end of the process', () => {
  const h = ring();
  direct(h, 0, 'x', 8);
  h.offer(0);
  ftruncateSync(h.memfd, 0);
  expect(h.pop()).toBe(Errno.EFAULT);
  expect(h.pop()).toBe(Errno.EFAULT);
  expect(h.flush()).toBe(Errno.EFAULT);
  expect(eventfdRead(h.err)).toBe(1);
  ftruncateSync(h.memfd, h.size);
});

test('memory truncated while a request is in flight fails its write, its read and its flush', () => {
  for (const access of ['write', 'read', 'flush']) {
    const h = ring();
    direct(h, 0, 'x', 8);
    h.offer(0);
    h.pop();
    const slot = h.popped[0]!;
    ftruncateSync(h.memfd, 0);
    const fd = openSync('/proc/self/exe', 'r');
    if (access === 'write')
      expect(addon.ringWrite(h.ring, slot, 0, Buffer.from('abc'), 0, 3)).toBe(Errno.EFAULT);
    if (access === 'read') expect(addon.ringRead(h.ring, slot, 0, fd, 0, 8)).toBeLessThanOrEqual(0);
    h.complete(slot, Buffer.from('y'));
    expect(h.flush(slot)).toBe(Errno.EFAULT);
    closeSync(fd);
    ftruncateSync(h.memfd, h.size);
  }
});

test('memory is replaced while a request is in flight, and goes when the request does', () => {
  const h = ring();
  direct(h, 0, 'x', 8);
  h.offer(0);
  h.pop();
  const slot = h.popped[0]!;
  expect(addon.memoryStale(h.device)).toBe(0);
  expect(addon.memoryRemove(h.device, h.region())).toBe(0);
  expect(addon.memoryStale(h.device)).toBe(1);
  expect(addon.memoryAdd(h.device, h.region(), h.memfd)).toBe(0);
  h.complete(slot, Buffer.from('still'));
  expect(h.flush(slot)).toBe(0);
  expect(text(h.bytes.subarray(DATA_AT + 0x1000, DATA_AT + 0x1005))).toBe('still');
  expect(addon.memoryStale(h.device)).toBe(0);
  expect(served(h)).toBe(true);
});

test('removed memory cannot be reached any more', () => {
  const h = ring();
  const other = addon.memfdCreate('other', 0x1000);
  const region = new BigUint64Array([0x8000_0000n, 0x1000n, 0x1000n, 0n]);
  expect(addon.memoryAdd(h.device, region, other)).toBe(0);
  h.desc(0, 0x8000_0000n, 4, 0);
  h.offer(0);
  expect(h.pop()).toBe(1);
  h.flush(h.popped[0]!);
  expect(addon.memoryRemove(h.device, region)).toBe(0);
  h.offer(0);
  expect(h.pop()).toBe(0);
  expect(h.stats()[2]).toBe(1);
  addon.closeFd(other);
});

test('memory tables with overlaps, overflows or more than the file has are refused, and the old one stays', () => {
  const h = ring();
  const set = (...words: bigint[]) => {
    const fds = new Int32Array(words.length / 4).fill(h.memfd);
    return addon.memorySet(h.device, new BigUint64Array(words), fds);
  };
  const size = 0x1000n;
  expect(set(0n, size, 0n, 0n, 0xfffn, size, 0x8000n, 0n)).toBe(Errno.EINVAL);
  expect(set(0n, size, 0n, 0n, 0x8000n, size, 0xfffn, 0n)).toBe(Errno.EINVAL);
  expect(set(0xffff_ffff_ffff_f001n, size, 0n, 0n)).toBe(Errno.EINVAL);
  expect(set(0n, size, 0xffff_ffff_ffff_f001n, 0n)).toBe(Errno.EINVAL);
  expect(set(0n, 0n, 0n, 0n)).toBe(Errno.EINVAL);
  expect(set(0n, size, 0n, 0xffff_ffff_ffff_ff00n)).toBe(Errno.EINVAL);
  expect(set(0n, BigInt(h.size) + 1n, 0n, 0n)).toBe(Errno.ERANGE);
  expect(set(0n, size, 0n, BigInt(h.size))).toBe(Errno.ERANGE);
  expect(addon.memoryAdd(h.device, h.region(GPA + 0x1000n, UVA + 0x1000_0000n), h.memfd)).toBe(Errno.EINVAL);
  expect(addon.memoryRemove(h.device, h.region(GPA, UVA + 1n))).toBe(-2);
  expect(served(h)).toBe(true);
});

test('buffers over the border of two regions are split, and offsets need not be page-aligned', () => {
  const h = ring();
  const file = addon.memfdCreate('two', 0x3000);
  const view = new Uint8Array(addon.map(file, 0, 0x3000, true) as ArrayBuffer);
  view.set(Buffer.from('abc'), 0x20ff);
  view.set(Buffer.from('def'), 0x10);
  // The upper one lies in front of the lower one in the file.
  const lower = new BigUint64Array([0x9000_0000n, 0x102n, 0x1000n, 0x2000n]);
  const upper = new BigUint64Array([0x9000_0102n, 0x100n, 0x8000n, 0x10n]);
  expect(addon.memoryAdd(h.device, lower, file)).toBe(0);
  expect(addon.memoryAdd(h.device, upper, file)).toBe(0);
  h.desc(0, 0x9000_00ffn, 6, NEXT, 1);
  h.desc(1, 0x9000_0100n, 4, WRITE);
  h.offer(0);
  expect(h.pop()).toBe(1);
  expect(text(h.request(h.popped[0]!))).toBe('abcdef');
  h.complete(h.popped[0]!, Buffer.from('1234'));
  h.flush(h.popped[0]!);
  expect(text(view.subarray(0x2100, 0x2102)) + text(view.subarray(0x10, 0x12))).toBe('1234');
  addon.unmap(view.buffer as ArrayBuffer);
  addon.closeFd(file);
});
