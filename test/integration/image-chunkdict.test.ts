/**
 * `nydus-image chunkdict generate` over images built here: its database, its dictionary, and what is built with that.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openBootstrap } from '../../src/rafs/open-bootstrap.ts';
import { BlobFeature } from '../../src/wire/rafs/flags.ts';
import { addon } from '../support/addon.ts';
import { ConnectedGuest } from '../support/connected-guest.ts';
import type { FuseClient } from '../support/fuse-client.ts';
import { Nydusd } from '../support/nydusd.ts';
import { FIXTURES } from '../support/rafs-fixtures.ts';
import { runImage } from '../support/rewritten.ts';
import { walkTree } from '../support/tree.ts';

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'image-chunkdict-'));
  for (const [app, versions] of [
    ['redis', 5],
    ['nginx', 4],
    ['solo', 1],
  ] as const)
    for (let version = 0; version < versions; version++)
      writeTree(join(dir, 'trees', `${app}:1.0.${version}`), app, version);
  for (const fsVersion of ['5', '6'])
    for (const name of NAMES) build(fsVersion, name, bootOf(fsVersion, name));
}, 60_000);
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const NAMES = [0, 1, 2, 3]
  .map((v) => `nginx:1.0.${v}`)
  .concat(
    [0, 1, 2, 3, 4].map((v) => `redis:1.0.${v}`),
    'solo:1.0.0',
  );

function noise(seed: string, size: number): Buffer {
  const parts: Buffer[] = [];
  for (let i = 0; i * 32 < size; i++) parts.push(createHash('sha256').update(`${seed} ${i}`).digest());
  return Buffer.concat(parts).subarray(0, size);
}

/** Some files are the same in all versions, others in every second, third and fourth, one is new. */
function writeTree(root: string, app: string, version: number): void {
  const put = (path: string, bytes: Buffer): void => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), bytes);
  };
  put('bin/base', noise(`${app} base`, 9000));
  put('bin/large', noise(`${app} large`, 70_000));
  put('lib/common', noise('common', 12_345));
  for (let k = 0; k < 4; k++)
    put(`lib/l${k}`, noise(`${app} ${k} ${Math.floor(version / (k + 1))}`, 5000 + 1000 * k));
  put(`new${version}`, noise(`${app} new ${version}`, 3000));
  put('tiny', Buffer.from('tiny'));
}

function bootOf(fsVersion: string, name: string): string {
  return join(dir, `v${fsVersion}`, name, 'image.boot');
}

function build(
  fsVersion: string,
  name: string,
  boot: string,
  more: readonly string[] = [],
): readonly string[] {
  mkdirSync(dirname(boot), { recursive: true });
  const args = [
    '-v',
    fsVersion,
    '--compressor',
    'none',
    '--chunk-size',
    '0x4000',
    '-D',
    join(dir, `blobs${fsVersion}`),
  ];
  const json = `${boot}.json`;
  const run = runImage(['create', ...args, ...more, '-B', boot, '-J', json, join(dir, 'trees', name)]);
  expect(run).toMatchObject({ code: 0, stderr: '' });
  return (JSON.parse(readFileSync(json, 'utf8')) as { blobs: string[] }).blobs;
}

function generate(
  fsVersion: string,
  names: readonly string[],
  database: string,
): { boot: string; blobs: readonly string[] } {
  const boot = join(dir, `${database}.boot`);
  const json = `${boot}.json`;
  const args = ['--database', `sqlite://${join(dir, database)}`, '-B', boot, '-J', json];
  const run = runImage(['chunkdict', 'generate', ...args, ...names.map((name) => bootOf(fsVersion, name))]);
  expect(run).toMatchObject({ code: 0, stderr: '' });
  const found = JSON.parse(readFileSync(json, 'utf8')) as {
    blobs: string[];
    fs_version: string;
    bootstrap: string;
  };
  expect(found).toMatchObject({ fs_version: fsVersion, compressor: 'none', bootstrap: boot });
  return { boot, blobs: found.blobs };
}

function rowsOf(fsVersion: string, boot: string): ReturnType<typeof openBootstrap>['blobs'] {
  return openBootstrap(new Uint8Array(readFileSync(boot)).buffer, `v${fsVersion}`).blobs;
}

async function mount(daemon: Nydusd, fsVersion: string, boot: string, mountpoint: string): Promise<void> {
  const backend = { type: 'localfs', config: { dir: join(dir, `blobs${fsVersion}`) } };
  const config = { device: { id: mountpoint, backend, cache: {} }, mode: 'direct', digest_validate: true };
  const body = { fs_type: 'rafs', source: boot, config: JSON.stringify(config) };
  const { status, text } = await daemon.call(
    'POST',
    `/api/v1/mount?mountpoint=${mountpoint}`,
    JSON.stringify(body),
  );
  expect({ status, text }).toEqual({ status: 204, text: '' });
}

