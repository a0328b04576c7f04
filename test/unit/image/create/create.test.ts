import { execFileSync } from 'node:child_process';
import {
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type CreateOptions, create } from '../../../../src/image/create/create.ts';
import { assignInodes, type ImageNode } from '../../../../src/image/model/node.ts';
import { directorySource, walk } from '../../../../src/image/source/directory.ts';
import { decodeChunk } from '../../../../src/wire/rafs/chunk.ts';
import { decodeBlobsV5, decodeSuperblockV5 } from '../../../../src/wire/rafs/superblock-v5.ts';
import { decodeBlobsV6, decodeSuperblockV6 } from '../../../../src/wire/rafs/superblock-v6.ts';

let dir: string;
let source: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'image-'));
  source = join(dir, 'source');
  mkdirSync(source);
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

function options(changes: Partial<CreateOptions> = {}): CreateOptions {
  return {
    source: directorySource(Buffer.from(source)),
    fsVersion: 6,
    compressor: 'none',
    digester: 'blake3',
    chunkSize: 0x1000,
    bootstrap: { kind: 'file', path: join(dir, 'image.boot') },
    blob: { kind: 'directory', path: join(dir, 'blobs') },
    explicitUidGid: true,
    whiteoutSpec: 'oci',
    prefetchPatterns: [],
    ...changes,
  };
}

async function tree(): Promise<ReturnType<typeof assignInodes>> {
  return assignInodes(await walk(Buffer.from(source), { whiteoutSpec: 'oci', explicitUidGid: true }));
}

