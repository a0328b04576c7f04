import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test, vi } from 'vitest';
import { addon } from '../../../src/native/index.ts';
import { REQUEST_BYTES, State } from '../../../src/native/ring.ts';
import { eventfd, eventfdRead, eventfdWrite, socketPair } from '../../support/descriptors.ts';
import { DATA_AT, Errno, EVENT_IDX, Harness, INDIRECT, NEXT, TABLE, UVA, WRITE } from './ring-harness.ts';
import { direct, ring, served, text, unattached } from './rings.ts';

test('a direct chain is copied, answered and published with its exact length', () => {
  const h = ring();
  direct(h, 0, 'hello', 100);
  h.offer(0);
  expect(h.pop()).toBe(1);
  const slot = h.popped[0]!;
  expect(text(h.request(slot))).toBe('hello');
  expect([h.word(slot, State.readable), h.word(slot, State.writable)]).toEqual([5, 100]);
  expect(h.usedIndex).toBe(0);
  h.complete(slot, Buffer.from('reply'));
  expect(addon.ringWrite(h.ring, slot, 5, Buffer.from('..and more'), 2, 8)).toBe(8);
  h.complete(slot, Buffer.from('reply'), 13);
  expect(h.flush(slot)).toBe(0);
  expect(h.usedIndex).toBe(1);
  expect(h.used(0)).toEqual({ id: 0, length: 13 });
  expect(text(h.bytes.subarray(DATA_AT + 0x1000, DATA_AT + 0x1000 + 13))).toBe('replyand more');
});

test('an indirect chain with a split header reads as one request, and its pieces are filled in order', () => {
  const h = ring();
  const table = DATA_AT;
  h.bytes.set(Buffer.from('abcdef'), DATA_AT + 0x1000);
  h.desc(0, h.gpa(DATA_AT + 0x1000), 2, NEXT, 2, table);
  h.desc(2, h.gpa(DATA_AT + 0x1002), 4, NEXT, 1, table);
  h.desc(1, h.gpa(DATA_AT + 0x3000), 3, NEXT | WRITE, 3, table);
  h.desc(3, h.gpa(DATA_AT + 0x2000), 5, WRITE, 0, table);
  h.desc(5, h.gpa(table), 64, TABLE);
  h.offer(5);
  expect(h.pop()).toBe(1);
  const slot = h.popped[0]!;
  expect(text(h.request(slot))).toBe('abcdef');
  h.complete(slot, Buffer.from('12345678'));
  h.flush(slot);
  expect(h.used(0)).toEqual({ id: 5, length: 8 });
  expect(text(h.bytes.subarray(DATA_AT + 0x3000, DATA_AT + 0x3003))).toBe('123');
  expect(text(h.bytes.subarray(DATA_AT + 0x2000, DATA_AT + 0x2005))).toBe('45678');
});

test('70,000 requests go round both indices and the ring', () => {
  const h = ring({ num: 4 });
  direct(h, 0, 'ping', 64);
  for (let i = 0; i < 70_000; i++) {
    h.offer(0);
    if (h.pop() !== 1) throw new Error(`request ${i} did not come`);
    const slot = h.popped[0]!;
    h.complete(slot, Buffer.from([i & 0xff]), 1);
    if (h.flush(slot) !== 0 || h.usedIndex !== ((i + 1) & 0xffff)) throw new Error(`reply ${i} is missing`);
  }
  expect(h.stats().slice(0, 3)).toEqual([70_000, 70_000, 0]);
});

test('a request longer than a slot is cut, and its full length told', () => {
  const h = ring();
  h.desc(0, h.gpa(DATA_AT), 0x3000, 0);
  h.bytes.fill(7, DATA_AT, DATA_AT + 0x3000);
  h.offer(0);
  h.pop();
  const slot = h.popped[0]!;
  expect([h.word(slot, State.readable), h.word(slot, State.copied), h.word(slot, State.writable)]).toEqual([
    0x3000,
    REQUEST_BYTES,
    0,
  ]);
  expect(h.request(slot).every((byte) => byte === 7)).toBe(true);
});

