import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createTarfs } from '../../../../src/image/create/create-tarfs.ts';
import { type LoadedImage, loadImage } from '../../../../src/image/read/load.ts';
import { BlobFeature, SuperFlag } from '../../../../src/wire/rafs/flags.ts';
import { TarType, tarPadding } from '../../../../src/wire/tar.ts';
import { encodeTarHeaders } from '../../../support/tars.ts';

const CHUNK_SIZE = 0x1000;
let dir: string;

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'tarfs-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

interface Member {
  readonly name: string;
  readonly data?: Buffer;
  readonly target?: string;
}

function tarOf(members: readonly Member[]): Buffer {
  const parts = members.flatMap(({ name, data = Buffer.alloc(0), target }) => [
    encodeTarHeaders({
      type: target === undefined ? TarType.regular : TarType.symlink,
      name: Buffer.from(name),
      ...(target === undefined ? {} : { linkName: Buffer.from(target) }),
      mode: 0o644,
      uid: 0,
      gid: 0,
      size: data.length,
      mtimeSec: 1,
    }),
    data,
    Buffer.alloc(tarPadding(data.length)),
  ]);
  return Buffer.concat([...parts, Buffer.alloc(1024)]);
}

async function build(tar: Buffer, blobId: string | null = null): Promise<LoadedImage> {
  const out = mkdtempSync(join(dir, 'out-'));
  writeFileSync(join(out, 'tar'), tar);
  const bootstrap = join(out, 'boot');
  await createTarfs({
    archive: Buffer.from(join(out, 'tar')),
    bootstrap: { kind: 'file', path: bootstrap },
    blobId,
    chunkSize: CHUNK_SIZE,
    explicitUidGid: true,
    prefetchPatterns: [],
  });
  return loadImage(bootstrap);
}

test('a chunk is where the tar has it, the last one as long as what is left', async () => {
  const data = Buffer.alloc(2 * CHUNK_SIZE + 700, 'data');
  const tar = tarOf([
    { name: 'first', data: Buffer.from('x') },
    { name: 'file', data },
    { name: 'twice', data },
  ]);
  const { root, bootstrap } = await build(tar, 'any-name');
  expect(bootstrap.flags & SuperFlag.tarfs).not.toBe(0);
  expect(bootstrap.superblock).toMatchObject({ blockSize: 512, blocks: tar.length / 512 });
  expect(bootstrap.blobs).toMatchObject([
    {
      id: 'any-name',
      features: (BlobFeature.tarfs | BlobFeature.capTarToc) >>> 0,
      compressedSize: tar.length,
      uncompressedSize: tar.length,
      // Nothing is looked for twice: there are no digests.
      chunkCount: 7,
    },
  ]);
  for (const name of ['file', 'twice']) {
    const node = root.children.find((child) => child.name.toString() === name)!;
    const seen = node.chunks.map(({ uncompressedOffset: at, uncompressedSize: size }) =>
      tar.subarray(at, at + size),
    );
    expect(Buffer.concat(seen).equals(data)).toBe(true);
    expect(node.chunks.at(-1)!.uncompressedSize).toBe(700);
  }
});

test('a file that fills its chunks has no empty one behind them', async () => {
  const { root } = await build(tarOf([{ name: 'file', data: Buffer.alloc(2 * CHUNK_SIZE, 1) }]));
  expect(root.children[0]!.chunks.map((chunk) => chunk.uncompressedSize)).toEqual([CHUNK_SIZE, CHUNK_SIZE]);
});

test('link targets of any length are whole, which the original cuts into their neighbours', async () => {
  const sizes = [1, 400, 440, 460, 511, 512, 513, 600, 1024, 1100, 4000];
  const members = sizes.map((size, i) => ({
    name: `l${size}`,
    target: String.fromCharCode(97 + i).repeat(size),
  }));
  const { root } = await build(tarOf([...members, { name: 'data', data: Buffer.from('x') }]));
  for (const { name, target } of members) {
    const node = root.children.find((child) => child.name.toString() === name)!;
    expect(node.target.toString(), name).toBe(target);
  }
});

test('directories go over blocks of 512 bytes, with names of any length', async () => {
  const names = Array.from(
    { length: 300 },
    (_, i) => `d/${String(i).padStart(3, '0')}${'n'.repeat((i * 7) % 250)}`,
  );
  const { root } = await build(tarOf(names.map((name) => ({ name, data: Buffer.from(name) }))));
  const seen = root.children[0]!.children.map((child) => `d/${child.name}`);
  expect(seen).toEqual([...names].sort());
});