async function treeAt(client: FuseClient, mountpoint: string): Promise<readonly string[]> {
  return walkTree(client, { root: await client.walk(mountpoint) });
}

/**
 * SHA-256 of the rows of both tables and blobs of the dictionary which nydus-image 2.4.4 made of the same images, by
 * hand.
 */
const ORIGINAL: Readonly<Record<string, { readonly database: string; readonly blobs: readonly string[] }>> = {
  5: {
    database: '5ba3b4bde6f42c0583961c6e849598496fc4a839443557d2954816a5d97cd19f',
    blobs: [
      '716d3afbab3b881a201e176a37efe979b00ca2f05e85b6a906ef813b491cabee',
      '8a8d933f50229108bdaccd6e96fc99c3655316364bdb1e4ef43d128cb163c825',
      'a9c8dabeb9bedefa3ba5563a51e0ec118e1eda6b3ff36f2fbdd897d3a6c4c71a',
    ],
  },
  6: {
    database: 'f27b334d06569349a775ed59981e540dff6420014ce88d6191e6738d63e89fdd',
    blobs: [
      '154eb137524b762e30425a4287d392aa6b597a54f6a2e93ba25f496b98fff727',
      '34c9e025c46fd071f6da18a20f9cadb0c843340dd25d3d0ef5be48f780d43b7d',
      'e37edba57f74293734d3844597a061dbe9f741ecd5ec88d4bc8f8e3cbde06b1f',
    ],
  },
};

describe.each(['5', '6'])('v%s', (fsVersion) => {
  test('database and blobs are those of the original', () => {
    const { blobs } = generate(fsVersion, NAMES, `all${fsVersion}`);
    const database = new DatabaseSync(join(dir, `all${fsVersion}`));
    const hash = createHash('sha256');
    for (const table of ['chunk', 'blob'])
      for (const row of database.prepare(`SELECT * FROM ${table} ORDER BY id`).all())
        hash.update(JSON.stringify(row));
    database.close();
    expect({ database: hash.digest('hex'), blobs }).toEqual(ORIGINAL[fsVersion]);
  });

  test('the dictionary has all chunks of its blobs, as the images that they are from; check accepts it', () => {
    const { boot, blobs } = generate(fsVersion, NAMES, `rows${fsVersion}`);
    expect(blobs.length).toBeGreaterThan(0);
    const before = NAMES.flatMap((name) => rowsOf(fsVersion, bootOf(fsVersion, name)));
    for (const { index: _, ...row } of rowsOf(fsVersion, boot)) {
      const { index: __, ...own } = before.find(({ id }) => id === row.id)!;
      expect(row).toEqual({ ...own, features: own.features | BlobFeature.chunkDictGenerated });
    }
    expect(runImage(['check', boot])).toMatchObject({ code: 0, stderr: '' });
  });

  test('blobs that only the database knows are described the same way', () => {
    const { boot } = generate(fsVersion, NAMES, `once${fsVersion}`);
    const twice = `twice${fsVersion}`;
    generate(fsVersion, NAMES.slice(0, -1), twice);
    const { boot: second } = generate(fsVersion, NAMES.slice(-1), twice);
    expect(readFileSync(second).equals(readFileSync(boot))).toBe(true);
  });

  test('an image built with the dictionary shares its blobs, and shows what one without shows', async () => {
    const { boot: dictionary, blobs } = generate(fsVersion, NAMES, `used${fsVersion}`);
    const name = 'redis:1.0.4';
    const boot = join(dir, `shared${fsVersion}.boot`);
    const ids = build(fsVersion, name, boot, ['--chunk-dict', `bootstrap=${dictionary}`]);
    expect(ids.filter((id) => blobs.includes(id)).length).toBeGreaterThan(0);
    await using daemon = new Nydusd();
    await daemon.ready();
    await mount(daemon, fsVersion, boot, '/shared');
    await mount(daemon, fsVersion, bootOf(fsVersion, name), '/plain');
    await mount(daemon, fsVersion, dictionary, '/dictionary');
    using guest = await ConnectedGuest.connect(addon, daemon.sock);
    const { client } = guest;
    const [shared, plain] = [await treeAt(client, '/shared'), await treeAt(client, '/plain')];
    expect(shared).toEqual(plain);
    expect(shared.length).toBeGreaterThan(10);
    expect(await client.walk('/dictionary/chunkdict')).toBeGreaterThan(0);
    expect(daemon.stderr).not.toContain('"level":"error"');
  });

  test('compact takes chunks from the dictionary', () => {
    const { blobs } = generate(fsVersion, NAMES, `compact${fsVersion}`);
    const dictionary = join(dir, `compact${fsVersion}.boot`);
    const out = join(dir, `compacted${fsVersion}.boot`);
    const boot = bootOf(fsVersion, 'redis:1.0.4');
    const args = ['-B', boot, '-D', join(dir, `blobs${fsVersion}`), '-O', out, '--min-used-ratio', '99'];
    expect(runImage(['compact', ...args, '--chunk-dict', `bootstrap=${dictionary}`]).code).toBe(0);
    expect(rowsOf(fsVersion, out).filter(({ id }) => blobs.includes(id)).length).toBeGreaterThan(0);
  });
});