test('a reply is cut to the writable part', () => {
  const h = ring();
  direct(h, 0, 'q', 4);
  h.offer(0);
  h.pop();
  const slot = h.popped[0]!;
  h.complete(slot, Buffer.from('longer than that'));
  h.bytes[DATA_AT + 0x1004] = 0xee;
  h.flush(slot);
  expect(h.used(0).length).toBe(4);
  expect(h.bytes[DATA_AT + 0x1004]).toBe(0xee);
});

const malformed: Record<string, (h: Harness) => void> = {
  'next beyond the table': (h) => h.desc(0, h.gpa(DATA_AT), 4, NEXT, 8),
  'a loop': (h) => {
    h.desc(0, h.gpa(DATA_AT), 4, NEXT, 1);
    h.desc(1, h.gpa(DATA_AT), 4, NEXT, 0);
  },
  'indirect inside indirect': (h) => {
    h.desc(0, h.gpa(DATA_AT), 16, TABLE, 0, DATA_AT);
    h.desc(0, h.gpa(DATA_AT), 16, TABLE);
  },
  'INDIRECT and NEXT together': (h) => {
    h.desc(0, h.gpa(DATA_AT), 4, 0, 0, DATA_AT);
    h.desc(0, h.gpa(DATA_AT), 16, TABLE | NEXT, 1);
  },
  'an indirect table of 24 bytes': (h) => h.desc(0, h.gpa(DATA_AT), 24, TABLE),
  'an empty indirect table': (h) => h.desc(0, h.gpa(DATA_AT), 0, TABLE),
  'an indirect table of 1025 entries': (h) => h.desc(0, h.gpa(DATA_AT), 1025 * 16, TABLE),
  'an indirect table outside memory': (h) => h.desc(0, 0x10n, 16, TABLE),
  'an indirect table at the end of the address space': (h) => h.desc(0, 0xffff_ffff_ffff_fff8n, 16, TABLE),
  'next beyond the indirect table': (h) => {
    h.desc(0, h.gpa(DATA_AT), 4, NEXT, 1, DATA_AT);
    h.desc(0, h.gpa(DATA_AT), 16, TABLE);
  },
  'a loop in the indirect table': (h) => {
    h.desc(0, h.gpa(DATA_AT), 4, NEXT, 0, DATA_AT);
    h.desc(0, h.gpa(DATA_AT), 16, TABLE);
  },
  'a buffer outside memory': (h) => h.desc(0, 0x5n, 4, 0),
  'a buffer that begins inside and ends outside': (h) => h.desc(0, h.gpa(h.size - 2), 4, WRITE),
  'a buffer over the end of the address space': (h) => h.desc(0, 0xffff_ffff_ffff_fffen, 4, 0),
  'readable behind writable': (h) => {
    h.desc(0, h.gpa(DATA_AT), 4, NEXT | WRITE, 1);
    h.desc(1, h.gpa(DATA_AT), 4, 0);
  },
};

for (const [what, write] of Object.entries(malformed)) {
  test(`${what} is given back empty, and the ring goes on`, () => {
    const h = ring();
    write(h);
    h.offer(0);
    expect(h.pop()).toBe(0);
    expect(h.usedIndex).toBe(1);
    expect(h.used(0)).toEqual({ id: 0, length: 0 });
    expect(h.stats()[2]).toBe(1);
    direct(h, 2, 'fine', 8);
    h.offer(2);
    expect(h.pop()).toBe(1);
    expect(text(h.request(h.popped[0]!))).toBe('fine');
  });
}

test('more than 4 GiB in one chain is refused', () => {
  const h = ring();
  const memfd = addon.memfdCreate('sparse', 8 * 2 ** 30);
  const region = new BigUint64Array([0x1_0000_0000n, 8n << 30n, 0x1000_0000_0000n, 0n]);
  expect(addon.memoryAdd(h.device, region, memfd)).toBe(0);
  h.desc(0, 0x1_0000_0000n, 0xffff_fff0, NEXT | WRITE, 1);
  h.desc(1, 0x2_0000_0000n, 0x20, WRITE);
  h.offer(0);
  expect(h.pop()).toBe(0);
  expect(h.stats()[2]).toBe(1);
  h.desc(1, 0x2_0000_0000n, 0xf, WRITE);
  h.offer(0);
  expect(h.pop()).toBe(1);
  addon.closeFd(memfd);
});

