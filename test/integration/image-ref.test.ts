/** Images over archives that stay as they are, made by the program and seen through a nydusd process. */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  createReadStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openByteSource } from '../../src/image/source/tar/byte-source.ts';
import { TarReader } from '../../src/image/source/tar/reader.ts';
import { addon } from '../support/addon.ts';
import { compareImages } from '../support/compare-image.ts';
import { ConnectedGuest } from '../support/connected-guest.ts';
import { type GzipPiece, gzipMembers, stargzLayer } from '../support/gzip.ts';
import type { ImagePlace } from '../support/image-place.ts';
import { Nydusd } from '../support/nydusd.ts';
import { FIXTURES } from '../support/rafs-fixtures.ts';
import { compareWithManifest } from '../support/tree.ts';

const program = join(import.meta.dirname, '../../bin/nydus-image');
const packed = join(FIXTURES, 'sources/plain.tar.gz');
/** Sizes of directories depend on the block size. */
const manifestOf = (name: string): string =>
  join(FIXTURES, `manifests/${name === 'tarfs' ? 'v6-tarfs' : 'v6-estargz'}.tsv.gz`);
let dir: string;
let plain: Buffer;
/** Where each file's data begins in the tar. */
let dataOffsets: number[];

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'image-ref-'));
  plain = gunzipSync(readFileSync(packed));
  writeFileSync(join(dir, 'plain.tar'), plain);
  dataOffsets = [];
  const source = openByteSource(Buffer.from(join(dir, 'plain.tar')));
  const reader = new TarReader(source);
  for (let entry = await reader.next(); entry !== null; entry = await reader.next())
    if (entry.size > 0) dataOffsets.push(entry.dataOffset);
  source.close();
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

interface Run {
  readonly code: number | null;
  readonly stderr: string;
}

function run(args: readonly string[], input: string | Buffer = ''): Run {
  const { status, stderr } = spawnSync(program, args, { input });
  return { code: status, stderr: stderr.toString() };
}

/** Builds into a directory of its own, the archive beside the blobs under its id, as a registry has it. */
function build(name: string, archive: string | Buffer, ...args: string[]): ImagePlace {
  const out = join(dir, name);
  const blobs = join(out, 'blobs');
  mkdirSync(blobs, { recursive: true });
  const file = typeof archive === 'string' ? archive : join(out, 'archive');
  if (typeof archive !== 'string') writeFileSync(file, archive);
  const bootstrap = join(out, 'image.boot');
  const inline = args.includes('--blob-inline-meta');
  const place = inline ? [] : ['-B', bootstrap];
  const result = run(['create', ...args, ...place, '-D', blobs, '-J', join(out, 'out.json'), file]);
  expect(result, name).toEqual({ code: 0, stderr: '' });
  const json = JSON.parse(readFileSync(join(out, 'out.json'), 'utf8')) as { blobs: string[] };
  const found = inline ? join(blobs, readdirSync(blobs)[0]!) : bootstrap;
  if (existsSync(file) && json.blobs.length > 0) copyFileSync(file, join(blobs, json.blobs.at(-1)!));
  return { bootstrap: found, blobDirs: [blobs] };
}

async function mount(
  daemon: Nydusd,
  name: string,
  { bootstrap, blobDirs }: ImagePlace,
  workDir: string = join(daemon.directory, name),
): Promise<void> {
  const cache = { type: 'blobcache', config: { work_dir: workDir } };
  const device = { id: name, backend: { type: 'localfs', config: { dir: blobDirs[0] } }, cache };
  const config = JSON.stringify({ device, mode: 'direct', enable_xattr: true, digest_validate: false });
  const body = JSON.stringify({ fs_type: 'rafs', source: bootstrap, config });
  const answer = await daemon.call('POST', `/api/v1/mount?mountpoint=/${name}`, body);
  expect(answer.text, name).toBe('');
}