function bootstrapView(): DataView {
  const bytes = readFileSync(join(dir, 'image.boot'));
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

const names = (nodes: readonly ImageNode[]): string[] => nodes.map((node) => node.name.toString('latin1'));

describe('walk and numbering', () => {
  test('children of a directory are numbered together, before any grandchild', async () => {
    for (const path of ['b/x', 'a/y']) {
      mkdirSync(join(source, path), { recursive: true });
    }
    writeFileSync(join(source, 'c'), '');
    expect(names((await tree()).byIndex)).toEqual(['/', 'a', 'b', 'c', 'y', 'x']);
  });

  test('names of one regular file share its inode number and count as links', async () => {
    writeFileSync(join(source, 'a'), 'x');
    mkdirSync(join(source, 'd'));
    linkSync(join(source, 'a'), join(source, 'd/b'));
    const { byIndex, inodesCount } = await tree();
    const [, a, , b] = byIndex;
    expect([a!.ino, b!.ino, a!.nlink, b!.nlink, b!.index]).toEqual([2, 2, 2, 2, 4]);
    expect(inodesCount).toBe(3);
  });

  test('names are bytes: not UTF-8 and 255 bytes long', async () => {
    const odd = Buffer.from([0xff, 0xfe, 0x41]);
    writeFileSync(Buffer.concat([Buffer.from(`${source}/`), odd]), '');
    writeFileSync(join(source, 'n'.repeat(255)), '');
    const found = (await tree()).root.children.map((node) => node.name);
    expect(found[1]).toEqual(odd);
    expect(found[0]).toHaveLength(255);
  });

  test('times before 1970 keep nanoseconds positive', async () => {
    writeFileSync(join(source, 'old'), '');
    utimesSync(join(source, 'old'), new Date(-1500), new Date(-1500));
    const node = (await tree()).root.children[0]!;
    expect([node.mtimeSec, node.mtimeNs]).toEqual([-2n, 500_000_000]);
  });

  test('OCI whiteouts are left out', async () => {
    writeFileSync(join(source, '.wh.gone'), '');
    writeFileSync(join(source, 'kept'), '');
    expect(names((await tree()).root.children)).toEqual(['kept']);
  });

  test('a missing source and a file are refused by name', async () => {
    writeFileSync(join(source, 'file'), '');
    for (const path of [join(source, 'file'), join(source, 'absent')]) {
      await expect(walk(Buffer.from(path), { whiteoutSpec: 'oci', explicitUidGid: true })).rejects.toThrow(
        path,
      );
    }
  });
});

describe('create', () => {
  test('an empty tree has a bootstrap and no blob', async () => {
    const result = await create(options());
    expect(result.blobIds).toEqual([]);
    expect(readdirSync(join(dir, 'blobs'))).toEqual([]);
    const sb = decodeSuperblockV6(bootstrapView());
    expect([sb.rootNid, sb.inos, sb.extraDevices, sb.metaBlockAddress]).toEqual([128, 1, 0, 0]);
  });

  test('equal chunks are stored once, holes as zeros', async () => {
    writeFileSync(join(source, 'sparse'), '');
    truncateSync(join(source, 'sparse'), 10 * 0x1000 + 1);
    const result = await create(options());
    expect([result.chunks, result.duplicateChunks]).toEqual([2, 9]);
    const view = bootstrapView();
    const [blob] = decodeBlobsV6(view, decodeSuperblockV6(view));
    expect(blob).toMatchObject({
      id: result.blobIds[0],
      chunkCount: 2,
      uncompressedSize: 0x2000,
      ciOffset: 0x1001,
    });
  });

  test.each([
    'none',
    'lz4_block',
    'zstd',
  ] as const)('v5 with %s: every chunk record lies inside the blob', async (compressor) => {
    writeFileSync(join(source, 'text'), 'abcdefgh'.repeat(2000));
    writeFileSync(join(source, 'tiny'), 'x');
    const result = await create(options({ fsVersion: 5, compressor }));
    const view = bootstrapView();
    const sb = decodeSuperblockV5(view);
    const [blob] = decodeBlobsV5(view, sb);
    expect(blob).toMatchObject({ id: result.blobIds[0], uncompressedSize: 0x1000 + (16000 % 0x1000) + 1 });
    const last = decodeChunk(view, view.byteLength - 80);
    expect(last).toMatchObject({ uncompressedSize: 1, compressedSize: 1, flags: 0x10 });
    expect(last.compressedOffset + last.compressedSize).toBe(blob!.compressedSize);
  });

  test('the same tree gives the same bytes', async () => {
    for (let i = 0; i < 40; i++) writeFileSync(join(source, `f${i}`), `${i}`.repeat(i * 100));
    symlinkSync('f1', join(source, 'link'));
    const first = await create(options({ compressor: 'zstd' }));
    const bytes = readFileSync(join(dir, 'image.boot'));
    const second = await create(options({ compressor: 'zstd' }));
    expect(second.blobIds).toEqual(first.blobIds);
    expect(readFileSync(join(dir, 'image.boot')).equals(bytes)).toBe(true);
  });

  test('an aborted build leaves nothing', async () => {
    writeFileSync(join(source, 'f'), 'x');
    await expect(create(options({ signal: AbortSignal.abort() }))).rejects.toMatchObject({
      code: 'IMAGE_ABORTED',
    });
    expect(readdirSync(dir)).toEqual(['source']);
  });

  test('a file that shrinks while it is read is named', async () => {
    writeFileSync(join(source, 'a'), Buffer.alloc(0x1000, 1));
    writeFileSync(join(source, 'b'), Buffer.alloc(0x3000, 2));
    const onProgress = ({ bytes }: { bytes: number }): void => {
      if (bytes > 0) truncateSync(join(source, 'b'), 1);
    };
    const failure = create(options({ onProgress }));
    await expect(failure).rejects.toMatchObject({
      code: 'IMAGE_CHANGED',
      message: expect.stringContaining(`${source}/b`),
    });
    expect(readdirSync(join(dir, 'blobs'))).toEqual([]);
  });

  test('extended attributes are sorted by name', async () => {
    writeFileSync(join(source, 'f'), '');
    for (const name of ['user.z', 'user.a']) {
      execFileSync('setfattr', ['-n', name, '-v', name, join(source, 'f')]);
    }
    expect(
      (await tree()).root.children[0]!.xattrs.map((x) => [x.name.toString(), x.value.toString()]),
    ).toEqual([
      ['user.a', 'user.a'],
      ['user.z', 'user.z'],
    ]);
  });
});