test('an indirect table without the feature is malformed', () => {
  const h = ring({ features: 0 });
  h.desc(0, h.gpa(DATA_AT), 4, 0, 0, DATA_AT);
  h.desc(0, h.gpa(DATA_AT), 16, TABLE);
  h.offer(0);
  expect(h.pop()).toBe(0);
  expect(h.stats()[2]).toBe(1);
});

test('a descriptor of length 0 is skipped', () => {
  const h = ring();
  h.desc(0, 0n, 0, NEXT, 1);
  direct(h, 1, 'x', 8);
  h.offer(0);
  expect(h.pop()).toBe(1);
  expect(text(h.request(h.popped[0]!))).toBe('x');
});

const corrupt: Record<string, (h: Harness) => void> = {
  'an avail index more than a ring ahead': (h) => h.setAvail(9),
  'a head beyond the table': (h) => h.offer(8),
  'a head that is in flight already': (h) => {
    direct(h, 0, 'x', 8);
    h.offer(0);
    h.offer(0);
  },
};

for (const [what, write] of Object.entries(corrupt)) {
  test(`${what} breaks the ring and signals its error descriptor`, () => {
    const h = ring();
    write(h);
    expect(h.pop()).toBe(Errno.EPROTO);
    expect(eventfdRead(h.err)).toBe(1);
    expect([h.pop(), addon.ringArm(h.ring)]).toEqual([Errno.EPROTO, Errno.EPROTO]);
    expect(eventfdRead(h.err)).toBe(Errno.EAGAIN);
  });
}

test('with event idx the guest is notified at the start and then when its index is passed', () => {
  const h = ring({ features: EVENT_IDX });
  h.usedEvent = 1000;
  expect(served(h)).toBe(true);
  expect(served(h)).toBe(false);
  h.usedEvent = 2;
  expect(served(h)).toBe(true);
  expect(served(h)).toBe(false);
});

test('what is published untold is seen at once, and signalled by the next flush that tells, be there more or not', () => {
  const h = ring({ features: EVENT_IDX });
  served(h);
  const before = h.stats()[3]!;
  h.usedEvent = 1;
  direct(h, 0, 'x', 8);
  h.offer(0);
  h.pop();
  h.complete(h.popped[0]!, Buffer.from('y'));
  h.publish(h.popped[0]!);
  expect([h.usedIndex, h.stats()[3]! - before]).toEqual([2, 0]);
  h.flush();
  h.flush();
  expect(h.stats()[3]! - before).toBe(1);
});

test('without event idx NO_INTERRUPT is obeyed', () => {
  const h = ring({ features: 0 });
  expect(served(h)).toBe(true);
  h.availFlags = 1;
  expect(served(h)).toBe(false);
  h.availFlags = 0;
  expect(served(h)).toBe(true);
});

test('arming publishes the index to kick at and sees a request that came meanwhile', () => {
  const h = ring({ features: EVENT_IDX });
  served(h);
  expect(addon.ringArm(h.ring)).toBe(0);
  expect(h.availEvent).toBe(1);
  direct(h, 0, 'x', 8);
  h.offer(0);
  expect(addon.ringArm(h.ring)).toBe(1);
});

test('a batch is notified once', () => {
  const h = ring({ num: 8 });
  served(h);
  const before = h.stats()[3]!;
  for (const head of [0, 2, 4]) {
    direct(h, head, 'x', 8);
    h.offer(head);
  }
  expect(h.pop()).toBe(3);
  for (let i = 0; i < 3; i++) h.complete(h.popped[i]!, Buffer.from('y'));
  h.flush(...h.popped.subarray(0, 3));
  expect(h.stats()[3]! - before).toBe(1);
  expect(h.usedIndex).toBe(4);
});

