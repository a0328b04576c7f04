/** The slots of one ring as a server uses them, with a driver that behaves. */

import { closeSync, mkdtempSync, openSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { REPLY_BYTES, REQUEST_BYTES } from '../../../src/native/ring.ts';
import { RingChannel } from '../../../src/transport/ring-channel.ts';
import { addon } from '../../support/addon.ts';
import { socketPair } from '../../support/descriptors.ts';
import { DriverRing, GuestMemory } from '../../support/driver.ts';

const NUM = 64;
const EBADF = -9;

let memory: GuestMemory;
let ring: DriverRing;
let device: number;
let channel: RingChannel;
let kicks: number;
let directory: string;

function attach(): RingChannel | number {
  return RingChannel.attach(addon, device, 0, () => {
    kicks++;
  });
}

/** The device takes its descriptors, the driver keeps its own: a copy comes through a socket. */
function copyOf(fd: number): number {
  const pair = new Int32Array(2);
  socketPair(pair);
  addon.sendMsg(pair[0]!, new Uint8Array(1), 1, Int32Array.of(fd));
  const received = new Int32Array(2);
  addon.recvMsg(pair[1]!, new Uint8Array(1), 0, 1, received);
  for (const end of pair) addon.closeFd(end);
  return received[1]!;
}

beforeEach(() => {
  kicks = 0;
  directory = mkdtempSync(join(tmpdir(), 'channel-'));
  memory = new GuestMemory(addon, 4 << 20);
  ring = new DriverRing(addon, memory, 0, NUM);
  device = addon.deviceCreate(1);
  const words = memory.regions.flatMap(({ gpa, size, uva, mmapOffset }) => [gpa, size, uva, mmapOffset]);
  expect(addon.memorySet(device, BigUint64Array.from(words), Int32Array.of(memory.fd, memory.fd))).toBe(0);
  const { desc, used, avail } = ring.addresses;
  expect(addon.ringSetNum(device, 0, NUM)).toBe(0);
  expect(addon.ringSetAddr(device, 0, desc, used, avail)).toBe(0);
  expect(addon.ringSetKick(device, 0, copyOf(ring.kickFd))).toBe(0);
  expect(addon.ringSetCall(device, 0, copyOf(ring.callFd))).toBe(0);
  channel = attach() as RingChannel;
});

afterEach(() => {
  channel.detach();
  addon.deviceDestroy(device);
  ring.close();
  memory.close();
  rmSync(directory, { recursive: true });
});

/** Sends without waiting; a request that is never answered is no failure of the test. */
function send(readable: Uint8Array, writable: number) {
  const answer = ring.request(readable, writable);
  answer.catch(() => {});
  return answer;
}

/** A file of 8 KiB of counting bytes. */
function countingFile(): { fd: number; bytes: Buffer; path: string } {
  const bytes = Buffer.from(Uint8Array.from({ length: 8192 }, (_, i) => (i * 7) & 0xff));
  const path = join(directory, 'file');
  writeFileSync(path, bytes);
  return { fd: openSync(path, 'r'), bytes, path };
}

it('gives each request its own slot, and says what came and what may go back', () => {
  send(Uint8Array.of(1, 2, 3), 300);
  send(new Uint8Array(REQUEST_BYTES + 100).fill(9), 16);
  expect(channel.pop(32, 0)).toBe(2);
  const [first, second] = channel.popped;
  expect(first).not.toBe(second);
  const at = channel.requestAt(first!);
  expect([...channel.requestBytes.subarray(at, at + channel.requestCopied(first!))]).toEqual([1, 2, 3]);
  expect([channel.requestTotal(first!), channel.replyCapacity(first!)]).toEqual([3, 300]);
  expect([
    channel.requestCopied(second!),
    channel.requestTotal(second!),
    channel.replyCapacity(second!),
  ]).toEqual([REQUEST_BYTES, REQUEST_BYTES + 100, 16]);
});

it('joins the reply area with scattered bytes and file bytes, and used.len is their sum', async () => {
  const { fd, bytes } = countingFile();
  const answer = send(Uint8Array.of(1), 4096);
  channel.pop(1, 0);
  const slot = channel.popped[0]!;
  const at = channel.replyAt(slot);
  channel.replies.setUint32(at, 0xdeadbeef);
  expect(channel.writeBytes(slot, 4, bytes, 10, 6)).toBe(6);
  expect(channel.readFile(slot, 10, fd, 100, 50)).toBe(50);
  channel.complete(slot, 4, 60);
  expect(channel.flush()).toBe(0);
  const { usedLen, bytes: reply } = await answer;
  expect(usedLen).toBe(60);
  expect(Buffer.from(reply.subarray(0, 60))).toEqual(
    Buffer.concat([Buffer.from('deadbeef', 'hex'), bytes.subarray(10, 16), bytes.subarray(100, 150)]),
  );
  closeSync(fd);
});

it('cuts what is read or written to the room there is', () => {
  const { fd, bytes } = countingFile();
  send(Uint8Array.of(1), 100);
  channel.pop(1, 0);
  const slot = channel.popped[0]!;
  expect(channel.readFile(slot, 16, fd, 0, 4096)).toBe(84);
  expect(channel.writeBytes(slot, 90, bytes, 0, 4096)).toBe(10);
  expect(channel.readFile(slot, 100, fd, 0, 4096)).toBe(0);
  expect(channel.readFile(slot, 101, fd, 0, 1)).toBe(-22);
  closeSync(fd);
});

it('completes in any order, each slot once, and gives a slot back with another ticket', async () => {
  const answers = [1, 2, 3].map((byte) => send(Uint8Array.of(byte), REPLY_BYTES));
  channel.pop(32, 0);
  const slots = [...channel.popped.subarray(0, 3)];
  const tickets = slots.map((slot) => channel.ticket(slot));
  for (const slot of slots.reverse()) channel.complete(slot, 1, 1);
  channel.flush();
  expect((await Promise.all(answers)).map(({ usedLen }) => usedLen)).toEqual([1, 1, 1]);
  slots.reverse();
  for (const [i, slot] of slots.entries()) expect(channel.alive(slot, tickets[i]!)).toBe(false);
  expect(channel.flush()).toBe(0);
});

it('reads on a pool thread without holding this one up', async () => {
  const { fd, bytes } = countingFile();
  const answer = send(Uint8Array.of(1), 8192);
  channel.pop(1, 0);
  const slot = channel.popped[0]!;
  const result = new Promise<number>((resolve) => channel.readFileBlocking(slot, 0, fd, 4000, 8192, resolve));
  // The pool owns the slot meanwhile, and a descriptor of its own.
  expect(channel.writeBytes(slot, 0, bytes, 0, 1)).toBe(-22);
  closeSync(fd);
  expect(await result).toBe(4192);
  channel.complete(slot, 0, 4192);
  channel.flush();
  const { bytes: reply } = await answer;
  expect(Buffer.compare(reply.subarray(0, 4192), bytes.subarray(4000))).toBe(0);
});

it('tells of a read that cannot be handed to the pool, after the call', async () => {
  send(Uint8Array.of(1), 64);
  channel.pop(1, 0);
  const slot = channel.popped[0]!;
  let result: number | null = null;
  channel.readFileBlocking(slot, 0, -1, 0, 8, (value) => {
    result = value;
  });
  expect(result).toBeNull();
  await Promise.resolve();
  expect(result).toBe(EBADF);
  channel.complete(slot, 0, 0);
  expect(channel.flush()).toBe(0);
});

it('has nobody alive and touches nothing once it is detached', async () => {
  const { fd, bytes } = countingFile();
  send(Uint8Array.of(1), 256);
  channel.pop(1, 0);
  const slot = channel.popped[0]!;
  const ticket = channel.ticket(slot);
  expect(channel.alive(slot, ticket)).toBe(true);
  expect(channel.detach()).toBe(1);
  const before = Buffer.from(memory.bytes);
  expect(channel.alive(slot, ticket)).toBe(false);
  expect(channel.writeBytes(slot, 0, bytes, 0, 10)).toBe(EBADF);
  expect(channel.readFile(slot, 0, fd, 0, 10)).toBe(EBADF);
  const result = await new Promise((resolve) => channel.readFileBlocking(slot, 0, fd, 0, 10, resolve));
  expect([result, channel.pop(1, 0), channel.arm(), channel.detach()]).toEqual([EBADF, EBADF, EBADF, 0]);
  channel.complete(slot, 10, 10);
  expect(channel.flush()).toBe(0);
  expect(Buffer.compare(memory.bytes, before)).toBe(0);
  closeSync(fd);
});

it('has slots for 1,024 requests, and takes what waited in the driver with the next pop', async () => {
  expect(channel.popped.length).toBe(1024);
  const all = Array.from({ length: NUM }, () =>
    ring.request(Uint8Array.of(1), 16, { indirect: false, writable: [] }),
  );
  for (const answer of all) answer.catch(() => {});
  // Each takes two descriptors of the ring: half of them wait in the driver.
  expect(channel.pop(1024, 0)).toBe(NUM / 2);
  for (const slot of channel.popped.subarray(0, NUM / 2)) channel.complete(slot, 0, 0);
  expect([channel.flush(), channel.arm()]).toEqual([0, 0]);
  await Promise.all(all.slice(0, NUM / 2));
  expect(channel.pop(1024, 0)).toBe(NUM / 2);
});

it('refuses a ring that is served already', () => {
  expect(attach()).toBe(-16);
});

it('wakes who serves it when a reply finds guest memory gone, since the driver may never kick again', async () => {
  await new Promise((resolve) => setTimeout(resolve, 20));
  send(Uint8Array.of(1), 256);
  await new Promise((resolve) => setTimeout(resolve, 20));
  channel.pop(1, 0);
  const before = kicks;
  truncateSync(`/proc/self/fd/${memory.fd}`, 0);
  channel.complete(channel.popped[0]!, 16, 16);
  expect(channel.flush()).toBe(-14);
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect([kicks - before, channel.pop(1, 0)]).toEqual([1, -14]);
  // The driver of this test must not look at memory that is gone.
  truncateSync(`/proc/self/fd/${memory.fd}`, memory.size);
});
