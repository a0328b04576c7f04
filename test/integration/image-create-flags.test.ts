import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  createReadStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readBootstrap } from '../../src/image/read/load.ts';
import { digest } from '../../src/lib/content-hash.ts';
import { addon } from '../support/addon.ts';
import { compareImages } from '../support/compare-image.ts';
import { ConnectedGuest } from '../support/connected-guest.ts';
import { sourcePath } from '../support/fixture-builds.ts';
import { differences } from '../support/images.ts';
import { Nydusd } from '../support/nydusd.ts';
import { FIXTURES } from '../support/rafs-fixtures.ts';

const program = join(import.meta.dirname, '../../bin/nydus-image');
const isRoot = process.getuid?.() === 0;
let dir: string;
let source: string;

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'image-flags-'));
  source = join(dir, 'source');
  mkdirSync(join(source, 'deep'), { recursive: true });
  writeFileSync(join(source, 'text'), 'all work and no play '.repeat(20_000));
  for (let i = 0; i < 30; i++) writeFileSync(join(source, `deep/${i}`), `${i} small `.repeat(i * 7));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

interface Run {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function run(args: readonly string[], input = ''): Run {
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8', input });
  return { code: status, stdout, stderr };
}

function create(name: string, args: readonly string[], tree = source): Run & { readonly out: string } {
  const out = join(dir, name);
  return { ...run(['create', ...args, '-D', out, '-B', `${out}.boot`, tree]), out };
}

describe('flags that do not go together', () => {
  const D = ['-D', 'blobs'];
  test.each<[string[], number, RegExp]>([
    [['--blob-inline-meta', '-B', 'b', ...D], 2, /--blob-inline-meta cannot be used with --bootstrap/],
    [['--inline-bootstrap', '-B', 'b', ...D], 2, /--blob-inline-meta cannot be used with --bootstrap/],
    [['--blob-inline-meta', '--blob-id', 'x', ...D], 2, /--blob-inline-meta cannot be used with --blob-id/],
    [['--blob-inline-meta'], 2, /where does the blob go/],
    [['-B', 'b'], 2, /where does the blob go/],
    [['-b', 'blob'], 2, /where does the bootstrap go/],
    [['--blob-cache-dir', 'c', '-B', 'b', ...D], 2, /--blob-cache-dir cannot be used with --blob-dir/],
    [['--blob-cache-dir', 'c', '-B', 'b', '-b', 'x'], 2, /--blob-cache-dir cannot be used with --blob$/m],
    [
      ['--blob-cache-dir', 'c', '--blob-inline-meta'],
      2,
      /--blob-cache-dir cannot be used with --blob-inline-meta/,
    ],
    [['--blob-cache-dir', 'c', '-B', 'b', '--compressor', 'zstd'], 2, /cannot be used with --compressor/],
    [['--features', 'nothing', ...D], 2, /blob-toc/],
    [['--batch-size', '0x1000', '-v', '5', ...D], 1, /--batch-size conflicts with --fs-version 5/],
    [['--features', 'blob-toc', '-v', '5', ...D], 1, /--features blob-toc conflicts with --fs-version 5/],
    [['--encrypt', '-v', '5', ...D], 1, /--encrypt conflicts with --fs-version 5/],
    [['--batch-size', '0x1800', ...D], 1, /invalid batch size 0x1800: must be a power of two/],
    [['--batch-size', '0x10000', '--chunk-size', '0x1000', ...D], 1, /larger than --chunk-size 0x1000/],
    [['--chunk-size', '5000', ...D], 1, /invalid chunk size 5000: must be a power of two/],
    [['--chunk-size', '0x2000000', ...D], 1, /invalid chunk size/],
    [['--blob-id', 'a'.repeat(65), ...D], 1, /--blob-id is longer than 64 bytes/],
    [['--blob-id', '../outside', ...D], 1, /--blob-id "..\/outside": must be a plain file name/],
    [['--blob-offset', 'x', ...D], 1, /invalid blob offset x/],
    [['--attributes', 'f', ...D], 1, /--attributes is not supported yet/],
    [['--external-blob', 'f', ...D], 1, /--external-blob is not supported yet/],
  ])('%j end with %i and say so', (args, code, message) => {
    const result = run(['create', ...args, '/absent']);
    expect(result).toMatchObject({ code, stderr: expect.stringMatching(message) });
  });
});

test('what is said goes to the log file, wherever it is named', () => {
  const log = join(dir, 'log');
  expect(create('logged', ['-L', log])).toMatchObject({ code: 0, stdout: '', stderr: '' });
  const out = join(dir, 'logged');
  expect(run(['-L', log, 'create', '-D', out, '-B', `${out}.boot`, source]).stdout).toBe('');
  expect(
    readFileSync(log, 'utf8').match(/^bootstrap .*\nblob .*\nfiles .*\nchunks .*\ntime .*\n/gm),
  ).toHaveLength(2);
});

test('a blob id that is given names the blob, in the directory and in the image', () => {
  const { out } = create('named', ['--blob-id', 'my-blob', '-J', join(dir, 'named.json')]);
  expect(readdirSync(out)).toEqual(['my-blob']);
  expect(JSON.parse(readFileSync(join(dir, 'named.json'), 'utf8')).blobs).toEqual(['my-blob']);
});

test('--blob wins over --blob-dir, which then takes nothing', () => {
  const { code, out } = create('both', ['-b', join(dir, 'both.blob')]);
  expect([code, existsSync(out), existsSync(join(dir, 'both.blob'))]).toEqual([0, false, true]);
});

test('a blob written into a named pipe is the blob', async () => {
  const pipe = join(dir, 'pipe');
  execFileSync('mkfifo', [pipe]);
  const expected = create('piped', ['--features', 'blob-toc']);
  const child = spawn(
    program,
    ['create', '--features', 'blob-toc', '-b', pipe, '-B', `${pipe}.boot`, source],
    {
      stdio: 'ignore',
    },
  );
  const parts: Buffer[] = [];
  for await (const part of createReadStream(pipe)) parts.push(part as Buffer);
  if (child.exitCode === null) await once(child, 'exit');
  expect(child.exitCode).toBe(0);
  const [id] = readdirSync(expected.out);
  expect(Buffer.concat(parts).equals(readFileSync(join(expected.out, id!)))).toBe(true);
  expect(readFileSync(`${pipe}.boot`).equals(readFileSync(`${expected.out}.boot`))).toBe(true);
});

test('a blob that begins at an offset of a larger object is read there', async () => {
  const { out } = create('offset', ['--blob-offset', '4096', '--compressor', 'none', '--blob-id', 'blob']);
  const [plain, blob] = [
    create('plain', ['--compressor', 'none', '--blob-id', 'blob']).out,
    join(out, 'blob'),
  ];
  writeFileSync(blob, Buffer.concat([Buffer.alloc(4096, 'x'), readFileSync(blob)]));
  const place = (path: string) => ({ bootstrap: `${path}.boot`, blobDirs: [path] as const });
  const lines = await compareImages(place(plain), place(out));
  // Everything is 4096 bytes further on, and reads back: no digest is wrong.
  const moved = /: (compressedOffset|compressedSize|ciOffset|offset) is (\d+), expected (\d+)/;
  expect(lines.filter((line) => !moved.test(line))).toEqual([]);
  const distances = lines.map((line) => Number(moved.exec(line)![2]) - Number(moved.exec(line)![3]));
  expect(new Set(distances)).toEqual(new Set([4096]));
});

test('an image in one file is named by its SHA-256 without the digest array', () => {
  const out = join(dir, 'one-file');
  const result = run(['create', '--blob-inline-meta', '-J', `${out}.json`, '-D', out, source]);
  expect(result.code).toBe(0);
  const [id, ...others] = readdirSync(out);
  expect(others).toEqual([]);
  expect(JSON.parse(readFileSync(`${out}.json`, 'utf8'))).toMatchObject({ bootstrap: '', blobs: [id] });
  expect(digest('sha256', readFileSync(join(out, id!))).toString('hex')).toBe(id);
});

test('two encrypted builds have different keys', () => {
  const ids = ['first', 'second'].map((name) => readdirSync(create(name, ['-E']).out)[0]);
  expect(ids[0]).not.toBe(ids[1]);
});

describe.skipIf(!isRoot)('mounted (skipped unless root, who can unpack the tree)', () => {
  test.each([
    '5',
    '6',
  ])('v%s: cache files made by a build serve everything, the blob being a hole', async (version) => {
    const tree = sourcePath(FIXTURES, 'small', dir);
    const [cache, empty] = [join(dir, `cache-${version}`), join(dir, 'empty')];
    mkdirSync(empty, { recursive: true });
    const args = ['create', '-v', version, '--blob-cache-dir', cache, '-B', `${cache}.boot`, tree];
    expect(run(args)).toMatchObject({ code: 0, stderr: '' });
    // The back end is asked whether it has the blob, and for nothing else: its bytes are all zero here.
    const { blobs } = await readBootstrap(`${cache}.boot`);
    writeFileSync(join(empty, blobs[0]!.id), '');
    truncateSync(join(empty, blobs[0]!.id), blobs[0]!.compressedSize);
    const names = readdirSync(cache).map((name) => name.replace(/^[0-9a-f]{64}/, 'ID'));
    const meta = version === '6' ? ['ID.blob.meta'] : [];
    expect(names.sort()).toEqual(['ID.blob.data', 'ID.blob.data.chunk_map', ...meta]);
    await using daemon = new Nydusd(['--log-level', 'warn']);
    await daemon.ready();
    const backend = { type: 'localfs', config: { dir: empty } };
    const config = {
      device: { backend, cache: { type: 'blobcache', config: { work_dir: cache } } },
      mode: 'direct',
      enable_xattr: true,
    };
    const body = { fs_type: 'rafs', source: `${cache}.boot`, config: JSON.stringify(config) };
    const answer = await daemon.call('POST', '/api/v1/mount?mountpoint=/m', JSON.stringify(body));
    expect(answer.text).toBe('');
    using guest = await ConnectedGuest.connect(addon, daemon.sock);
    const image = version === '5' ? 'v5-none-blake3' : 'v6-zstd-blake3';
    expect(await differences(guest.client, FIXTURES, image, {}, '/m')).toEqual([]);
  });
});
