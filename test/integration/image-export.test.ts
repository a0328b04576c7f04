/** `nydus-image export` as a process, over the images of the fixtures. */
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
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
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readBootstrap } from '../../src/image/read/load.ts';
import { missingBlobs, sourceOf } from '../support/images.ts';
import { originalDisks } from '../support/original-disks.ts';
import { FIXTURES, imageNames } from '../support/rafs-fixtures.ts';
import { manifestWithoutRoot, treeRows } from '../support/tree-rows.ts';

/** With NYDUS_FIXTURES every image there; otherwise the subset in the repository. */
const root = process.env.NYDUS_FIXTURES ?? FIXTURES;
const isRoot = process.getuid?.() === 0;
const PROGRAM = join(import.meta.dirname, '../../bin/nydus-image');
/** 5 GiB of zeros. */
const HUGE = /-huge$/;
const V5 = /^v5-/;
const TARFS = /-tarfs$/;
const images = imageNames(root).filter(
  (name) => !V5.test(name) && !HUGE.test(name) && missingBlobs(root, name).length === 0,
);
const hasErofs = isRoot && existsSync('/dev/loop-control') && loadErofs();
const hasFsck = spawnSync('fsck.erofs', ['-V']).error === undefined;

function loadErofs(): boolean {
  spawnSync('modprobe', ['erofs']);
  return /\terofs$/m.test(readFileSync('/proc/filesystems', 'utf8'));
}

let dir: string;
let disk: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'export-'));
  disk = join(dir, 'disk');
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

