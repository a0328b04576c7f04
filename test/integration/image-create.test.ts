import { execFileSync, spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { zstdDecompressSync } from 'node:zlib';
import { uncompressSync } from 'lz4-napi';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { digest } from '../../src/lib/content-hash.ts';
import { ChunkFlag, ChunkRecordLayout, decodeChunk } from '../../src/wire/rafs/chunk.ts';
import { decodeBlobsV5, decodeSuperblockV5 } from '../../src/wire/rafs/superblock-v5.ts';
import { decodeBlobsV6, decodeDevices, decodeSuperblockV6 } from '../../src/wire/rafs/superblock-v6.ts';

const program = join(import.meta.dirname, '../../bin/nydus-image');
const fixtures = process.env.NYDUS_FIXTURES;
const root = process.getuid?.() === 0;
let dir: string;
let source: string;

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'image-create-'));
  source = join(dir, 'source');
  mkdirSync(join(source, 'deep/er'), { recursive: true });
  writeFileSync(join(source, 'text'), 'all work and no play '.repeat(20_000));
  writeFileSync(join(source, 'deep/tiny'), 'x');
  linkSync(join(source, 'text'), join(source, 'deep/er/alias'));
  symlinkSync('/nowhere', join(source, 'dangling'));
  for (let i = 0; i < 300; i++) writeFileSync(join(source, `deep/${'n'.repeat(100)}${i}`), `${i}`);
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function run(args: readonly string[], input = ''): { code: number | null; stdout: string; stderr: string } {
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8', input });
  return { code: status, stdout, stderr };
}

function viewOf(path: string): DataView {
  const bytes = readFileSync(path);
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

function unpack(bytes: Buffer, size: number, compressor: string): Buffer {
  if (compressor === 'zstd') return zstdDecompressSync(bytes);
  const prefix = Buffer.alloc(4);
  prefix.writeUInt32LE(size);
  return uncompressSync(Buffer.concat([prefix, bytes]));
}

const combinations = ['5', '6'].flatMap((version) =>
  ['none', 'lz4_block', 'zstd'].flatMap((compressor) =>
    (['blake3', 'sha256'] as const).map((digester) => ({ version, compressor, digester })),
  ),
);

describe('nydus-image create', () => {
  test.each(
    combinations,
  )('v$version $compressor $digester: blob, bootstrap and summary agree', (combination) => {
    const { version, compressor, digester } = combination;
    const out = join(dir, `${version}-${compressor}-${digester}`);
    const args = ['create', '-v', version, '--compressor', compressor, '--digester', digester];
    const result = run([
      ...args,
      '--chunk-size',
      '0x10000',
      '-D',
      out,
      '-B',
      `${out}.boot`,
      '-J',
      `${out}.json`,
      source,
    ]);
    expect(result).toMatchObject({ code: 0, stderr: '' });
    const json = JSON.parse(readFileSync(`${out}.json`, 'utf8'));
    const [id] = readdirSync(out);
    expect(json).toMatchObject({ bootstrap: `${out}.boot`, blobs: [id], fs_version: version, compressor });
    const blob = readFileSync(join(out, id!));
    expect(digest('sha256', blob).toString('hex')).toBe(id);

    const view = viewOf(`${out}.boot`);
    if (version === '5') {
      const sb = decodeSuperblockV5(view);
      expect(decodeBlobsV5(view, sb)).toMatchObject([{ id, compressedSize: blob.length }]);
      return;
    }
    const sb = decodeSuperblockV6(view);
    expect(decodeBlobsV6(view, sb)).toMatchObject([{ id, compressedSize: blob.length }]);
    expect(decodeDevices(view, sb)).toHaveLength(1);
    expect(sb.chunkTableSize).toBeGreaterThan(0);
    for (let at = 0; at < sb.chunkTableSize; at += ChunkRecordLayout.size) {
      const chunk = decodeChunk(view, sb.chunkTableOffset + at);
      const stored = blob.subarray(chunk.compressedOffset, chunk.compressedOffset + chunk.compressedSize);
      const packed = (chunk.flags & ChunkFlag.compressed) !== 0;
      const plain = packed ? unpack(stored, chunk.uncompressedSize, compressor) : stored;
      expect(digest(digester, plain).equals(chunk.digest)).toBe(true);
    }
  });

  test('callers of the original find their spellings: --source-type, --log-level behind the subcommand', () => {
    const out = join(dir, 'spellings');
    const args = ['create', '--log-level', 'warn', '--source-type', 'directory', '--disable-check'];
    expect(run([...args, '--blob', `${out}.blob`, '-B', `${out}.boot`, source])).toEqual({
      code: 0,
      stdout: '',
      stderr: '',
    });
    expect(readFileSync(`${out}.blob`).length).toBeGreaterThan(4096);
  });

  test('prefetched data comes first in the blob', () => {
    const out = join(dir, 'prefetch');
    const args = [
      'create',
      '--compressor',
      'none',
      '--prefetch-policy',
      'fs',
      '-D',
      out,
      '-B',
      `${out}.boot`,
      source,
    ];
    expect(run(args, '/text\n').code).toBe(0);
    const blob = readFileSync(join(out, readdirSync(out)[0]!));
    expect(blob.subarray(0, 13).toString()).toBe('all work and ');
  });

  test('without --bootstrap it is named by its digest beside the blob', () => {
    const out = join(dir, 'both');
    expect(run(['create', '-D', out, source]).code).toBe(0);
    const files = readdirSync(out);
    expect(files).toHaveLength(2);
    for (const file of files)
      expect(digest('sha256', readFileSync(join(out, file))).toString('hex')).toBe(file);
  });

  test('usage errors end with 2, failures with 1, and say why', () => {
    expect(run(['create'])).toMatchObject({ code: 2, stderr: expect.stringContaining('source') });
    expect(run(['create', '--chunk-size', '5000', source]).code).toBe(2);
    expect(run(['create', source])).toMatchObject({ code: 2, stderr: expect.stringContaining('--blob-dir') });
    expect(run(['create', '-D', join(dir, 'x'), '/absent'])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('/absent'),
    });
    expect(run(['whatever'])).toMatchObject({ code: 2, stderr: expect.stringContaining('whatever') });
    expect(run(['create', '--help'])).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('Examples:'),
    });
  });

  test('a signal ends the build and leaves no half-written blob', async () => {
    const large = join(dir, 'large');
    mkdirSync(large);
    for (let i = 0; i < 4; i++) execFileSync('truncate', ['-s', '8G', join(large, `f${i}`)]);
    const out = join(dir, 'interrupted');
    const child = spawn(program, ['create', '-D', out, '-B', `${out}.boot`, large], { stdio: 'ignore' });
    while (!existsSync(out) || readdirSync(out).length === 0)
      await new Promise((done) => setTimeout(done, 10));
    child.kill('SIGTERM');
    const code = await new Promise((done) => child.once('exit', done));
    expect(code).toBe(143);
    expect(readdirSync(out)).toEqual([]);
    expect(existsSync(`${out}.boot`)).toBe(false);
  });

  test.skipIf(root)(
    'an unreadable file fails the build and is named (skipped as root, who reads everything)',
    () => {
      const secret = join(dir, 'secret');
      mkdirSync(secret);
      writeFileSync(join(secret, 'f'), 'x');
      chmodSync(join(secret, 'f'), 0);
      const result = run(['create', '-D', join(dir, 'y'), secret]);
      expect(result).toMatchObject({ code: 1, stderr: expect.stringContaining('secret/f') });
    },
  );
});

