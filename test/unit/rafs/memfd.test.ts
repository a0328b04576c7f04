import { mkdtempSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { type MemfdAddon, mapBootstrap, sealBootstrap, sealBytes } from '../../../src/rafs/memfd.ts';

/** One memfd in an ArrayBuffer; refuses to seal while a writable map exists, as the kernel does. */
function fakeAddon(overrides: Partial<MemfdAddon> = {}): MemfdAddon & { readonly closed: number[] } {
  let memory = new ArrayBuffer(0);
  let writable = 0;
  const closed: number[] = [];
  return {
    closed,
    memfdCreate: (_name, size) => {
      memory = new ArrayBuffer(size);
      return 42;
    },
    memfdSeal: () => (writable > 0 ? -16 : 0),
    map: (_fd, _offset, _size, forWriting) => {
      if (forWriting) writable++;
      return memory;
    },
    unmap: () => {
      writable--;
      return 0;
    },
    closeFd: (fd) => closed.push(fd),
    ...overrides,
  };
}

const file = join(mkdtempSync(join(tmpdir(), 'seal-')), 'image.boot');

it('copies a file into a memfd and seals it', () => {
  const bytes = Buffer.alloc(10_000, 'bootstrap');
  writeFileSync(file, bytes);
  const addon = fakeAddon();
  expect(sealBootstrap(addon, file)).toEqual({ fd: 42, size: 10_000 });
  expect(Buffer.from(mapBootstrap(addon, 42, 10_000))).toEqual(bytes);
  expect(sealBytes(addon, 'inline', bytes)).toEqual({ fd: 42, size: 10_000 });
  expect(Buffer.from(mapBootstrap(addon, 42, 10_000))).toEqual(bytes);
  expect(addon.closed).toEqual([]);
});

it('refuses what cannot be a bootstrap, naming the file', () => {
  writeFileSync(file, 'short');
  expect(() => sealBootstrap(fakeAddon(), file)).toThrow(
    expect.objectContaining({ code: 'RAFS_NOT_A_BOOTSTRAP' }),
  );
  expect(() => sealBootstrap(fakeAddon(), '/nowhere/at/all')).toThrow(/RAFS|ENOENT.*\/nowhere\/at\/all/);
  expect(() => sealBootstrap(fakeAddon(), tmpdir())).toThrow(/not a regular file/);
  truncateSync(file, 5 * 2 ** 30);
  expect(() => sealBootstrap(fakeAddon(), file)).toThrow(expect.objectContaining({ code: 'RAFS_TOO_LARGE' }));
  truncateSync(file, 0);
});

it('closes the memfd when it cannot be mapped or sealed', () => {
  for (const overrides of [{ map: () => -12 }, { memfdSeal: () => -1 }]) {
    const addon = fakeAddon(overrides);
    expect(() => sealBytes(addon, 'inline', new Uint8Array(5000))).toThrow(
      expect.objectContaining({ code: 'RAFS_READ' }),
    );
    expect(addon.closed).toEqual([42]);
  }
});