interface Exported {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function run(...args: string[]): Exported {
  const { status, stdout, stderr } = spawnSync(PROGRAM, ['export', ...args], {
    encoding: 'utf8',
    timeout: 60_000,
    cwd: dir,
  });
  return { status, stdout, stderr };
}

function exportImage(name: string, ...flags: string[]): Exported {
  return run('--block', '-B', sourceOf(root, name), '-D', join(root, 'blobs'), '-O', disk, ...flags);
}

describe('disks of images', () => {
  test.each(
    images.filter((name) => name in originalDisks),
  )('the disk of %s with its hash tree is the one that the original writes', (name) => {
    const { status, stdout, stderr } = exportImage(name, '--verity', '-l', 'warn');
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    const { sha256, verity } = originalDisks[name]!;
    const [blockSize, blocks, offset, digest] = verity.split(' ');
    expect(stdout).toBe(
      'dm-verity options: --no-superblock --format=1 -s "" --hash=sha256 ' +
        `--data-block-size=${blockSize} --hash-block-size=4096 --data-blocks ${blocks} --hash-offset ${offset} ${digest}\n`,
    );
    const bytes = readFileSync(disk);
    expect(createHash('sha256').update(bytes).digest('hex')).toBe(sha256);
    // Without a tree it is what comes before it.
    expect(exportImage(name).status).toBe(0);
    expect(readFileSync(disk).equals(bytes.subarray(0, Number(blocks) * Number(blockSize)))).toBe(true);
  });

  test.runIf(hasErofs).each(images)(
    'kernel EROFS shows the disk of %s as its manifest says (skipped unless root, with EROFS and loop devices)',
    async (name) => {
      expect(exportImage(name)).toMatchObject({ status: 0, stderr: '' });
      const tree = join(dir, 'mnt');
      mkdirSync(tree);
      const mount = spawnSync('mount', ['-t', 'erofs', '-o', 'loop,ro', disk, tree], { encoding: 'utf8' });
      // Before Linux 6.4 there were no blocks of 512 bytes.
      if (TARFS.test(name) && mount.status !== 0) return;
      expect(mount.status, mount.stderr).toBe(0);
      try {
        expect(await treeRows(tree)).toEqual(manifestWithoutRoot(root, name, { sockets: true }));
      } finally {
        execFileSync('umount', [tree]);
      }
    },
  );

  test.runIf(hasFsck).each(images.filter((name) => !TARFS.test(name)))(
    'fsck.erofs finds the disk of %s sound (skipped without erofs-utils)',
    async (name) => {
      expect(exportImage(name).status).toBe(0);
      const { blobs } = await readBootstrap(sourceOf(root, name));
      const { status, stderr } = spawnSync('fsck.erofs', [...blobs.map(() => `--device=${disk}`), disk], {
        encoding: 'utf8',
      });
      expect(status, stderr).toBe(0);
    },
  );

  test('zeros are holes', () => {
    expect(exportImage('v6-zstd-blake3').status).toBe(0);
    const { size, blocks } = statSync(disk);
    const zeros = countZeroBlocks(readFileSync(disk));
    expect(zeros).toBeGreaterThan(50);
    expect(blocks * 512).toBeLessThanOrEqual(size - zeros * 4096 + 65_536);
  });

  test('without -O it goes beside the blobs, named after the bootstrap', () => {
    const blobs = copyBlobs(0);
    const boot = sourceOf(FIXTURES, 'v6-merge3');
    expect(run('--block', '-B', boot, '-D', blobs)).toMatchObject({ status: 0, stderr: '' });
    expect(existsSync(join(blobs, 'image.boot.disk'))).toBe(true);
  });

  test('a blob cache entry says where everything is', () => {
    expect(exportImage('v6-merge3').status).toBe(0);
    const metadata_path = sourceOf(FIXTURES, 'v6-merge3');
    const localfs = { dir: join(FIXTURES, 'blobs') };
    const entries = [
      { type: 'bootstrap', config_v2: { backend: { type: 'localfs', localfs }, metadata_path } },
      { type: 'bootstrap', config: { backend_type: 'localfs', backend_config: localfs, metadata_path } },
    ];
    for (const entry of entries) {
      writeFileSync(join(dir, 'entry.json'), JSON.stringify(entry));
      expect(run('--block', '-C', 'entry.json', '-O', 'other')).toMatchObject({ status: 0, stderr: '' });
      expect(readFileSync(join(dir, 'other')).equals(readFileSync(disk))).toBe(true);
      rmSync(join(dir, 'other'));
    }
  });

  test.runIf(hasErofs)('a block device is written, what lies between included (skipped unless root)', () => {
    expect(exportImage('v6-merge3').status).toBe(0);
    const bytes = readFileSync(disk);
    writeFileSync(join(dir, 'backing'), Buffer.alloc(bytes.length, 0xaa));
    const loop = execFileSync('losetup', ['-f', '--show', join(dir, 'backing')], { encoding: 'utf8' }).trim();
    try {
      const boot = sourceOf(root, 'v6-merge3');
      const { status } = run('--block', '-B', boot, '-D', join(root, 'blobs'), '-O', loop);
      expect(status).toBe(0);
      expect(readFileSync(loop).equals(bytes)).toBe(true);
    } finally {
      execFileSync('losetup', ['-d', loop]);
    }
  });
});

describe('what cannot be exported', () => {
  test('an image of v5', () => {
    const boot = sourceOf(FIXTURES, 'v5-merge3');
    const { status, stderr } = run('--block', '-B', boot, '-D', join(FIXTURES, 'blobs'), '-O', disk);
    expect(status).toBe(1);
    expect(stderr).toContain(`${boot}: RAFSv5 image is not supported`);
    expect(readdirSync(dir)).toEqual([]);
  });

  test('damaged blobs: the file that was there stays, and nothing is beside it', () => {
    const blobs = copyBlobs(1);
    writeFileSync(disk, 'precious');
    const boot = sourceOf(FIXTURES, 'v6-merge3');
    const { status, stderr } = run('--block', '-B', boot, '-D', blobs, '-O', disk);
    expect(status).toBe(1);
    expect(stderr).toMatch(/^nydus-image: blob [0-9a-f]{64} chunk \d+: /);
    expect(readFileSync(disk, 'utf8')).toBe('precious');
    expect(readdirSync(dir).sort()).toEqual(['blobs', 'disk']);
  });

  test('blobs that are not there, before anything is written', () => {
    const boot = sourceOf(FIXTURES, 'v6-merge3');
    expect(run('--block', '-B', boot, '-D', '.', '-O', disk)).toMatchObject({ status: 1 });
    expect(readdirSync(dir)).toEqual([]);
  });

  test('a blob placed over the bootstrap or over another', () => {
    const bytes = readFileSync(sourceOf(FIXTURES, 'v6-merge3'));
    const device = (i: number): number => 1408 + i * 128 + 68;
    const blobs = join(FIXTURES, 'blobs');
    for (const [i, address, fault] of [
      [0, 0, 'mapped block address for blob [0-9a-f]{64} is zero'],
      [0, 2, 'blob 0 begins at byte 8192, before the end of what precedes it'],
      [1, 128, 'blob [01] begins at byte 524288, before the end of what precedes it'],
      [2, 0xffff_fff0, 'at most 4294967294'],
    ] as const) {
      const damaged = Buffer.from(bytes);
      damaged.writeUInt32LE(address, device(i));
      writeFileSync(join(dir, 'boot'), damaged);
      const { status, stderr } = run('--block', '-B', 'boot', '-D', blobs, '-O', disk);
      expect(status).toBe(1);
      expect(stderr).toMatch(new RegExp(fault));
      expect(existsSync(disk)).toBe(false);
    }
  });

  test.each([
    [[], 2, "required option '--block' not specified"],
    [['--block', '-B', 'b'], 2, "required option '-D, --localfs-dir <dir>' not specified"],
    [['--block', '-D', 'd'], 2, "required option '-B, --bootstrap <file>' not specified"],
    [['--block', '-B', 'b', '-D', 'd', '-C', 'c'], 2, 'cannot be used with'],
    [['--block', '-C', 'c'], 2, "required option '-O, --output <file>' not specified"],
    [['--block', '-O', 'o'], 1, 'both option `-C/--config` and `-D/--localfs-dir` are missing'],
    [['--block', '-B', 'b', '-D', 'd', '--threads', '0'], 2, 'invalid thread number 0'],
    [['--block', '-B', 'b', '-D', 'd', '--threads', 'x'], 2, 'invalid thread number configuration: x'],
    [['--block', '-C', 'c', '-O', 'o'], 1, 'failed to parse configuration information'],
    [['--block', '-B', 'b', '-D', 'd'], 1, 'b: ENOENT'],
  ])('%j is refused with exit code %i', (args, code, message) => {
    const { status, stderr } = run(...args);
    expect(status).toBe(code);
    expect(stderr).toContain(message);
    expect(readdirSync(dir)).toEqual([]);
  });
});

/** Copies of all blobs, with `change` added to the first byte of each. */
function copyBlobs(change: number): string {
  const blobs = join(dir, 'blobs');
  mkdirSync(blobs);
  for (const name of readdirSync(join(FIXTURES, 'blobs'))) {
    const bytes = readFileSync(join(FIXTURES, 'blobs', name));
    bytes[0] = bytes[0]! + change;
    writeFileSync(join(blobs, name), bytes);
  }
  return blobs;
}

function countZeroBlocks(bytes: Buffer): number {
  const zeros = Buffer.alloc(4096);
  let count = 0;
  for (let at = 0; at < bytes.length; at += 4096) if (bytes.subarray(at, at + 4096).equals(zeros)) count++;
  return count;
}