describe('an image over an archive, mounted', () => {
  test('equals the tree: tar.gz of one and of many members, plain tar, small chunks, inlined, tarfs', async () => {
    const middle = dataOffsets.map((offset) => offset + 100);
    const images: Readonly<Record<string, ImagePlace>> = {
      one: build('one', packed, '-t', 'targz-ref'),
      small: build('small', packed, '-t', 'targz-ref', '--chunk-size', '0x1000'),
      // Where a member ends in front of a file's data, the original's image cannot be read.
      data: build('data', gzipMembers(plain, dataOffsets), '-t', 'targz-ref', '--chunk-size', '0x10000'),
      within: build('within', gzipMembers(plain, middle), '-t', 'estargz-ref'),
      plain: build('plain', join(dir, 'plain.tar'), '-t', 'targz-ref'),
      inline: build('inline', packed, '-t', 'targz-ref', '--blob-inline-meta', '--features', 'blob-toc'),
      tarfs: build('tarfs', join(dir, 'plain.tar'), '-t', 'tar-tarfs'),
    };
    await using daemon = new Nydusd();
    await daemon.ready();
    for (const [name, place] of Object.entries(images)) await mount(daemon, name, place);
    using guest = await ConnectedGuest.connect(addon, daemon.sock);
    for (const name of Object.keys(images)) {
      const root = await guest.client.walk(`/${name}`);
      expect(await compareWithManifest(guest.client, manifestOf(name), { root }), name).toEqual([]);
    }
    expect(daemon.stderr).not.toContain('"level":"error"');
  }, 120_000);

  test('of an index shows the layer', async () => {
    const files: GzipPiece[] = [
      { name: 'dir/small', data: Buffer.from('a few bytes') },
      { name: 'dir/large', data: Buffer.alloc(150_000, 'not quite as few bytes, ') },
      { name: 'same', data: Buffer.from('a few bytes') },
      { name: 'empty', data: Buffer.alloc(0) },
    ];
    const { layer, index } = stargzLayer(files, 0x10000);
    const id = createHash('sha256').update(layer).digest('hex');
    const size = layer.length.toString(16);
    const flags = [
      '-t',
      'estargztoc-ref',
      '--blob-id',
      id,
      '--blob-data-size',
      size,
      '--chunk-size',
      '0x10000',
    ];
    const place = build('index', Buffer.from(JSON.stringify(index)), ...flags);
    writeFileSync(join(place.blobDirs[0], id), layer);
    await using daemon = new Nydusd();
    await daemon.ready();
    await mount(daemon, 'index', place);
    using guest = await ConnectedGuest.connect(addon, daemon.sock);
    for (const { name, data } of files) {
      const node = await guest.client.walk(`/index/${name}`);
      const parts: Uint8Array[] = [];
      for (let at = 0; at < data.length; at += 65_536)
        parts.push(await guest.client.read(node, at, Math.min(65_536, data.length - at)));
      expect(Buffer.concat(parts).equals(data), name).toBe(true);
    }
  }, 60_000);
});

