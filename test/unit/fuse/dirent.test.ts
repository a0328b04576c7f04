import { describe, expect, it } from 'vitest';
import { Opcode } from '../../../src/wire/fuse.ts';
import type { FakeReply } from '../../support/fake-channel.ts';
import { type Harness, harness, ROOT, readIn } from './harness.ts';

interface Listed {
  readonly name: string;
  readonly ino: number;
  readonly cookie: number;
  readonly type: number;
  readonly nodeid: number | null;
}

function parse(body: Buffer, plus: boolean): Listed[] {
  const found: Listed[] = [];
  const head = plus ? 128 : 0;
  for (let at = 0; at < body.length; ) {
    const length = body.readUInt32LE(at + head + 16);
    const end = at + head + 24 + length;
    found.push({
      name: body.toString('latin1', at + head + 24, end),
      ino: body.readUInt32LE(at + head),
      cookie: body.readUInt32LE(at + head + 8),
      type: body.readUInt32LE(at + head + 20),
      nodeid: plus ? body.readUInt32LE(at) : null,
    });
    at = (end + 7) & ~7;
    expect(body.subarray(end, at).every((byte) => byte === 0)).toBe(true);
  }
  return found;
}

function list(h: Harness, plus: boolean, cookie: number, size: number, writable = 1 << 20): FakeReply {
  const opcode = plus ? Opcode.READDIRPLUS : Opcode.READDIR;
  return h.ask({ opcode }, readIn(BigInt(cookie), size), writable)!;
}

const NAMES = ['.', '..', 'file', 'link', 'dir', 'split', 'missing', 'broken'];

/** Without the node whose attributes cannot be had. */
function listable(): Harness {
  const h = harness();
  h.fs.nodes[7] = {};
  return h;
}

describe.each([false, true])('a listing (plus: %s)', (plus) => {
  it('has every entry once, with its cookie, type and node', () => {
    const rows = parse(list(listable(), plus, 0, 4096).body, plus);
    expect(rows.map((row) => row.name)).toEqual(NAMES);
    expect(rows.map((row) => row.cookie)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    expect(rows.map((row) => row.type)).toEqual([4, 4, 8, 10, 4, 8, 8, 8]);
    expect(rows.map((row) => row.ino)).toEqual([1, 1, 2, 3, 4, 5, 6, 7]);
    if (plus) expect(rows.map((row) => row.nodeid)).toEqual([0, 0, 2, 3, 4, 5, 6, 7]);
  });

  it('is the same at every buffer size that holds an entry, whether size or room is what limits', () => {
    const smallest = plus ? 160 : 32;
    for (let size = smallest; size < 1500; size += 1) {
      const h = listable();
      const names: string[] = [];
      for (let cookie = 0; ; ) {
        const { body } = size % 2 ? list(h, plus, cookie, size) : list(h, plus, cookie, 4096, 16 + size);
        expect(body.length).toBeLessThanOrEqual(size);
        const rows = parse(body, plus);
        if (rows.length === 0) break;
        names.push(...rows.map((row) => row.name));
        cookie = rows.at(-1)!.cookie;
      }
      expect(names, `size ${size}`).toEqual(NAMES);
    }
  });

  it('takes an entry that fits exactly, and not one that is a byte larger', () => {
    const { length } = list(listable(), plus, 0, 4096).body;
    expect(parse(list(listable(), plus, 0, length).body, plus)).toHaveLength(8);
    expect(parse(list(listable(), plus, 0, length - 1).body, plus)).toHaveLength(7);
  });

  it('never says that a directory ended when only the buffer was too small', () => {
    for (const size of [0, 1, 24, plus ? 159 : 31]) {
      expect(list(listable(), plus, 0, size)).toMatchObject({ error: -22, total: 16 });
      expect(list(listable(), plus, 0, 4096, 16 + size)).toMatchObject({ error: -22, total: 16 });
    }
    expect(list(listable(), plus, 8, 0)).toMatchObject({ error: 0, total: 16 });
  });

  it('is empty behind its end, and at cookies that never were', () => {
    for (const cookie of [8, 9, 2 ** 40])
      expect(list(listable(), plus, cookie, 4096)).toMatchObject({ error: 0, total: 16 });
  });

  it('of 2,000 entries is complete, 64 KiB at a time at most', () => {
    const h = harness();
    const entries = Object.fromEntries(Array.from({ length: 2000 }, (_, i) => [`entry number ${i}`, 2]));
    h.fs.nodes[ROOT] = { entries };
    let count = 0;
    for (let cookie = 0; ; ) {
      const { body } = list(h, plus, cookie, 1 << 20);
      expect(body.length).toBeLessThanOrEqual(64 << 10);
      const rows = parse(body, plus);
      if (rows.length === 0) break;
      count += rows.length;
      cookie = rows.at(-1)!.cookie;
    }
    expect(count).toBe(2002);
  });
});
