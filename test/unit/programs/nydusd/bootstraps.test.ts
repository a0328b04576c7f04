import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, expect, it } from 'vitest';
import { mapSealed } from '../../../../src/native/sealed.ts';
import { BootstrapStore } from '../../../../src/programs/nydusd/bootstraps.ts';
import { addon } from '../../../support/addon.ts';

const directory = mkdtempSync(join(tmpdir(), 'bootstraps-'));
const file = join(directory, 'image.boot');
const bytes = Buffer.alloc(10_000, 'bootstrap');
afterAll(() => rmSync(directory, { recursive: true }));
beforeEach(() => writeFileSync(file, bytes));

function content({ fd, size }: { readonly fd: number; readonly size: number }): Buffer {
  const memory = mapSealed(addon, fd, size);
  const copy = Buffer.from(Buffer.from(memory));
  addon.unmap(memory);
  return copy;
}

it('reads a file once for all who hold it, and anew when the last has gone', async () => {
  const store = new BootstrapStore(addon);
  const [one, other] = await Promise.all([store.hold(file), store.hold(file)]);
  expect(other.fd).toBe(one.fd);
  expect(content(one)).toEqual(bytes);
  one.release();
  one.release();
  expect(content(other)).toEqual(bytes);
  other.release();
  expect(addon.closeFd(other.fd)).toBeLessThan(0);
});

it('holds what a file was when it was read', async () => {
  const store = new BootstrapStore(addon);
  const before = await store.hold(file);
  writeFileSync(file, 'another, shorter one');
  const after = await store.hold(file);
  expect(content(before)).toEqual(bytes);
  expect(content(after).toString()).toBe('another, shorter one');
  before.release();
  after.release();
});

it('takes a bootstrap out of a blob, and tries again after a failure', async () => {
  const store = new BootstrapStore(addon);
  await expect(store.hold(file, () => Promise.reject(new Error('no bootstrap')))).rejects.toThrow(
    'no bootstrap',
  );
  const held = await store.hold(file, async () => Buffer.from('extracted'));
  expect(content(held).toString()).toBe('extracted');
  held.release();
});

it('refuses what cannot be a bootstrap, naming the file', async () => {
  const store = new BootstrapStore(addon);
  await expect(store.hold(directory)).rejects.toThrow(`${directory} is not a regular file`);
  await expect(store.hold(join(directory, 'nothing'))).rejects.toThrow(/ENOENT.*nothing/);
  truncateSync(file, 0);
  await expect(store.hold(file)).rejects.toThrow(`${file} is empty`);
  truncateSync(file, 5 * 2 ** 30);
  await expect(store.hold(file)).rejects.toThrow(`${file} is larger than a bootstrap can be`);
});
