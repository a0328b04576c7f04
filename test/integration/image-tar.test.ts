/** Images of tars, made by the program: streams of every kind, and what the original refuses. */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import {
  createReadStream,
  createWriteStream,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compareImages } from '../support/compare-image.ts';
import { sourcePath } from '../support/fixture-builds.ts';
import { FIXTURES } from '../support/rafs-fixtures.ts';

const program = join(import.meta.dirname, '../../bin/nydus-image');
const packed = join(FIXTURES, 'sources/small.tar.gz');
const isRoot = process.getuid?.() === 0;
let dir: string;
let tar: string;

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'image-tar-'));
  tar = sourcePath(FIXTURES, 'small.tar', dir);
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

interface Place {
  readonly bootstrap: string;
  readonly blobDirs: readonly [string];
}

function placeOf(name: string): Place {
  return { bootstrap: join(dir, `${name}.boot`), blobDirs: [join(dir, name)] };
}

function argsOf(place: Place, ...more: string[]): string[] {
  return ['create', '--compressor', 'none', '-B', place.bootstrap, '-D', place.blobDirs[0], ...more];
}

function run(args: readonly string[], input: string | Buffer = ''): { code: number | null; stderr: string } {
  const { status, stderr } = spawnSync(program, args, { input });
  return { code: status, stderr: stderr.toString() };
}

/** Bytes of the bootstrap, and the blobs' names, which are their digests. */
function built({ bootstrap, blobDirs }: Place): [string, string[]] {
  return [readFileSync(bootstrap).toString('base64'), readdirSync(blobDirs[0])];
}

describe('a tar makes the same image', () => {
  let expected: [string, string[]];
  beforeAll(() => {
    const place = placeOf('file');
    expect(run(argsOf(place, '-t', 'tar-rafs', tar))).toEqual({ code: 0, stderr: '' });
    expected = built(place);
  });

  test('plain or gzip, whatever type it is said to be', () => {
    for (const [name, ...args] of [
      ['gz', '-t', 'targz-rafs', packed],
      ['es', '-t', 'estargz-rafs', packed],
      ['said', '--source-type', 'tar-rafs', packed],
    ]) {
      const place = placeOf(name!);
      expect(run(argsOf(place, ...args))).toEqual({ code: 0, stderr: '' });
      expect(built(place)).toEqual(expected);
    }
  });

  test('on standard input, plain or gzip, by either name', () => {
    for (const [name, source, bytes] of [
      ['stdin', '-', readFileSync(tar)],
      ['stdin-gz', '/dev/stdin', readFileSync(packed)],
    ] as const) {
      const place = placeOf(name);
      expect(run(argsOf(place, '-t', 'tar-rafs', source), bytes)).toEqual({ code: 0, stderr: '' });
      expect(built(place)).toEqual(expected);
    }
  });

  test('from a named pipe whose writer comes late', async () => {
    const pipe = join(dir, 'pipe');
    execFileSync('mkfifo', [pipe]);
    const place = placeOf('fifo');
    const child = spawn(program, argsOf(place, '-t', 'targz-rafs', pipe), { stdio: 'ignore' });
    await sleep(300);
    createReadStream(packed).pipe(createWriteStream(pipe));
    expect(await new Promise((done) => child.once('exit', done))).toBe(0);
    expect(built(place)).toEqual(expected);
  });
});

describe.skipIf(!isRoot)(
  'small.tar, which the original refuses (skipped unless root, who can unpack it)',
  () => {
    const versions = ['5', '6'];
    test.each(
      versions,
    )('is in v%s the image of its tree, but for the fractions of times', async (version) => {
      const tree = join(dir, 'small');
      if (!existsSync(tree)) {
        execFileSync('mkdir', [tree]);
        const how = ['--xattrs', '--xattrs-include=*', '--numeric-owner', '-xpf'];
        execFileSync('tar', [...how, tar, '-C', tree], { stdio: 'ignore' });
      }
      const [ofTree, ofTar] = [placeOf(`tree-${version}`), placeOf(`tar-${version}`)];
      expect(run(argsOf(ofTree, '-v', version, tree)).code).toBe(0);
      expect(run(argsOf(ofTar, '-v', version, '-t', 'tar-rafs', tar)).code).toBe(0);
      expect(readdirSync(ofTar.blobDirs[0]).length).toBe(1);
      const lines = await compareImages(ofTree, ofTar);
      // As upstream: a tar's times are whole seconds, its root has a time, and what is no device has another rdev.
      const explained = [
        /: mtime is \d+\.0, expected \d+\.\d+$/,
        /: raw mtimeNs is 00000000, expected [0-9a-f]{8}$/,
        /: rdev is 4294967295, expected 0$/,
        /: raw (rdev|union) is ffffffff, expected 00000000$/,
        /^\/: (raw )?mtime/,
        /: raw flags is 0[26]0*, expected 0[04]0*$/,
      ];
      expect(lines.filter((line) => !explained.some((pattern) => pattern.test(line)))).toEqual([]);
      expect(lines.length).toBeGreaterThan(0);
    });
  },
);

describe('a build of a tar that fails', () => {
  test('because the tar is cut names the entry and leaves nothing', () => {
    const place = placeOf('cut');
    const { code, stderr } = run(
      argsOf(place, '-t', 'tar-rafs', '-'),
      readFileSync(tar).subarray(0, 300_000),
    );
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /^nydus-image: standard input: ".+" \(header at byte \d+\): the archive ends here, at byte 300000\n$/,
    );
    expect(existsSync(place.bootstrap)).toBe(false);
    if (existsSync(place.blobDirs[0])) expect(readdirSync(place.blobDirs[0])).toEqual([]);
  });

  test('because it is none says so, before anything is made', () => {
    const place = placeOf('none');
    for (const [source, message] of [
      [dir, `${dir}: a tar archive is read from a file`],
      [join(dir, 'absent'), 'absent: ENOENT'],
      [program, 'no tar archive'],
      ['/dev/null', '/dev/null: empty'],
    ] as const) {
      const result = run(argsOf(place, '-t', 'tar-rafs', source));
      expect(result).toMatchObject({ code: 1, stderr: expect.stringContaining(message) });
      expect(existsSync(place.blobDirs[0])).toBe(false);
    }
  });

  test('by a signal while the pipe is silent ends at once and leaves nothing', async () => {
    const pipe = join(dir, 'silent');
    execFileSync('mkfifo', [pipe]);
    const place = placeOf('silent-out');
    const child = spawn(program, argsOf(place, '-t', 'tar-rafs', pipe), { stdio: 'ignore' });
    const writer = createWriteStream(pipe);
    writer.write(gunzipSync(readFileSync(packed)).subarray(0, 400_000));
    while (!existsSync(place.blobDirs[0]) || readdirSync(place.blobDirs[0]).length === 0) await sleep(10);
    await sleep(100);
    child.kill('SIGTERM');
    expect(await new Promise((done) => child.once('exit', done))).toBe(143);
    writer.destroy();
    expect(readdirSync(place.blobDirs[0])).toEqual([]);
    expect(existsSync(place.bootstrap)).toBe(false);
  });

  test('because standard input is to be both source and prefetch list is a mistake of usage', () => {
    const args = argsOf(placeOf('both'), '-t', 'tar-rafs', '--prefetch-policy', 'fs', '-');
    expect(run(args)).toMatchObject({ code: 2, stderr: expect.stringContaining('cannot be both') });
  });
});
