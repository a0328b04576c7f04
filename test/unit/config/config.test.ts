import { expect, test } from 'vitest';
import { loadConfig, localfsConfig, parseConfig } from '../../../src/config/load.ts';
import { notActiveYet, notSupportedYet } from '../../../src/config/supported.ts';
import { withoutSecrets } from '../../../src/config/without-secrets.ts';

const v1 = (more = '', backend = '{"type": "localfs", "config": {"dir": "/blobs"}}', cache = '') =>
  `{"device": {"backend": ${backend}${cache}}, "mode": "direct"${more}}`;

test('version 1 gets the defaults of upstream', async () => {
  const config = await parseConfig(
    v1('', undefined, ', "cache": {"type": "blobcache", "config": {"work_dir": "/cache"}}'),
  );
  expect(config).toEqual({
    version: 2,
    id: '',
    backend: {
      type: 'localfs',
      localdisk: null,
      localfs: { blob_file: '', dir: '/blobs', alt_dirs: [] },
      oss: null,
      s3: null,
      registry: null,
      'http-proxy': null,
    },
    external_backends: [],
    cache: {
      type: 'blobcache',
      compressed: false,
      validate: false,
      prefetch: {
        enable: false,
        threads: 0,
        batch_size: 0,
        bandwidth_limit: 0,
        prefetch_all: true,
        stream_prefetch: false,
      },
      filecache: {
        work_dir: '/cache',
        disable_indexed_map: false,
        enable_encryption: false,
        enable_convergent_encryption: false,
        encryption_key: '',
      },
      fscache: null,
    },
    rafs: {
      mode: 'direct',
      batch_size: 1 << 20,
      validate: false,
      enable_xattr: false,
      iostats_files: false,
      access_pattern: false,
      latest_read_files: false,
      prefetch: {
        enable: false,
        threads: 0,
        batch_size: 0,
        bandwidth_limit: 0,
        prefetch_all: false,
        stream_prefetch: false,
      },
    },
    overlay: null,
  });
});

test('comments outside strings, nulls and unknown fields are tolerated', async () => {
  const config = await parseConfig(`// head
    {"device": {"backend": {"type": "localfs", "config": {"dir": "//x/*y*/", "readahead": true}} /* c */},
     "mode": "direct", "enable_xattr": null, // 128KB
     "fs_prefetch": null, "color": "red"}`);
  expect(config.backend.localfs?.dir).toBe('//x/*y*/');
  expect(config.rafs.enable_xattr).toBe(false);
});

test('the flat proxy keys of 2020 become the proxy object', async () => {
  const registry = `{"type": "registry", "config": {"host": "h", "repo": "r", "proxy": "http://p",
    "proxy_fallback": false, "proxy_ping_url": "http://p/ping", "proxy_check_interval": 7}}`;
  const { proxy } = (await parseConfig(v1('', registry))).backend.registry!;
  expect(proxy).toMatchObject({
    url: 'http://p',
    fallback: false,
    ping_url: 'http://p/ping',
    check_interval: 7,
  });
});

test('fs_prefetch present means prefetch_all, and an enabled one reaches the cache', async () => {
  const config = await parseConfig(v1(', "fs_prefetch": {"enable": true, "threads_count": 3}'));
  expect(config.rafs.prefetch).toMatchObject({ enable: true, threads: 3, prefetch_all: true });
  expect(config.cache.prefetch).toEqual(config.rafs.prefetch);
  expect(notActiveYet(config, [])).toContain('not active yet');
});

test('version 2 is read as TOML and as JSON', async () => {
  const toml = `version = 2
id = "me"
[backend]
type = "localfs"
[backend.localfs]
dir = "/blobs"
[cache]
type = "filecache"
[cache.filecache]
work_dir = "/cache"
[rafs]
validate = true`;
  const json = JSON.stringify({
    version: 2,
    id: 'me',
    backend: { type: 'localfs', localfs: { dir: '/blobs' } },
    cache: { type: 'filecache', filecache: { work_dir: '/cache' } },
    rafs: { validate: true },
  });
  const config = await parseConfig(toml);
  expect(config.cache.filecache?.work_dir).toBe('/cache');
  expect(config.rafs).toMatchObject({ mode: 'direct', validate: true });
  expect(await parseConfig(json)).toEqual(config);
});

test.each([
  ['{', 'not valid JSON'],
  ['[]', 'neither JSON'],
  ['', 'the configuration must be an object|device'],
  ['{}', 'device: '],
  [v1().replace('"direct"', '"fast"'), 'mode: '],
  [v1('', '{"type": "ftp", "config": {}}'), 'device\\.backend\\.type: '],
  [v1('', '{"type": "localfs", "config": {}}'), 'device\\.backend\\.config: needs `dir`'],
  [v1('', '{"type": "registry", "config": {"host": "h"}}'), 'device\\.backend\\.config\\.repo: '],
  [v1('', '{"type": "http-proxy", "config": {"addr": "http://a"}}'), 'device\\.backend\\.type: '],
  [v1(', "amplify_io": 268435457'), 'amplify_io: must be at most 268435456'],
  [
    v1(', "fs_prefetch": {"enable": true, "threads_count": 0}'),
    'fs_prefetch\\.threads_count: must be 1 to 1024',
  ],
  [
    v1('', undefined, ', "cache": {"type": "blobcache", "config": {"work_dir": 5}}'),
    'device\\.cache\\.config\\.work_dir: ',
  ],
  [v1('', undefined, ', "cache": {"type": "ramdisk"}'), 'device\\.cache\\.type: '],
  ['version = 3', 'version: '],
  ['version = 2', 'backend: is missing'],
  ['version = 2\n[backend]\ntype="localfs"', 'backend\\.localfs: needs `dir`'],
  [
    'version = 2\n[backend]\ntype="localfs"\n[backend.localfs]\ndir="/b"\n[cache]\ntype="blobcache"',
    'cache\\.filecache: is required',
  ],
])('refuses %s and names field and rule', async (text, message) => {
  await expect(parseConfig(text)).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: expect.stringMatching(new RegExp(message)) as string,
  });
});

test('a file that is missing or too large is refused by name', async () => {
  await expect(loadConfig('/no/such/file')).rejects.toThrow('config file /no/such/file: ENOENT');
  await expect(loadConfig('/dev/zero')).rejects.toThrow('config file /dev/zero: is larger than');
});

test('what later versions bring is parsed, then refused by its field', async () => {
  const registry = '{"type": "registry", "config": {"host": "h", "repo": "r"}}';
  expect(notSupportedYet(await parseConfig(v1('', registry)))).toContain(
    'backend.type "registry" is not supported yet',
  );
  const fscache = ', "cache": {"type": "fscache", "config": {"work_dir": "/c"}}';
  expect(notSupportedYet(await parseConfig(v1('', undefined, fscache)))).toContain('cache.type "fscache"');
  const secret = ', "cache": {"type": "blobcache", "config": {"enable_encryption": true}}';
  expect(notSupportedYet(await parseConfig(v1('', undefined, secret)))).toContain('enable_encryption');
  expect(notSupportedYet(localfsConfig('/d'))).toBeNull();
});

test('secrets are not shown', async () => {
  const registry =
    '{"type": "registry", "config": {"host": "h", "repo": "r", "auth": "c2VjcmV0", "registry_token": "tok"}}';
  const config = await parseConfig(v1('', registry));
  expect(config.backend.registry?.auth).toBe('c2VjcmV0');
  expect(JSON.stringify(withoutSecrets(config))).not.toMatch(/c2VjcmV0|tok"/);
});