test('a new call descriptor is signalled once and used from then on', () => {
  const h = ring();
  const pair = new Int32Array(2);
  socketPair(pair);
  expect(addon.ringSetCall(h.device, 0, pair[0]!)).toBe(0);
  const bytes = new Uint8Array(64);
  expect(addon.recvMsg(pair[1]!, bytes, 0, 64, new Int32Array(1))).toBe(8);
  served(h);
  expect(addon.recvMsg(pair[1]!, bytes, 0, 64, new Int32Array(1))).toBe(8);
  addon.closeFd(pair[1]!);
});

test('an attach looks at the ring at once, and a kick calls back', async () => {
  const h = ring();
  await vi.waitFor(() => expect(h.kicks).toBe(1), { timeout: 10_000 });
  eventfdWrite(h.kick);
  await vi.waitFor(() => expect(h.kicks).toBe(2), { timeout: 10_000 });
});

test('a slot that becomes free wakes the thread for requests that waited for one', async () => {
  const h = ring({ slots: 1 });
  direct(h, 0, 'a', 8);
  direct(h, 2, 'b', 8);
  h.offer(0);
  h.offer(2);
  expect(h.pop(1)).toBe(1);
  expect([h.pop(1), addon.ringArm(h.ring)]).toEqual([0, 0]);
  await sleep(5);
  const before = h.kicks;
  h.complete(h.popped[0]!, Buffer.from('y'));
  h.flush(h.popped[0]!);
  await sleep(5);
  expect(h.kicks).toBe(before + 1);
  expect(h.pop(1)).toBe(1);
});

function temporaryFile(content: Uint8Array): { fd: number; remove(): void } {
  const folder = mkdtempSync(join(tmpdir(), 'ring-'));
  writeFileSync(join(folder, 'file'), content);
  const fd = openSync(join(folder, 'file'), 'r');
  return {
    fd,
    remove() {
      closeSync(fd);
      rmSync(folder, { recursive: true });
    },
  };
}

const pattern = Uint8Array.from({ length: 20_000 }, (_, i) => (i * 7 + (i >> 8)) & 0xff);

test('file bytes are put behind the reply head, over several pieces, and no byte beyond', () => {
  const h = ring();
  const file = temporaryFile(pattern);
  h.desc(0, h.gpa(DATA_AT), 4, NEXT, 1);
  h.desc(1, h.gpa(DATA_AT + 0x8000), 20, NEXT | WRITE, 2);
  h.desc(2, h.gpa(DATA_AT + 0x2000), 0x1000, NEXT | WRITE, 3);
  h.desc(3, h.gpa(DATA_AT + 0x6000), 0x1000, WRITE);
  h.offer(0);
  h.pop();
  const slot = h.popped[0]!;
  expect(addon.ringRead(h.ring, slot, 16, file.fd, 100, 5000)).toBe(5000);
  const got = Buffer.concat([
    h.bytes.subarray(DATA_AT + 0x8010, DATA_AT + 0x8014),
    h.bytes.subarray(DATA_AT + 0x2000, DATA_AT + 0x3000),
    h.bytes.subarray(DATA_AT + 0x6000, DATA_AT + 0x6000 + 900),
  ]);
  expect(Buffer.compare(got, pattern.subarray(100, 5100))).toBe(0);
  expect(h.bytes[DATA_AT + 0x6000 + 900]).toBe(0);
  // A second time: cutting the pieces for the first read did not change them.
  expect(addon.ringRead(h.ring, slot, 16, file.fd, 100, 1 << 20)).toBe(20 + 0x2000 - 16);
  expect(addon.ringRead(h.ring, slot, 16, file.fd, 19_990, 4096)).toBe(10);
  expect(addon.ringRead(h.ring, slot, 20 + 0x2001, file.fd, 0, 1)).toBe(Errno.EINVAL);
  file.remove();
});

