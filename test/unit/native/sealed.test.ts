import { closeSync, openSync, writeSync } from 'node:fs';
import { expect, it } from 'vitest';
import { mapSealed, seal } from '../../../src/native/sealed.ts';
import { addon } from '../../support/addon.ts';

type SealedAddon = Parameters<typeof seal>[0];

/** One memfd in an ArrayBuffer; refuses to seal while a writable map exists, as the kernel does. */
function fakeAddon(overrides: Partial<SealedAddon> = {}): SealedAddon & { readonly closed: number[] } {
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

const bytes = Buffer.alloc(10_000, 'bootstrap');

it('copies bytes into a memfd and seals it', async () => {
  const fake = fakeAddon();
  expect(await seal(fake, 'test', bytes.length, (into) => into.set(bytes))).toBe(42);
  expect(Buffer.from(mapSealed(fake, 42, bytes.length))).toEqual(bytes);
  expect(fake.closed).toEqual([]);
});

it('nobody can write what is sealed, and mappings outlive the descriptor', async () => {
  const fd = await seal(addon, 'test', bytes.length, async (into) => into.set(bytes));
  const again = openSync(`/proc/self/fd/${fd}`, 'r+');
  expect(() => writeSync(again, 'x', 0)).toThrow(expect.objectContaining({ code: 'EPERM' }));
  closeSync(again);
  const memory = mapSealed(addon, fd, bytes.length);
  addon.closeFd(fd);
  expect(Buffer.from(memory)).toEqual(bytes);
  addon.unmap(memory);
});

it('closes the memfd when it cannot be mapped or sealed', async () => {
  for (const [overrides, code] of [
    [{ map: () => -12 }, 'ENOMEM'],
    [{ memfdSeal: () => -1 }, 'EPERM'],
  ] as const) {
    const fake = fakeAddon(overrides);
    await expect(seal(fake, 'test', 5000, () => {})).rejects.toThrow(expect.objectContaining({ code }));
    expect(fake.closed).toEqual([42]);
  }
});

it('closes the memfd when it cannot be filled', async () => {
  const fake = fakeAddon();
  const filling = seal(fake, 'test', 5000, () => Promise.reject(new Error('became shorter')));
  await expect(filling).rejects.toThrow('became shorter');
  expect(fake.closed).toEqual([42]);
});

it('a mapping that the system refuses is a SystemError', () => {
  expect(() => mapSealed(fakeAddon({ map: () => -12 }), 42, 10)).toThrow(
    expect.objectContaining({ code: 'ENOMEM' }),
  );
});
