import { closeSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { LocalfsSource } from '../../../src/source/localfs.ts';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'localfs-'));
  mkdirSync(join(root, 'a'));
  mkdirSync(join(root, 'b'));
});
afterEach(() => rmSync(root, { recursive: true }));

async function text(source: LocalfsSource, id: string, offset = 0, length?: number): Promise<string> {
  const into = Buffer.alloc(length ?? (await source.size(id)));
  await source.read(id, offset, into);
  return into.toString();
}

it('reads a range of a blob in dir', async () => {
  writeFileSync(join(root, 'a', 'x'), 'hello');
  await using_(new LocalfsSource({ dir: join(root, 'a') }), async (source) => {
    expect(await text(source, 'x', 1, 3)).toBe('ell');
  });
});

it('prefers alt_dirs to an empty or missing file', async () => {
  writeFileSync(join(root, 'a', 'x'), '');
  writeFileSync(join(root, 'b', 'x'), 'other');
  writeFileSync(join(root, 'b', 'y'), 'only');
  await using_(new LocalfsSource({ dir: join(root, 'a'), alt_dirs: [join(root, 'b')] }), async (source) => {
    expect(await text(source, 'x')).toBe('other');
    expect(await text(source, 'y')).toBe('only');
  });
});

it('serves every id from blob_file', async () => {
  writeFileSync(join(root, 'one'), 'one');
  await using_(new LocalfsSource({ dir: root, blob_file: join(root, 'one') }), async (source) => {
    expect(await text(source, 'whatever')).toBe('one');
  });
});

it('names object, offset, wanted and got of a short read', async () => {
  writeFileSync(join(root, 'a', 'x'), 'hello');
  await using_(new LocalfsSource({ dir: join(root, 'a') }), async (source) => {
    const read = source.read('x', 3, Buffer.alloc(10));
    await expect(read).rejects.toMatchObject({ code: 'SOURCE_SHORT_READ' });
    await expect(read).rejects.toThrow(/blob x.*offset 3.*wanted 10 bytes, got 2/);
  });
});

it.each(['../one', '..', '.', '', 'a/b', 'a\0b'])('refuses the id %j', async (id) => {
  writeFileSync(join(root, 'one'), 'one');
  await using_(new LocalfsSource({ dir: join(root, 'a') }), async (source) => {
    await expect(source.size(id)).rejects.toMatchObject({ code: 'SOURCE_NOT_FOUND' });
  });
});

it('finds a blob that appears after it was missing, and refuses a directory', async () => {
  await using_(new LocalfsSource({ dir: root }), async (source) => {
    await expect(source.size('x')).rejects.toMatchObject({ code: 'SOURCE_NOT_FOUND' });
    writeFileSync(join(root, 'x'), 'now');
    expect(await source.size('x')).toBe(3);
    await expect(source.size('a')).rejects.toMatchObject({ code: 'SOURCE_IO' });
  });
});

it('lends a descriptor of its own', async () => {
  writeFileSync(join(root, 'x'), 'lent');
  const source = new LocalfsSource({ dir: root });
  const fd = (await source.openLocal('x'))!;
  await source.close();
  expect(readFileSync(fd, 'utf8')).toBe('lent');
  closeSync(fd);
});

it('needs dir or blob_file', () => {
  expect(() => new LocalfsSource({})).toThrow(/dir.*blob_file/);
});

async function using_(source: LocalfsSource, work: (source: LocalfsSource) => Promise<void>): Promise<void> {
  try {
    await work(source);
  } finally {
    await source.close();
  }
}