test('a blocking read answers on this thread, and its slot cannot be flushed before', async () => {
  const h = ring();
  const file = temporaryFile(pattern);
  direct(h, 0, 'x', 4096);
  h.offer(0);
  h.pop();
  const slot = h.popped[0]!;
  const result = new Promise<number>((resolve) => {
    expect(addon.ringReadBlocking(h.ring, slot, 0, file.fd, 0, 4096, resolve)).toBe(0);
  });
  expect(h.flush(slot)).toBe(Errno.EINVAL);
  expect(await result).toBe(4096);
  expect(
    Buffer.compare(h.bytes.subarray(DATA_AT + 0x1000, DATA_AT + 0x2000), pattern.subarray(0, 4096)),
  ).toBe(0);
  expect(h.flush(slot)).toBe(0);
  file.remove();
});

test('a detach during a blocking read drops its answer', async () => {
  const h = ring();
  const file = temporaryFile(pattern);
  direct(h, 0, 'x', 4096);
  h.offer(0);
  h.pop();
  let answers = 0;
  addon.ringReadBlocking(h.ring, h.popped[0]!, 0, file.fd, 0, 4096, () => answers++);
  addon.ringDetach(h.ring);
  h.ring = -1;
  addon.memoryRemove(h.device, h.region());
  await vi.waitFor(() => expect(addon.memoryStale(h.device)).toBe(0), { timeout: 10_000 });
  await sleep(5);
  expect(answers).toBe(0);
  file.remove();
});

test('slots that are not in flight are refused', () => {
  const h = ring();
  expect(h.flush(0)).toBe(Errno.EINVAL);
  expect(h.flush(-1)).toBe(Errno.EINVAL);
  expect(h.flush(16)).toBe(Errno.EINVAL);
  expect(addon.ringWrite(h.ring, 3, 0, new Uint8Array(1), 0, 1)).toBe(Errno.EINVAL);
});

test('detach gives the base, attach goes on from it', () => {
  const h = ring();
  served(h);
  served(h);
  expect(addon.ringDetach(h.ring)).toBe(2);
  expect(addon.ringBase(h.device, 0)).toBe(2);
  h.attach();
  expect(served(h)).toBe(true);
  expect(h.usedIndex).toBe(3);
});

test('a ring is attached once, and not configured meanwhile', () => {
  const h = ring();
  expect(h.tryAttach()).toBe(Errno.EBUSY);
  expect(addon.ringSetNum(h.device, 0, 16)).toBe(Errno.EBUSY);
  expect(addon.ringSetBase(h.device, 0, 1)).toBe(Errno.EBUSY);
  expect(addon.ringReset(h.device, 0)).toBe(Errno.EBUSY);
});

test('a ring without addresses, or with addresses outside memory, is not attached', () => {
  const h = unattached();
  addon.ringReset(h.device, 0);
  expect(h.tryAttach()).toBe(Errno.EINVAL);
  h.configure();
  addon.ringSetAddr(h.device, 0, 0x10n, UVA, UVA);
  expect(h.tryAttach()).toBe(Errno.EFAULT);
  expect(addon.ringSetAddr(h.device, 0, UVA + 8n, UVA, UVA)).toBe(Errno.EINVAL);
});

test('a destroyed device answers ENODEV', () => {
  const h = ring();
  addon.deviceDestroy(h.device);
  expect(h.pop()).toBe(Errno.ENODEV);
  expect(addon.ringSetNum(h.device, 0, 4)).toBe(Errno.ENODEV);
});

test('a hundred devices leave no descriptor and no mapping behind', () => {
  const mappings = () =>
    readFileSync('/proc/self/maps', 'utf8')
      .split('\n')
      .filter((l) => l.includes('ring test')).length;
  const descriptors = () => eventfd();
  const probe = descriptors();
  addon.closeFd(probe);
  const before = mappings();
  for (let i = 0; i < 100; i++) {
    const h = new Harness().attach();
    served(h);
    h.close();
  }
  const after = descriptors();
  addon.closeFd(after);
  expect([after, mappings()]).toEqual([probe, before]);
});

test('features are read at attach', () => {
  const h = unattached({ features: INDIRECT | EVENT_IDX });
  h.attach();
  h.usedEvent = 5;
  served(h);
  expect(served(h)).toBe(false);
});