describe('an image over an archive', () => {
  test('is the same whether the archive is a file, a pipe or standard input in pieces', async () => {
    const archive = gzipMembers(plain, [1000, 500_000]);
    const file = build('file', archive, '-t', 'targz-ref');
    const stdin = join(dir, 'stdin.boot');
    const blobs = join(dir, 'stdin');
    const child = spawn(program, ['create', '-t', 'targz-ref', '-B', stdin, '-D', blobs, '-'], {
      stdio: ['pipe', 'ignore', 'inherit'],
    });
    const ended = new Promise((resolve) => child.once('exit', resolve));
    const pieces = createReadStream(join(dir, 'file/archive'), { highWaterMark: 777 });
    await pipeline(pieces, child.stdin);
    expect(await ended).toBe(0);
    expect(readFileSync(stdin).equals(readFileSync(file.bootstrap))).toBe(true);
    const [meta] = readdirSync(blobs);
    expect(readFileSync(join(blobs, meta!)).equals(readFileSync(join(file.blobDirs[0], meta!)))).toBe(true);
  });

  test('lies on a parent, and refers to chunks of a dictionary', async () => {
    const parent = build('parent', packed, '-t', 'targz-ref');
    const child = build(
      'child',
      join(dir, 'plain.tar'),
      '-t',
      'targz-ref',
      '--parent-bootstrap',
      parent.bootstrap,
    );
    const dict = build('dict', join(dir, 'plain.tar'), '-t', 'targz-ref', '--chunk-dict', parent.bootstrap);
    const again: ImagePlace = { bootstrap: dict.bootstrap, blobDirs: parent.blobDirs };
    const [id] = JSON.parse(readFileSync(join(dir, 'parent/out.json'), 'utf8')).blobs as string[];
    for (const name of ['child', 'dict']) {
      const { blobs } = JSON.parse(readFileSync(join(dir, name, 'out.json'), 'utf8'));
      expect(blobs, name).toEqual([id]);
      // Nothing is new, so there is no meta blob.
      expect(readdirSync(join(dir, name, 'blobs')), name).toEqual([id]);
    }
    expect(await compareImages(parent, again)).toEqual([]);
    expect(await compareImages(parent, { bootstrap: child.bootstrap, blobDirs: parent.blobDirs })).toEqual(
      [],
    );
  });

  test('with the cache that nydusd would make reads neither archive nor meta blob', async () => {
    const [cache, bootstrap] = [join(dir, 'cache'), join(dir, 'cached.boot')];
    const flags = ['-t', 'targz-ref', '--blob-cache-dir', cache, '-B', bootstrap];
    expect(run(['create', ...flags, packed])).toEqual({ code: 0, stderr: '' });
    // It is only looked whether the archive is there.
    const archive = readFileSync(packed);
    mkdirSync(join(dir, 'no-blobs'));
    const id = createHash('sha256').update(archive).digest('hex');
    writeFileSync(join(dir, 'no-blobs', id), Buffer.alloc(archive.length));
    await using daemon = new Nydusd();
    await daemon.ready();
    await mount(daemon, 'cached', { bootstrap, blobDirs: [join(dir, 'no-blobs')] }, cache);
    using guest = await ConnectedGuest.connect(addon, daemon.sock);
    const root = await guest.client.walk('/cached');
    expect(await compareWithManifest(guest.client, manifestOf('cached'), { root })).toEqual([]);
  }, 60_000);

  const real = process.env.NYDUS_FIXTURES;
  test.skipIf(real === undefined)(
    'has the cache files of the real nydusd (skipped when NYDUS_FIXTURES is unset)',
    () => {
      const cache = join(dir, 'cache-real');
      const flags = ['-t', 'targz-ref', '--blob-cache-dir', cache, '-B', join(dir, 'real.boot')];
      expect(run(['create', ...flags, packed])).toEqual({ code: 0, stderr: '' });
      for (const name of readdirSync(cache).filter((each) => !each.endsWith('.chunk_map'))) {
        const expected = readFileSync(join(real!, 'caches/v6-targz-ref', name));
        expect(readFileSync(join(cache, name)).equals(expected), name).toBe(true);
      }
      expect(readdirSync(cache)).toHaveLength(3);
    },
  );

  test('of a tar without data has no blob', () => {
    const place = build('nothing', Buffer.alloc(10_240), '-t', 'targz-ref');
    expect(readdirSync(place.blobDirs[0])).toEqual([]);
  });
});

/** EROFS reads blocks of 512 bytes since Linux 6.4. */
function kernelTakesTarfs(): boolean {
  const [major, minor] = release().split('.').map(Number) as [number, number];
  const erofs = readFileSync('/proc/filesystems', 'latin1').includes('\terofs\n');
  return process.getuid?.() === 0 && existsSync('/dev/loop-control') && erofs && major * 100 + minor >= 604;
}

test.skipIf(!kernelTakesTarfs())(
  'the kernel mounts a tarfs image with its tar (skipped unless root, with loop devices and EROFS of Linux 6.4)',
  () => {
    const mountpoint = join(dir, 'kernel');
    const [tree, tar] = [join(dir, 'kernel-tree'), join(dir, 'kernel.tar')];
    for (const each of [mountpoint, join(tree, 'dir')]) mkdirSync(each, { recursive: true });
    for (const size of [1, 440, 512, 600, 1024, 4000])
      symlinkSync('t'.repeat(size), join(tree, `link${size}`));
    for (let i = 0; i < 100; i++)
      writeFileSync(join(tree, 'dir', `${i}${'n'.repeat(i * 2)}`), 'x'.repeat(i * i));
    execFileSync('tar', ['-C', tree, '-cf', tar, '.']);
    const { bootstrap } = build('kernel-image', tar, '-t', 'tar-tarfs', '--chunk-size', '0x1000');
    const loops = [bootstrap, tar].map((file) =>
      execFileSync('losetup', ['-r', '-f', '--show', file], { encoding: 'utf8' }).trim(),
    );
    try {
      execFileSync('mount', ['-t', 'erofs', '-o', `ro,device=${loops[1]}`, loops[0]!, mountpoint]);
      try {
        expect(
          spawnSync('diff', ['-r', '--no-dereference', tree, mountpoint], { encoding: 'utf8' }).stdout,
        ).toBe('');
      } finally {
        execFileSync('umount', [mountpoint]);
      }
    } finally {
      execFileSync('losetup', ['-d', ...loops]);
    }
  },
);

