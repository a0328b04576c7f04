/** `nydus-image unpack` as a process, over the images of the fixtures. */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  createReadStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { missingBlobs, sourceOf } from '../support/images.ts';
import { asOriginal, originalPlainTar, originalTars } from '../support/original-tars.ts';
import { FIXTURES, imageNames } from '../support/rafs-fixtures.ts';
import { manifestWithoutRoot, treeRows } from '../support/tree-rows.ts';

/** With NYDUS_FIXTURES every image there; otherwise the subset in the repository. */
const root = process.env.NYDUS_FIXTURES ?? FIXTURES;
const isRoot = process.getuid?.() === 0;
const PROGRAM = join(import.meta.dirname, '../../bin/nydus-image');
/** 5 GiB of zeros. */
const HUGE = /-huge$/;
const images = imageNames(root).filter((name) => !HUGE.test(name) && missingBlobs(root, name).length === 0);

let dir: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'unpack-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

function unpack(name: string, output = join(dir, 'tar')): { status: number | null; stderr: string } {
  const args = ['unpack', '-D', join(root, 'blobs'), '--output', output, sourceOf(root, name)];
  const { status, stderr } = spawnSync(PROGRAM, args, { encoding: 'utf8', timeout: 60_000 });
  return { status, stderr };
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

describe('tars of images', () => {
  test.each(
    images.filter((name) => name in originalTars),
  )('the tar of %s is the one that the original writes, but for what is explained', (name) => {
    expect(unpack(name)).toEqual({ status: 0, stderr: '' });
    expect(sha256(asOriginal(readFileSync(join(dir, 'tar'))))).toBe(originalTars[name]);
  });

  test('so is one with long names and links, names in Latin-1, and xattrs of any bytes', () => {
    const source = join(dir, 'plain.tar');
    writeFileSync(source, gunzipSync(readFileSync(join(FIXTURES, 'sources/plain.tar.gz'))));
    // The original ends with a panic at devices and FIFOs.
    const special = ['blk', 'bigdev', 'null', 'fifo'].map((name) => `./usr/${name}`);
    execFileSync('tar', ['--delete', '-f', source, ...special]);
    const boot = join(dir, 'image.boot');
    const how = ['create', '-t', 'tar-rafs', '-v', '6', '--compressor', 'none', '-D', dir, '-B', boot];
    execFileSync(PROGRAM, [...how, source]);
    execFileSync(PROGRAM, ['unpack', '-D', dir, '--output', join(dir, 'tar'), boot]);
    expect(sha256(asOriginal(readFileSync(join(dir, 'tar'))))).toBe(originalPlainTar);
  });

  test.runIf(isRoot).each(images)('what GNU tar extracts of %s equals the manifest', async (name) => {
    const { status, stderr } = unpack(name);
    expect(status, stderr).toBe(0);
    const tree = join(dir, 'tree');
    mkdirSync(tree);
    const how = ['--xattrs', '--xattrs-include=*', '--numeric-owner', '-xpf'];
    const tar = spawnSync('tar', [...how, join(dir, 'tar'), '-C', tree], { encoding: 'utf8' });
    expect(tar.status, tar.stderr).toBe(0);
    expect(await treeRows(tree)).toEqual(manifestWithoutRoot(root, name, { sockets: false }));
  });
});

describe('the output of unpack', () => {
  const boot = sourceOf(FIXTURES, 'v6-merge3');
  const blobs = join(FIXTURES, 'blobs');

  test('- is standard output', () => {
    expect(unpack('v6-merge3').status).toBe(0);
    const args = ['unpack', '-D', blobs, '--output', '-', boot];
    const { stdout } = spawnSync(PROGRAM, args, { maxBuffer: 1 << 26 });
    expect(stdout.equals(readFileSync(join(dir, 'tar')))).toBe(true);
  });

  test('a named pipe is written once somebody reads it', async () => {
    const fifo = join(dir, 'fifo');
    execFileSync('mkfifo', [fifo]);
    const child = spawn(PROGRAM, ['unpack', '-D', blobs, '--output', fifo, boot], { stdio: 'ignore' });
    const ended = new Promise((resolve) => child.once('exit', resolve));
    const read = createHash('sha256');
    for await (const piece of createReadStream(fifo)) read.update(piece);
    expect(await ended).toBe(0);
    expect(unpack('v6-merge3').status).toBe(0);
    expect(read.digest('hex')).toBe(sha256(readFileSync(join(dir, 'tar'))));
    expect(statSync(fifo).isFIFO()).toBe(true);
  });

  test('a reader that goes away is an error, not a hang', () => {
    // More than a pipe holds.
    const large = sourceOf(FIXTURES, 'v6-zstd-blake3');
    const script = `"$0" unpack -D "$1" --output - "$2" | head -c 100 >/dev/null; echo "\${PIPESTATUS[0]}"`;
    const { stdout, stderr } = spawnSync('bash', ['-c', script, PROGRAM, blobs, large], { encoding: 'utf8' });
    expect(stdout).toBe('1\n');
    expect(stderr).toContain('EPIPE');
  });

  test('a damaged blob leaves the file that was there as it was, and nothing beside it', () => {
    const damaged = join(dir, 'blobs');
    mkdirSync(damaged);
    for (const name of readdirSync(blobs)) {
      const bytes = readFileSync(join(blobs, name));
      bytes[0]! ^= 1;
      writeFileSync(join(damaged, name), bytes);
    }
    writeFileSync(join(dir, 'tar'), 'precious');
    const args = ['unpack', '-D', damaged, '--output', join(dir, 'tar'), boot];
    const { status, stderr } = spawnSync(PROGRAM, args, { encoding: 'utf8' });
    expect(status).toBe(1);
    expect(stderr).toMatch(/^nydus-image: blob [0-9a-f]{64} chunk \d+: /);
    expect(readFileSync(join(dir, 'tar'), 'utf8')).toBe('precious');
    expect(readdirSync(dir).sort()).toEqual(['blobs', 'tar']);
  });

  test('an image of one blob is unpacked from that file, one of several is not', () => {
    const id = blobOf('v6-zstd-blake3');
    const one = ['unpack', '--blob', join(blobs, id), '--output', join(dir, 'tar')];
    expect(spawnSync(PROGRAM, [...one, sourceOf(FIXTURES, 'v6-zstd-blake3')]).status).toBe(0);
    expect(existsSync(join(dir, 'tar'))).toBe(true);
    const { status, stderr } = spawnSync(PROGRAM, [...one, boot], { encoding: 'utf8' });
    expect(status).toBe(1);
    expect(stderr).toContain('give the directory with all of them (--blob-dir)');
  });

  test('a socket is left out, and said to be', () => {
    const { status, stderr } = spawnSync(
      PROGRAM,
      ['unpack', '-D', blobs, '--output', join(dir, 'tar'), sourceOf(FIXTURES, 'v6-zstd-blake3')],
      { encoding: 'utf8' },
    );
    expect(status).toBe(0);
    expect(stderr).toBe('nydus-image unpack: /usr/socket: a socket, which a tar cannot hold, is left out\n');
  });

  test.each([
    [['--output', 'x', 'boot'], 1, '--blob, --blob-dir or --backend-type must be specified'],
    [['--output', '', '-D', 'd', 'boot'], 1, 'invalid empty --output option'],
    [['-D', 'd', 'boot'], 2, "required option '--output <file>' not specified"],
    [['-D', 'd', '--output', 'x'], 2, "missing required argument 'bootstrap'"],
    [['-D', 'd', '-b', 'b', '--output', 'x', 'boot'], 2, 'cannot be used with'],
    [['-D', 'd', '--backend-type', 'oss', '--output', 'x', 'boot'], 2, 'cannot be used with'],
    [['-b', 'b', '--backend-type', 'oss', '--output', 'x', 'boot'], 2, 'cannot be used with'],
    [['-D', 'd', '--output', 'x', '-B', 'boot', 'boot'], 2, 'cannot be used with'],
    [['--backend-type', 'oss', '--output', 'x', 'boot'], 1, 'not supported yet'],
  ])('%j is refused with exit code %i', (args, code, message) => {
    const { status, stderr } = spawnSync(PROGRAM, ['unpack', ...args], { encoding: 'utf8', cwd: dir });
    expect(status).toBe(code);
    expect(stderr).toContain(message);
    expect(readdirSync(dir)).toEqual([]);
  });
});

function blobOf(name: string): string {
  const { blobs } = JSON.parse(readFileSync(join(FIXTURES, 'images', name, 'out.json'), 'utf8')) as {
    blobs: string[];
  };
  return blobs[0]!;
}
