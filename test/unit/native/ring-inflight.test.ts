import { expect, test } from 'vitest';
import { addon } from '../../../src/native/index.ts';
import { Errno } from './ring-harness.ts';
import { direct, ring, text, unattached } from './rings.ts';

test('requests that were in flight come again, oldest first, from the in-flight log', () => {
  const h = unattached();
  const log = addon.memfdCreate('inflight', 4096);
  const setLog = () => addon.inflightSet(h.device, log, 0, 4096, 2, 8);
  expect(setLog()).toBe(0);
  h.attach();
  for (const [head, name] of [
    [4, 'first'],
    [0, 'second'],
    [2, 'third'],
  ] as const) {
    direct(h, head, name, 8);
    h.offer(head);
  }
  expect(h.pop()).toBe(3);
  h.complete(h.popped[1]!, Buffer.from('y'));
  h.flush(h.popped[1]!);
  addon.ringDetach(h.ring);
  // A front-end without memory of what was taken sends the avail index; the log knows better.
  addon.ringReset(h.device, 0);
  h.configure(3);
  h.attach();
  expect(addon.ringArm(h.ring)).toBe(1);
  expect(h.pop()).toBe(2);
  expect([text(h.request(h.popped[0]!)), text(h.request(h.popped[1]!))]).toEqual(['first', 'third']);
  h.complete(h.popped[0]!, Buffer.from('y'));
  h.complete(h.popped[1]!, Buffer.from('y'));
  expect(h.flush(h.popped[0]!, h.popped[1]!)).toBe(0);
  expect(h.usedIndex).toBe(3);
  addon.ringDetach(h.ring);
  h.attach();
  expect(h.pop()).toBe(0);
  addon.closeFd(log);
});

test('a batch that was published but not yet cleared in the in-flight log is not repeated', () => {
  const h = unattached();
  const log = addon.memfdCreate('inflight', 4096);
  addon.inflightSet(h.device, log, 0, 4096, 2, 8);
  const view = new DataView(addon.map(log, 0, 4096, true) as ArrayBuffer);
  const entry = (head: number, counter: number, next: number) => {
    view.setUint8(16 + 16 * head, 1);
    view.setUint16(16 + 16 * head + 6, next, true);
    view.setBigUint64(16 + 16 * head + 8, BigInt(counter), true);
  };
  view.setUint16(8, 1, true);
  view.setUint16(10, 8, true);
  view.setUint16(12, 2, true);
  view.setUint16(14, 10, true);
  entry(2, 1, 4);
  entry(4, 2, 0);
  entry(6, 3, 0);
  h.usedIndex = 12;
  h.avail = 13;
  h.setAvail(13);
  direct(h, 6, 'left', 8);
  h.attach();
  expect(h.pop()).toBe(1);
  expect(text(h.request(h.popped[0]!))).toBe('left');
  addon.unmap(view.buffer as ArrayBuffer);
  addon.closeFd(log);
});

test('in-flight regions that do not fit are refused', () => {
  const h = ring();
  const log = addon.memfdCreate('inflight', 4096);
  expect(addon.inflightSet(h.device, log, 0, 4096, 3, 8)).toBe(Errno.EINVAL);
  expect(addon.inflightSet(h.device, log, 0, 4096, 2, 256)).toBe(Errno.EINVAL);
  expect(addon.inflightSet(h.device, log, 0, 8192, 2, 8)).toBe(Errno.ERANGE);
  expect(addon.inflightSet(h.device, log, 4, 4000, 2, 8)).toBe(Errno.EINVAL);
  addon.closeFd(log);
});

test('malformed chains of the in-flight log and of the avail ring are returned a used ring at a time', () => {
  const h = unattached();
  const log = addon.memfdCreate('inflight', 4096);
  expect(addon.inflightSet(h.device, log, 0, 4096, 2, h.num)).toBe(0);
  const buffer = addon.map(log, 0, 4096, true) as ArrayBuffer;
  const view = new DataView(buffer);
  view.setUint16(8, 1, true);
  for (let head = 0; head < h.num; head++) {
    view.setUint8(16 + 16 * head, 1);
    h.desc(head, 0n, 8, 0);
  }
  h.attach();
  for (let head = 0; head < h.num; head++) h.offer(head);
  h.setAvail(2 * h.num);
  expect([h.pop(), h.usedIndex]).toEqual([0, h.num]);
  expect(addon.ringArm(h.ring)).toBe(1);
  expect([h.pop(), h.usedIndex]).toEqual([0, 2 * h.num]);
  expect(addon.ringArm(h.ring)).toBe(0);
  addon.unmap(buffer);
  addon.closeFd(log);
});