describe('what is refused, and leaves nothing', () => {
  const out = (): string[] => ['-B', join(dir, 'refused.boot'), '-D', join(dir, 'refused')];
  const nothingLeft = (): void => {
    expect(existsSync(join(dir, 'refused.boot'))).toBe(false);
    expect(existsSync(join(dir, 'refused')) ? readdirSync(join(dir, 'refused')) : []).toEqual([]);
  };

  test.each([
    ['targz-ref', ['-v', '5'], '--fs-version 5'],
    ['targz-ref', ['--blob-id', 'x'], '--blob-id'],
    ['targz-ref', ['--encrypt'], '--encrypt'],
    ['estargz-ref', ['--batch-size', '0x1000'], '--batch-size'],
    ['estargz-ref', ['--prefetch-policy', 'blob'], '--prefetch-policy blob'],
    ['tar-tarfs', ['-v', '5'], '--fs-version 5'],
    ['tar-tarfs', ['--features', 'blob-toc'], '--features blob-toc'],
    ['tar-tarfs', ['--aligned-chunk'], '--aligned-chunk'],
    ['tar-tarfs', ['--encrypt'], '--encrypt'],
    ['tar-tarfs', ['--parent-bootstrap', packed], '--parent-bootstrap'],
    ['tar-tarfs', ['--chunk-dict', packed], '--chunk-dict'],
    ['stargz_index', ['-v', '5', '--blob-id', 'x', '--blob-data-size', '10'], '--fs-version 5'],
  ])('--type %s with %j', (type, flags, named) => {
    const result = run(['create', '-t', type, ...flags, ...out(), packed]);
    expect(result).toEqual({ code: 1, stderr: `nydus-image: --type ${type} conflicts with ${named}\n` });
    nothingLeft();
  });

  test('an index without the id or the size of its layer', () => {
    const without = (...flags: string[]): Run =>
      run(['create', '-t', 'estargztoc-ref', ...flags, ...out(), packed]);
    expect(without('--blob-data-size', '10').stderr).toContain('--blob-id is missing');
    expect(without('--blob-id', 'x').stderr).toContain('--blob-data-size is missing');
    for (const size of ['', '0', 'xyz', '10000000001', '-1'])
      expect(without('--blob-id', 'x', `--blob-data-size=${size}`).stderr).toContain(
        'invalid --blob-data-size',
      );
    nothingLeft();
  });

  test('a gzip file that is cut, damaged, or followed by something else', () => {
    const whole = readFileSync(packed);
    const damaged = Buffer.from(whole);
    damaged[whole.length - 8]! ^= 1; // the checksum of the member
    const cases: readonly (readonly [Buffer, RegExp])[] = [
      [whole.subarray(0, 50_000), /ends within a gzip member, at byte 50000/],
      [damaged, /damaged gzip data near byte 77\d{3}/],
      [Buffer.concat([whole, Buffer.from('PK')]), /ends within a gzip member|damaged gzip data/],
    ];
    for (const [bytes, message] of cases) {
      writeFileSync(join(dir, 'bad.gz'), bytes);
      const result = run(['create', '-t', 'targz-ref', ...out(), join(dir, 'bad.gz')]);
      expect(result.code).toBe(1);
      expect(result.stderr).toMatch(message);
      expect(result.stderr).toContain(join(dir, 'bad.gz'));
      nothingLeft();
    }
  });

  test('a sparse file, whose holes the archive does not have', () => {
    const tree = join(dir, 'sparse');
    mkdirSync(tree);
    const script =
      'truncate -s 1M f && echo data >> f && tar --sparse -cf ../sparse.tar f && gzip -kf ../sparse.tar';
    expect(spawnSync('sh', ['-c', script], { cwd: tree }).status).toBe(0);
    for (const [type, file] of [
      ['targz-ref', 'sparse.tar.gz'],
      ['targz-ref', 'sparse.tar'],
      ['tar-tarfs', 'sparse.tar'],
    ] as const) {
      const result = run(['create', '-t', type, ...out(), join(dir, file)]);
      expect(result.code).toBe(1);
      expect(result.stderr).toContain('/f: a sparse file, whose holes are not in the archive');
      nothingLeft();
    }
  });

  test('a tar.gz as tarfs', () => {
    const result = run(['create', '-t', 'tar-tarfs', ...out(), packed]);
    expect(result.code).toBe(1);
    expect(result.stderr).toContain('compressed by gzip');
    nothingLeft();
  });
});
