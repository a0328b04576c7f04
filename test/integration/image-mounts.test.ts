/** Images of every format that create knows, served by our daemon and compared with their source. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { addon } from '../support/addon.ts';
import { ConnectedGuest } from '../support/connected-guest.ts';
import { sourcePath } from '../support/fixture-builds.ts';
import { differences } from '../support/images.ts';
import { Nydusd } from '../support/nydusd.ts';
import { FIXTURES } from '../support/rafs-fixtures.ts';

const program = join(import.meta.dirname, '../../bin/nydus-image');
const isRoot = process.getuid?.() === 0;

/** A build; `like` is the fixture whose manifest the mount must equal. */
interface Format {
  readonly name: string;
  readonly args: readonly string[];
  readonly source: string;
  readonly like: string;
}

const like = { '5': 'v5-none-blake3', '6': 'v6-zstd-blake3' } as const;
const compressors = ['none', 'lz4_block', 'zstd'];
const bothDigesters = ['blake3', 'sha256'];
/** What differs between formats beside compressor and digester. */
const variants: readonly { version: '5' | '6'; args: readonly string[]; digesters?: readonly string[] }[] = [
  { version: '5', args: [] },
  { version: '5', args: ['--blob-inline-meta'] },
  { version: '5', args: ['--aligned-chunk', '--chunk-size', '0x1000'], digesters: ['blake3'] },
  { version: '6', args: [] },
  { version: '6', args: ['--blob-inline-meta'] },
  { version: '6', args: ['--features', 'blob-toc'], digesters: ['sha256'] },
  { version: '6', args: ['--features', 'blob-toc', '--blob-inline-meta'], digesters: ['blake3'] },
  { version: '6', args: ['--batch-size', '0x10000'] },
  { version: '6', args: ['--batch-size', '0x1000', '--chunk-size', '0x1000', '--blob-inline-meta'] },
  {
    version: '6',
    args: ['--encrypt', '--batch-size', '0x100000', '--features', 'blob-toc'],
    digesters: ['blake3'],
  },
];
/**
 * All combinations take minutes; without NYDUS_FIXTURES each variant is built once, with codecs and digesters in turn.
 */
const all = process.env.NYDUS_FIXTURES !== undefined;
const directories: readonly Format[] = variants.flatMap(({ version, args, digesters = bothDigesters }, i) =>
  (all ? compressors : [compressors[i % 3]!]).flatMap((compressor) =>
    (all ? digesters : [digesters[i % digesters.length]!]).map((digester) => ({
      name: `v${version} ${compressor} ${digester} ${args.join(' ')}`,
      args: ['-v', version, '--compressor', compressor, '--digester', digester, ...args],
      source: 'small',
      like: like[version],
    })),
  ),
);
const tars: readonly Format[] = [
  { type: 'tar-rafs', source: 'plain.tar' },
  { type: 'targz-rafs', source: 'plain.tar.gz' },
].flatMap(({ type, source }) =>
  [[], ['--batch-size', '0x10000'], ['--encrypt'], ['--features', 'blob-toc', '--blob-inline-meta']].map(
    (args) => ({
      name: `${type} ${args.join(' ')}`.trim(),
      args: ['-t', type, ...args],
      source,
      like: 'v6-targz-ref',
    }),
  ),
);

let work: string;
beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), 'image-mounts-'));
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

/** Builds into directories of its own; the path of the bootstrap. */
function build({ args, source }: Format, id: string): { bootstrap: string; blobDir: string } {
  const blobDir = join(work, `${id}.blobs`);
  const inline = args.includes('--blob-inline-meta');
  const separate = join(work, `${id}.boot`);
  const places = ['-D', blobDir, ...(inline ? [] : ['-B', separate])];
  const tree = sourcePath(FIXTURES, source, work);
  const run = spawnSync(program, ['create', '-l', 'warn', ...args, ...places, tree], { encoding: 'utf8' });
  expect([run.status, run.stderr], args.join(' ')).toEqual([0, '']);
  return { bootstrap: inline ? join(blobDir, readdirSync(blobDir)[0]!) : separate, blobDir };
}

describe.skipIf(!isRoot)('mounted images (skipped unless root, who can unpack their trees)', () => {
  test.each([
    { what: 'directories', formats: directories },
    { what: 'tars', formats: tars },
  ])('$what: each format shows its source', async ({ what, formats }) => {
    await using daemon = new Nydusd(['--log-level', 'warn']);
    await daemon.ready();
    for (const [i, format] of formats.entries()) {
      const { bootstrap, blobDir } = build(format, `${what}-${i}`);
      const cache = { type: 'blobcache', config: { work_dir: join(work, `${what}-${i}.cache`) } };
      const backend = { type: 'localfs', config: { dir: blobDir } };
      const config = {
        device: { backend, cache },
        mode: 'direct',
        digest_validate: true,
        enable_xattr: true,
      };
      const body = { fs_type: 'rafs', source: bootstrap, config: JSON.stringify(config) };
      const { text } = await daemon.call('POST', `/api/v1/mount?mountpoint=/${i}`, JSON.stringify(body));
      expect(text, format.name).toBe('');
    }
    using guest = await ConnectedGuest.connect(addon, daemon.sock);
    for (const [i, format] of formats.entries())
      expect(await differences(guest.client, FIXTURES, format.like, {}, `/${i}`), format.name).toEqual([]);
    expect(daemon.stderr).not.toContain('"level":"error"');
  }, 300_000);
});
