/** The table over images and workers that a test answers for. */
import { expect, it } from 'vitest';
import type { ImageOpener, OpenImage } from '../../../../src/programs/nydusd/image-opener.ts';
import { MountTable } from '../../../../src/programs/nydusd/mount-table.ts';
import type { MountSpec } from '../../../../src/programs/nydusd/workers/messages.ts';

/** What happened, in order: `open a`, `serve 1 /p`, `release a` and so on. */
let happened: string[];
let workerAnswers: number;

function table(): MountTable {
  happened = [];
  workerAnswers = 0;
  const open = async ({ source }: { source: string }, undo: AsyncDisposableStack) => {
    happened.push(`open ${source}`);
    if (source === 'broken') throw new Error('a broken world');
    const bootstrap = { release: () => happened.push(`release ${source}`) };
    const blobs = { close: async () => void happened.push(`close ${source}`) };
    undo.defer(() => void bootstrap.release());
    undo.defer(() => blobs.close());
    return { spec: {}, source, config: { id: source }, bootstrap, blobs } as unknown as OpenImage;
  };
  return new MountTable({
    images: { open } as unknown as ImageOpener,
    workers: {
      mount: async ({ serial, path }: MountSpec) => {
        happened.push(`serve ${serial} ${path}`);
        return workerAnswers;
      },
      unmount: async (serial) => void happened.push(`leave ${serial}`),
    },
    log: { info() {}, error: (_: unknown, message: string) => happened.push(message) } as never,
  });
}

const request = (mountpoint: string, source: string) => ({
  ...{ mountpoint, source, fsType: 'rafs', prefetchFiles: [] },
});
const refused = (code: string, about: unknown = null) => expect.objectContaining({ code, about });

it('mounts at the one spelling of a path and shows the spelling of the caller', async () => {
  const mounts = table();
  await mounts.mount(request('/a/../b/', 'x'));
  expect(mounts.find('/b')?.source).toBe('x');
  expect(mounts.find('//b/.')?.source).toBe('x');
  expect(mounts.find('b')).toBeUndefined();
  expect(mounts.describe((config) => config.id)).toMatchObject({ '/a/../b/': { config: 'x' } });
  await expect(mounts.mount(request('/b', 'y'))).rejects.toThrow(refused('MOUNT_EXISTS'));
  await mounts.unmount('/b');
  expect(happened).toEqual(['open x', 'serve 1 /b', 'leave 1', 'release x', 'close x']);
});

it('swaps only what is there, and has the new image served before the old one goes', async () => {
  const mounts = table();
  await expect(mounts.remount(request('/p', 'x'))).rejects.toThrow(refused('MOUNT_NOT_FOUND', 'remount'));
  await expect(mounts.unmount('/p')).rejects.toThrow(refused('MOUNT_NOT_FOUND', 'unmount'));
  await mounts.mountOver(request('/p', 'x'));
  await mounts.remount(request('/p', 'y'));
  expect(happened).toEqual([
    'open x',
    'serve 1 /p',
    'open y',
    'serve 2 /p',
    'leave 1',
    'release x',
    'close x',
  ]);
  expect(mounts.size).toBe(1);
});

it('leaves nothing behind of an image that cannot be served, and what was there stays', async () => {
  const mounts = table();
  await mounts.mount(request('/p', 'x'));
  workerAnswers = -5;
  await expect(mounts.remount(request('/p', 'y'))).rejects.toThrow(refused('MOUNT_WORKER_FAILED', 'EIO'));
  expect(happened.slice(2)).toEqual(['open y', 'serve 2 /p', 'close y', 'release y']);
  expect(mounts.find('/p')?.source).toBe('x');
});

it('logs what is nobody’s fault, once', async () => {
  const mounts = table();
  await expect(mounts.mount(request('/p', 'broken'))).rejects.toThrow('a broken world');
  expect(happened).toEqual(['open broken', 'mount failed']);
  await expect(mounts.mount(request('relative', 'x'))).rejects.toThrow(refused('MOUNT_BAD_PATH'));
  expect(happened).toHaveLength(2);
});

it('takes no more mounts than it can', async () => {
  const mounts = table();
  for (let i = 0; i < 4096; i++) await mounts.mount(request(`/${i}`, 'x'));
  await expect(mounts.mount(request('/more', 'x'))).rejects.toThrow(refused('MOUNT_LIMIT'));
  await mounts.remount(request('/7', 'y'));
  await mounts.unmount('/8');
  await mounts.mount(request('/more', 'x'));
});