/** Trees whose files have at most one attribute: the original writes several in random order. */
const comparable = [
  { image: 'v6-chunks64k-none', tree: 'chunks', args: ['--compressor', 'none', '--chunk-size', '0x10000'] },
];
const sameBlob = ['5', '6'].flatMap((version) =>
  ['blake3', 'sha256'].map((digester) => ({ version, digester })),
);

describe.skipIf(fixtures === undefined || !root)(
  'against images of the original (skipped unless NYDUS_FIXTURES names them and this is root, who can unpack their trees)',
  () => {
    function unpackTree(name: string): string {
      const path = join(dir, `fixture-${name}`);
      if (existsSync(path)) return path;
      mkdirSync(path);
      const archive = join(fixtures!, 'sources', `${name}.tar`);
      execFileSync(
        'tar',
        ['--xattrs', '--xattrs-include=*', '--numeric-owner', '-xpf', archive, '-C', path],
        { stdio: 'ignore' },
      );
      return path;
    }

    test.each(comparable)('$image is the same byte for byte', ({ image, tree, args }) => {
      const out = join(dir, image);
      expect(run(['create', ...args, '-D', out, '-B', `${out}.boot`, unpackTree(tree)]).code).toBe(0);
      const original = join(fixtures!, 'images', image);
      expect(readdirSync(out)).toEqual(JSON.parse(readFileSync(join(original, 'out.json'), 'utf8')).blobs);
      expect(readFileSync(`${out}.boot`).equals(readFileSync(join(original, 'image.boot')))).toBe(true);
    });

    // The tree lacks its unix socket here, which no archive carries: no data, so the blob is the same without it.
    test.each(sameBlob)('v$version none $digester: the blob is the same', ({ version, digester }) => {
      const out = join(dir, `small-${version}-${digester}`);
      const args = ['create', '-v', version, '--compressor', 'none', '--digester', digester, '-D', out];
      expect(run([...args, '-B', `${out}.boot`, unpackTree('small')]).code).toBe(0);
      const original = join(fixtures!, 'images', `v${version}-none-${digester}`, 'out.json');
      expect(readdirSync(out)).toEqual(JSON.parse(readFileSync(original, 'utf8')).blobs);
    });
  },
);
