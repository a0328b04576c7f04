/** What the addon's hot calls cost: `node test/bench/native.bench.ts` prints nanoseconds. */
import { mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { compressSync } from 'lz4-napi';
import { addon } from '../../src/native/index.ts';
import { DATA_AT, EVENT_IDX, Harness, INDIRECT, NEXT, TABLE, WRITE } from '../unit/native/ring-harness.ts';

const BATCH = 32;
const ROUNDS = 20_000;

function report(what: string, elapsedNs: bigint, count: number): void {
  console.log(`${what.padEnd(44)} ${(Number(elapsedNs) / count).toFixed(1).padStart(9)} ns`);
}

/** A ring full of what Linux sends for LOOKUP: an indirect table of two readable and two writable descriptors. */
function filled(): Harness {
  const h = new Harness({ num: 64, slots: 64, features: INDIRECT | EVENT_IDX }).attach();
  for (let head = 0; head < BATCH; head++) {
    const table = DATA_AT + head * 0x4000;
    const at = (offset: number) => h.gpa(table + offset);
    h.desc(0, at(0x1000), 40, NEXT, 1, table);
    h.desc(1, at(0x1100), 12, NEXT, 2, table);
    h.desc(2, at(0x1200), 16, NEXT | WRITE, 3, table);
    h.desc(3, at(0x2000), 4096, WRITE, 0, table);
    h.desc(head, at(0), 64, TABLE);
  }
  return h;
}

function popAndFlush(h: Harness): void {
  const reply = new Uint8Array(144);
  for (let slot = 0; slot < h.slots; slot++) h.complete(slot, reply);
  let inAddon = 0n;
  for (let round = 0; round < ROUNDS; round++) {
    for (let head = 0; head < BATCH; head++) h.offer(head);
    const start = process.hrtime.bigint();
    const count = addon.ringPop(h.ring, h.popped, BATCH, 0);
    for (let i = 0; i < count; i++) {
      h.state[h.popped[i]! * 8 + 3] = 144;
      h.state[h.popped[i]! * 8 + 4] = 144;
    }
    addon.ringFlush(h.ring, h.popped, count, true);
    inAddon += process.hrtime.bigint() - start;
    if (count !== BATCH) throw new Error(`popped ${count}`);
  }
  report(`ringPop + ringFlush, batches of ${BATCH}, each`, inAddon, ROUNDS * BATCH);
}

function readFile(h: Harness): void {
  const folder = mkdtempSync(join(tmpdir(), 'native-bench-'));
  writeFileSync(join(folder, 'file'), new Uint8Array(1 << 20).fill(1));
  const fd = openSync(join(folder, 'file'), 'r');
  rmSync(folder, { recursive: true });
  for (let head = 0; head < BATCH; head++) h.offer(head);
  addon.ringPop(h.ring, h.popped, 1, 0);
  const slot = h.popped[0]!;
  const count = 500_000;
  const start = process.hrtime.bigint();
  for (let i = 0; i < count; i++) {
    if (addon.ringRead(h.ring, slot, 16, fd, (i & 255) * 4096, 4096) !== 4096) throw new Error('short read');
  }
  report('ringRead of 4 KiB from the page cache', process.hrtime.bigint() - start, count);
  addon.closeFd(fd);
}

function lz4(): void {
  const text = Buffer.concat(
    Array.from({ length: 30_000 }, (_, i) => Buffer.from(`line ${i} of ${i * 7919} lines\n`)),
  );
  const block = Buffer.from(compressSync(text).subarray(4));
  const out = new Uint8Array(text.length);
  const count = 200;
  const start = process.hrtime.bigint();
  for (let i = 0; i < count; i++) addon.lz4Decode(block, out);
  const elapsed = process.hrtime.bigint() - start;
  report('lz4Decode of 1 KiB out of it', elapsed, (count * text.length) / 1024);
  console.log(`lz4Decode ${((count * text.length) / Number(elapsed)).toFixed(2)} GB/s`);
}

const h = filled();
popAndFlush(h);
readFile(h);
h.close();
lz4();
