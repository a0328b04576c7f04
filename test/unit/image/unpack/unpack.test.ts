import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type ImageNode, inOrder } from '../../../../src/image/model/node.ts';
import { loadImage } from '../../../../src/image/read/load.ts';
import { readOwners } from '../../../../src/image/unpack/owners.ts';
import {
  type UnpackOptions,
  type UnpackProgress,
  type UnpackResult,
  unpack,
} from '../../../../src/image/unpack/unpack.ts';
import type { BootstrapV6 } from '../../../../src/rafs/bootstrap.ts';
import { LocalfsSource } from '../../../../src/source/localfs.ts';
import { sourceOf } from '../../../support/images.ts';
import { FIXTURES } from '../../../support/rafs-fixtures.ts';

let dir: string;
let source: LocalfsSource;
let bootstrap: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'unpack-'));
  source = new LocalfsSource({ dir: join(FIXTURES, 'blobs') });
  bootstrap = sourceOf(FIXTURES, 'v6-merge3');
});
afterEach(async () => {
  await source.close();
  rmSync(dir, { recursive: true, force: true });
});

function run(changes: Partial<UnpackOptions> = {}): Promise<UnpackResult> {
  return unpack({ bootstrap, source, output: join(dir, 'tar'), ...changes });
}

/** Offsets in an EROFS extended inode. */
const Inode = { size: 8 };

/** A copy of the bootstrap in which the inode of `path` was changed. */
async function changed(
  path: string,
  change: (bytes: Buffer, inode: number, node: ImageNode) => void,
): Promise<string> {
  const image = await loadImage(bootstrap);
  const node = [...inOrder(image.root)].find(({ sourcePath }) => sourcePath.toString() === path)!;
  const { metaBlockAddress } = (image.bootstrap as BootstrapV6).superblock;
  const bytes = readFileSync(bootstrap);
  change(bytes, metaBlockAddress * 4096 + Number(node.linkKey) * 32, node);
  writeFileSync(join(dir, 'boot'), bytes);
  return join(dir, 'boot');
}

describe('unpacking', () => {
  test('tells how far it is, in bytes of files that grow to their sum', async () => {
    const seen: UnpackProgress[] = [];
    const { entries, bytes, size } = await run({ onProgress: (progress) => seen.push({ ...progress }) });
    expect(seen.at(-1)).toEqual({ entries, bytes, bytesTotal: bytes });
    expect(seen.every((each, i) => i === 0 || each.bytes >= seen[i - 1]!.bytes)).toBe(true);
    expect(readFileSync(join(dir, 'tar')).length).toBe(size);
  });

  test('an abort leaves nothing', async () => {
    const abort = new AbortController();
    const onProgress = ({ entries }: UnpackProgress) => {
      if (entries === 5) abort.abort();
    };
    await expect(run({ signal: abort.signal, onProgress })).rejects.toMatchObject({ code: 'IMAGE_ABORTED' });
    expect(readdirSync(dir)).toEqual([]);
  });

  test('a blob that is missing is told before there is any output', async () => {
    const empty = new LocalfsSource({ dir });
    await expect(run({ source: empty, output: '/dev/full' })).rejects.toMatchObject({
      code: 'SOURCE_NOT_FOUND',
    });
  });
});

describe('images that cannot be unpacked', () => {
  test('a link target with a NUL', async () => {
    const boot = await changed('/sym', (bytes, inode, { target }) => {
      bytes[bytes.indexOf(target, inode) + 1] = 0;
    });
    await expect(run({ bootstrap: boot })).rejects.toThrow(`${boot}: /sym: a link target with a NUL`);
  });

  test('a file whose size is not that of its chunks', async () => {
    const boot = await changed('/c', (bytes, inode, { size }) => {
      bytes.writeUInt32LE(size - 1, inode + Inode.size);
    });
    await expect(run({ bootstrap: boot })).rejects.toMatchObject({ code: 'IMAGE_DAMAGED' });
    expect(readdirSync(dir)).toEqual(['boot']);
  });
});

describe('names of owners', () => {
  test('are those of passwd and group, the first of each number', () => {
    writeFileSync(
      join(dir, 'passwd'),
      'root:x:0:0::/:/bin/sh\nbad line\ntoor:x:0:0::/:\nme:x:1000:1000::/:\n:x:5:\nx:x:-1:\n',
    );
    const { users, groups } = readOwners(join(dir, 'passwd'), join(dir, 'none'));
    expect([...users]).toEqual([
      [0, 'root'],
      [1000, 'me'],
    ]);
    expect(groups.size).toBe(0);
  });
});