/**
 * What the original made of the same images: the file has a slash in its name, rows lack sizes, chunks are said to have
 * 1 MiB.
 */
describe.each(['5', '6'])('a v%s dictionary of the original', (fsVersion) => {
  test('gives its chunks to a build, which can be read', async () => {
    const dictionary = join(FIXTURES, `chunkdict/v${fsVersion}.boot`);
    const name = 'redis:1.0.4';
    const boot = join(dir, `original${fsVersion}.boot`);
    const more = ['--chunk-size', '0x100000', '--chunk-dict', `bootstrap=${dictionary}`];
    const ids = build(fsVersion, name, boot, more);
    expect(ids.filter((id) => ORIGINAL[fsVersion]!.blobs.includes(id)).length).toBeGreaterThan(0);
    await using daemon = new Nydusd();
    await daemon.ready();
    await mount(daemon, fsVersion, boot, '/shared');
    await mount(daemon, fsVersion, bootOf(fsVersion, name), '/plain');
    using guest = await ConnectedGuest.connect(addon, daemon.sock);
    expect(await treeAt(guest.client, '/shared')).toEqual(await treeAt(guest.client, '/plain'));
    expect(daemon.stderr).not.toContain('"level":"error"');
  });
});

describe('nydus-image chunkdict generate', () => {
  const database = (): string => join(dir, 'never.db');
  const url = (): string => `sqlite://${database()}`;

  test.each([
    { what: 'no image', args: [], code: 2, stderr: /source/ },
    { what: 'no place for the dictionary', args: ['x'], code: 1, stderr: /--bootstrap or --blob-dir/ },
    {
      what: 'a directory that is not there',
      args: ['-D', '/absent', 'x'],
      code: 1,
      stderr: /\/absent: no such/,
    },
    {
      what: 'an image outside of a directory name:tag',
      args: ['-B', '/tmp/d', '/tmp/x'],
      code: 1,
      stderr: /name:tag/,
    },
    { what: 'an image that is not there', args: ['-B', '/tmp/d', 'a:b/x'], code: 1, stderr: /a:b\/x/ },
  ])('$what: exit $code, and nothing is written', ({ args, code, stderr }) => {
    const run = runImage(['chunkdict', 'generate', '--database', url(), ...args]);
    expect(run.stderr).toMatch(stderr);
    expect(run.code).toBe(code);
    expect(existsSync(database())).toBe(false);
  });

  test('images of both versions do not go together, and the database is as it was', () => {
    const names = [bootOf('5', 'solo:1.0.0'), bootOf('6', 'solo:1.0.0')];
    const run = runImage([
      'chunkdict',
      'generate',
      '--database',
      url(),
      '-B',
      join(dir, 'never.boot'),
      ...names,
    ]);
    expect(run.code).toBe(1);
    expect(run.stderr).toMatch(/--fs-version is 6, that of .* is 5/);
    expect(existsSync(database())).toBe(false);
    expect(existsSync(join(dir, 'never.boot'))).toBe(false);
  });

  test('a dictionary that cannot be written leaves the database as it was', () => {
    const run = runImage([
      'chunkdict',
      'generate',
      '--database',
      url(),
      '-B',
      '/absent/d',
      bootOf('6', 'solo:1.0.0'),
    ]);
    expect(run.code).toBe(1);
    expect(run.stderr).toContain('/absent/d');
    expect(existsSync(database())).toBe(false);
  });

  test('without --bootstrap it is named by its digest', () => {
    const out = mkdtempSync(join(dir, 'out-'));
    const run = runImage([
      'chunkdict',
      'generate',
      '--database',
      'sqlite://:memory:',
      '-D',
      out,
      bootOf('6', 'solo:1.0.0'),
    ]);
    expect(run.code).toBe(0);
    const path = /bootstrap {2}(\S+)/.exec(run.stdout)![1]!;
    expect(createHash('sha256').update(readFileSync(path)).digest('hex')).toBe(path.slice(out.length + 1));
  });
});
