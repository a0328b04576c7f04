/** Builds that fail midway: what was being written must not be found under its name. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';

const program = join(import.meta.dirname, '../../bin/nydus-image');
const LARGE_BYTES = 16 * 2 ** 30;
let dir: string;
/** A tree that takes long. */
let large: string;

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'image-failures-'));
  large = join(dir, 'large');
  mkdirSync(large);
  execFileSync('truncate', ['-s', String(LARGE_BYTES), join(large, 'a')]);
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** Starts a build and waits until it writes its blob. */
async function startBuild(
  name: string,
  args: readonly string[],
): Promise<{ out: string; child: ChildProcess }> {
  const out = join(dir, name);
  const child = spawn(program, ['create', ...args, '-D', out, large], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  while (child.exitCode === null && (!existsSync(out) || readdirSync(out).length === 0)) await sleep(5);
  return { out, child };
}

async function endOf(child: ChildProcess): Promise<{ code: number | null; stderr: string }> {
  let stderr = '';
  child.stderr!.on('data', (bytes) => {
    stderr += String(bytes);
  });
  if (child.exitCode === null) await once(child, 'close');
  return { code: child.exitCode, stderr };
}

test.each([
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
] as const)('%s ends the build with %i and leaves nothing', async (signal, code) => {
  const { out, child } = await startBuild(signal, ['--blob-inline-meta']);
  child.kill(signal);
  expect(await endOf(child)).toMatchObject({ code, stderr: expect.stringContaining('interrupted') });
  expect(readdirSync(out)).toEqual([]);
});

test('a pipe that nobody reads does not keep a signal waiting', async () => {
  const pipe = join(dir, 'unread');
  execFileSync('mkfifo', [pipe]);
  const args = ['create', '-b', pipe, '-B', `${pipe}.boot`, incompressible()];
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const ended = endOf(child);
  // Long enough for the program to have come to the pipe.
  await sleep(1500);
  expect(child.exitCode).toBeNull();
  child.kill('SIGTERM');
  expect(await ended).toMatchObject({ code: 143, stderr: expect.stringContaining('interrupted') });
  expect(existsSync(`${pipe}.boot`)).toBe(false);
}, 20_000);

test('a pipe whose reader goes ends the build and is named', async () => {
  const pipe = join(dir, 'abandoned');
  execFileSync('mkfifo', [pipe]);
  const args = ['create', '-b', pipe, '-B', `${pipe}.boot`, incompressible()];
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const ended = endOf(child);
  execFileSync('head', ['-c', '10', pipe], { stdio: 'ignore' });
  expect(await ended).toMatchObject({ code: 1, stderr: expect.stringContaining(`${pipe}: EPIPE`) });
  expect(existsSync(`${pipe}.boot`)).toBe(false);
}, 20_000);

test('a killed build leaves no file under a final name', async () => {
  const { out, child } = await startBuild('killed', ['-B', join(dir, 'killed.boot')]);
  child.kill('SIGKILL');
  await endOf(child);
  expect(readdirSync(out).filter((name) => !/^\..*\.tmp$/.test(name))).toEqual([]);
  expect(existsSync(join(dir, 'killed.boot'))).toBe(false);
});

test('a file that shrinks while it is read ends the build and is named', async () => {
  const { out, child } = await startBuild('shrinks', ['-B', join(dir, 'shrinks.boot')]);
  truncateSync(join(large, 'a'), 5000);
  const { code, stderr } = await endOf(child);
  truncateSync(join(large, 'a'), LARGE_BYTES);
  expect(code).toBe(1);
  expect(stderr).toContain(`${large}/a: shrank from ${LARGE_BYTES} to 5000 bytes`);
  expect([readdirSync(out), existsSync(join(dir, 'shrinks.boot'))]).toEqual([[], false]);
});

/** A tree whose blob is larger than the disk. */
function incompressible(): string {
  const tree = join(dir, 'incompressible');
  if (existsSync(tree)) return tree;
  mkdirSync(tree);
  execFileSync('sh', ['-c', `head -c 3000000 /dev/urandom > ${join(tree, 'noise')}`]);
  return tree;
}

test('a full device ends the build and is named', () => {
  const boot = join(dir, 'full.boot');
  const run = spawnSync(program, ['create', '-b', '/dev/full', '-B', boot, incompressible()], {
    encoding: 'utf8',
  });
  expect(run).toMatchObject({ status: 1, stderr: expect.stringMatching(/\/dev\/full: ENOSPC/) });
  expect(existsSync(boot)).toBe(false);
});

/** A small file system; null where this process may not mount one. */
function smallDisk(name: string): string | null {
  const path = join(dir, name);
  mkdirSync(path);
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'none', path], { stdio: 'ignore' });
  return mounted.status === 0 ? path : null;
}

test.for([
  ['blob', []],
  ['inline', ['--blob-inline-meta']],
  ['cache', []],
] as const)('a full disk ends the build and leaves nothing: %s', ([kind, more], { skip }) => {
  const disk = smallDisk(`disk-${kind}`);
  if (disk === null) skip('needs the right to mount a tmpfs');
  try {
    const boot = kind === 'inline' ? [] : ['-B', join(dir, `${kind}.boot`)];
    const place = kind === 'cache' ? ['--blob-cache-dir', disk!] : ['-D', disk!];
    const args = ['create', ...more, ...boot, ...place, incompressible()];
    const run = spawnSync(program, args, { encoding: 'utf8' });
    expect(run).toMatchObject({ status: 1, stderr: expect.stringMatching(/disk-[a-z]+: ENOSPC/) });
    expect([readdirSync(disk!), existsSync(join(dir, `${kind}.boot`))]).toEqual([[], false]);
  } finally {
    execFileSync('umount', [disk!]);
  }
});

test('a bootstrap for which there is no room takes its blob with it', ({ skip }) => {
  const disk = smallDisk('disk-bootstrap');
  if (disk === null) skip('needs the right to mount a tmpfs');
  const tree = join(dir, 'names');
  mkdirSync(tree);
  for (let i = 0; i < 6000; i++) writeFileSync(join(tree, `${'n'.repeat(200)}${i}`), '');
  writeFileSync(join(tree, 'data'), 'x');
  try {
    const out = join(dir, 'names-blobs');
    const args = ['create', '-D', out, '-B', join(disk!, 'image.boot'), tree];
    const run = spawnSync(program, args, { encoding: 'utf8' });
    expect(run).toMatchObject({ status: 1, stderr: expect.stringMatching(/image\.boot: ENOSPC/) });
    expect([readdirSync(disk!), readdirSync(out)]).toEqual([[], []]);
  } finally {
    execFileSync('umount', [disk!]);
  }
});
