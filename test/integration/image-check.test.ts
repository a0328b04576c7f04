/** `check`, `stat` and `inspect` as programs: their output, files and exit codes. */
import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { missingBlobs, sourceOf } from '../support/images.ts';
import { FIXTURES, imageNames } from '../support/rafs-fixtures.ts';

const program = join(import.meta.dirname, '../../bin/nydus-image');
const wide = process.env.NYDUS_FIXTURES;
const roots = [FIXTURES, ...(wide === undefined ? [] : [wide])];
let dir: string;

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'image-check-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

interface Run {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function run(args: readonly string[], input = ''): Run {
  const { status, stdout, stderr } = spawnSync(program, args, {
    encoding: 'utf8',
    input,
    maxBuffer: 1 << 28,
  });
  return { code: status, stdout, stderr };
}

function image(name: string): string {
  return sourceOf(FIXTURES, name);
}

describe.each(roots)('%s', (root) => {
  test.each(imageNames(root))('check of %s and its blobs ends with 0 and the recorded JSON', (name) => {
    const blobs = missingBlobs(root, name).length === 0 ? ['-D', join(root, 'blobs')] : [];
    const out = join(dir, 'check.json');
    const { code, stderr } = run(['check', sourceOf(root, name), ...blobs, '-J', out]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const { trace, version, bootstrap, ...json } = JSON.parse(readFileSync(out, 'utf8'));
    const recorded = JSON.parse(readFileSync(join(root, 'images', name, 'check.json'), 'utf8'));
    expect(json).toEqual({ ...recorded, version: undefined, bootstrap: undefined });
    expect(bootstrap).toBe(sourceOf(root, name));
    expect(Object.keys(trace)).toEqual(['consumed_time', 'registered_events']);
    expect(version).toMatch(/^v\d/);
  });

  const listed = imageNames(root).filter((name) =>
    ['check.txt', 'check.txt.gz'].some((file) => existsSync(join(root, 'images', name, file))),
  );
  test.each(listed)('check -v of %s prints what was recorded', (name) => {
    const file = join(root, 'images', name, 'check.txt');
    const recorded = existsSync(file) ? readFileSync(file) : gunzipSync(readFileSync(`${file}.gz`));
    const { code, stdout } = run(['check', '-v', sourceOf(root, name)]);
    expect(code).toBe(0);
    expect(stdout).toBe(recorded.toString());
  });
});

describe('check', () => {
  test('of a damaged blob ends with 1 and a line for each fault, and prints nothing else', () => {
    const blobs = join(dir, 'blobs');
    mkdirSync(blobs);
    for (const id of JSON.parse(readFileSync(join(FIXTURES, 'images/v6-merge3/check.json'), 'utf8')).blobs) {
      const bytes = readFileSync(join(FIXTURES, 'blobs', id));
      bytes[10]! ^= 1;
      writeFileSync(join(blobs, id), bytes);
    }
    const out = join(dir, 'none.json');
    const { code, stdout, stderr } = run(['check', '-D', blobs, '-J', out, image('v6-merge3')]);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toMatch(
      /^nydus-image check: .*image\.boot: blob 1 \(\w+\) chunk 0 at offset 0, of "\/a\/three" \(inode 166\): /m,
    );
    expect(stderr).toMatch(/image\.boot is damaged: \d faults\n$/);
    expect(existsSync(out)).toBe(false);
  });

  test('finds blobs through the configuration of nydusd', () => {
    const config = join(dir, 'nydusd.json');
    const backend = { type: 'localfs', config: { dir: join(FIXTURES, 'blobs') } };
    writeFileSync(config, JSON.stringify({ device: { backend }, mode: 'direct' }));
    expect(run(['check', '-C', config, '-B', image('v5-merge3')]).code).toBe(0);
    writeFileSync(
      config,
      JSON.stringify({
        device: { backend: { type: 'oss', config: { endpoint: 'e', bucket_name: 'b' } } },
        mode: 'direct',
      }),
    );
    const refused = run(['check', '-C', config, image('v5-merge3')]);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toMatch(/backend type oss is not supported yet: use localfs, or --blob-dir/);
  });

  test.each([
    [['check'], 2, /missing required argument 'bootstrap'/],
    [['check', '-B', 'a', 'b'], 2, /cannot be used with/],
    [['check', '-D', 'a', '-C', 'b', 'c'], 2, /cannot be used with/],
    [['check', '/dev/null'], 1, /not a regular file/],
    [['check', program], 1, /neither a RAFS v5 superblock .* nor one at its end/],
    [['check', '/no/such/file'], 1, /\/no\/such\/file: ENOENT/],
    [['stat'], 1, /one of --bootstrap and --blob-dir must be specified/],
    [['stat', '-B', '/no/such/file'], 1, /\/no\/such\/file: ENOENT/],
    [['stat', '--digester', 'md5', '-B', 'x'], 2, /argument 'md5' is invalid/],
    [['inspect'], 2, /missing required argument 'bootstrap'/],
  ])('%j ends with %i', (args, code, message) => {
    const result = run(args);
    expect(result.code).toBe(code);
    expect(result.stderr).toMatch(message);
  });

  test.each(['check', 'stat', 'inspect'])('%s --help has examples', (command) => {
    expect(run([command, '--help']).stdout).toMatch(/Examples:\n[\s\S]*nydus-image/);
  });
});

describe('stat', () => {
  test('writes the recorded JSON instead of printing', () => {
    const out = join(dir, 'stat.json');
    expect(run(['stat', '-B', image('v6-batch'), '-J', out])).toEqual({ code: 0, stdout: '', stderr: '' });
    const recorded = JSON.parse(readFileSync(join(FIXTURES, 'images/v6-batch/stat.json'), 'utf8'));
    expect(JSON.parse(readFileSync(out, 'utf8'))).toEqual(recorded);
  });

  test('of a directory leaves out what is no image, and compares a target', () => {
    const images = join(dir, 'images');
    mkdirSync(images);
    copyFileSync(image('v6-merge3'), join(images, 'one'));
    copyFileSync(image('v6-dict'), join(images, 'two'));
    copyFileSync(image('v6-batch'), join(images, 'other.boot'));
    writeFileSync(join(images, 'no-image'), 'text');
    const { code, stdout } = run(['stat', '-D', images, '-T', image('v6-merge3')]);
    expect(code).toBe(0);
    const numbers = [...stdout.matchAll(/^(Owned|Referenced|Dedup) Chunk Count:\t(\d+)$/gm)];
    expect(numbers.map(([, kind, count]) => `${kind} ${count}`)).toEqual([
      'Dedup 0',
      'Owned 0',
      'Referenced 14',
      'Dedup 16',
      'Owned 22',
      'Referenced 0',
    ]);
    expect(stdout).toMatch(/^1 {23}0x16 {12}0x10 {12}0x1028f {9}0xe90b {10}/m);
    const loud = run(['stat', '-l', 'debug', '-D', images]);
    expect(loud.stderr).toMatch(/no-image is left out: /);
  });
});

describe('inspect', () => {
  test('answers a request in JSON', () => {
    const { code, stdout } = run(['inspect', image('v5-prefetch-fs'), '-R', 'prefetch']);
    const recorded = JSON.parse(readFileSync(join(FIXTURES, 'images/v5-prefetch-fs/inspect.json'), 'utf8'));
    expect({ code, value: JSON.parse(stdout) }).toEqual({ code: 0, value: recorded.prefetch });
    expect(run(['inspect', image('v5-prefetch-fs'), '-R', 'ls']).stdout).toMatch(
      /^d {4}2 {8}"bin"\n[\s\S]*null$/,
    );
  });

  test.each([
    ['help', /help is not supported in inspect request mode/],
    ['sing', /unsupported inspect request `sing`/],
    ['chunk x', /invalid arguments in inspect request `chunk x`/],
  ])('refuses the request %s', (request, message) => {
    const { code, stderr } = run(['inspect', image('v6-dict'), '-R', request]);
    expect(code).toBe(1);
    expect(stderr).toMatch(message);
  });

  test('goes through directories until exit or the end of the input', () => {
    const lines = [
      'cd usr',
      'stat " spaces  and\\ttab"',
      'cd ..',
      'cd bin',
      'stat tool',
      'cd nowhere',
      'cd tool',
      'icheck 142',
      'icheck 9',
    ];
    const { code, stdout } = run(['inspect', image('v6-zstd-blake3')], `${lines.join('\n')}\n`);
    expect(code).toBe(0);
    const answers = stdout.split('Inspecting RAFS :> ').slice(1);
    expect(answers.length).toBe(lines.length + 1);
    expect(answers[1]).toMatch(/^\nInode Number: {7}2741\nName: {15}" spaces {2}and\\ttab"\n/);
    expect(answers[4]).toMatch(
      /Name: {15}"tool"\n[\s\S]*Permissions: {8}104755\n[\s\S]*Chunk list:\n {8}0 ->\n/,
    );
    expect(answers[5]).toBe('nowhere is not found\n');
    expect(answers[6]).toBe('tool is not a directory\n');
    expect(answers[7]!.match(/^\/.*$/gm)).toEqual(['/bin/alias', '/bin/tool', '/etc/alias2']);
    expect(answers[8]).toBe('Failed to execute command, inode 9: no file of the tree has it\n');
    expect(run(['inspect', image('v6-dict')], 'ls\nexit\nls\n').stdout.match(/"keep"/g)?.length).toBe(1);
  });

  test('a key is not shown', () => {
    const { stdout } = run(['inspect', image('v6-encrypt')], 'blobs\n');
    expect(stdout).toMatch(/^Cipher: {17}Aes128Xts$/m);
    expect(stdout).toMatch(/^RAFS Blob Digest: {7}0{64}$/m);
  });
});
