/** A nydusd process from its start to its end. */
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { configText, fixtures, Nydusd } from '../support/nydusd.ts';

const image = (name: string) => `${fixtures}/images/${name}/image.boot`;

function mountBody(daemon: Nydusd, name = 'v6-zstd-blake3'): string {
  const config = configText(join(daemon.directory, 'cache'));
  return JSON.stringify({ fs_type: 'rafs', source: image(name), config });
}

/** Long, because other tests may have both processors. */
const EXIT_TIMEOUT_MS = 10_000;

test.each([
  0, 20, 40, 60, 80, 120, 200, 400,
])('SIGTERM %i ms after the start ends it cleanly', async (delayMs) => {
  await using daemon = new Nydusd();
  // A process that has not installed its handler yet dies of the signal; it has said nothing and made no socket.
  await sleep(delayMs);
  daemon.child.kill('SIGTERM');
  const { code, signal } = await daemon.exit(EXIT_TIMEOUT_MS);
  if (signal === null) expect(code).toBe(0);
  else expect([signal, daemon.stderr]).toEqual(['SIGTERM', '']);
  expect([daemon.sock, daemon.apisock].filter(existsSync)).toEqual([]);
});

test('SIGTERM while images are being mounted ends it with 0', async () => {
  await using daemon = new Nydusd();
  await daemon.ready();
  const mounts = Array.from({ length: 20 }, (_, i) =>
    daemon.call('POST', `/api/v1/mount?mountpoint=/m${i}`, mountBody(daemon)).catch(() => null),
  );
  daemon.child.kill('SIGTERM');
  expect(await daemon.exit(EXIT_TIMEOUT_MS)).toEqual({ code: 0, signal: null });
  await Promise.all(mounts);
  expect([daemon.sock, daemon.apisock].filter(existsSync)).toEqual([]);
});

test('1,000 mounts and unmounts leave no descriptor behind', async () => {
  await using daemon = new Nydusd(['--log-level', 'warn']);
  await daemon.ready();
  const openFiles = () => readdirSync(`/proc/${daemon.child.pid}/fd`).length;
  const cycle = async (name: string) => {
    expect((await daemon.call('POST', '/api/v1/mount?mountpoint=/a/b', mountBody(daemon, name))).text).toBe(
      '',
    );
    expect((await daemon.call('DELETE', '/api/v1/mount?mountpoint=/a/b')).status).toBe(204);
  };
  await cycle('v6-zstd-blake3');
  const before = openFiles();
  for (let i = 0; i < 500; i++) {
    await cycle('v6-zstd-blake3');
    await cycle('v5-zstd-sha256');
  }
  expect(openFiles()).toBeLessThanOrEqual(before + 3);
});

test('an image that cannot be mounted at start ends the process with 1 and a reason', async () => {
  await using first = new Nydusd(['--bootstrap', image('v6-dict'), '--localfs-dir', `${fixtures}/nothing`]);
  expect((await first.exit(EXIT_TIMEOUT_MS)).code).toBe(1);
  expect(first.stderr).toContain('nothing');

  await using second = new Nydusd(['-m', '/deep/er', '-B', image('v5-zstd-sha256'), '-C', '/dev/stdin']);
  expect((await second.exit(EXIT_TIMEOUT_MS)).code).toBe(1);
});

test('PUT without a query mounts as in 2020, over what is there', async () => {
  await using daemon = new Nydusd();
  await daemon.ready();
  const config = join(daemon.directory, 'c.json');
  writeFileSync(config, configText(join(daemon.directory, 'cache')));
  const mount = (name: string, ops?: string) =>
    daemon.call(
      'PUT',
      '/api/v1/mount',
      JSON.stringify({ mountpoint: '/foo/bar', fstype: 'rafs', source: image(name), config, ops }),
    );
  expect((await mount('v6-zstd-blake3')).text).toBe('');
  expect((await mount('v5-zstd-sha256')).text).toBe('');
  const { text } = await daemon.call('GET', '/api/v1/daemon/backend?mountpoint=/foo/bar');
  expect(JSON.parse(text)).toMatchObject({ version: 1280 });
  expect((await mount('v5-zstd-sha256', 'umount')).status).toBe(204);
  expect((await daemon.call('GET', '/api/v1/daemon')).text).toContain('"backend_collection":{}');
});

test('the OpenAPI document and the Prometheus page are served', async () => {
  await using daemon = new Nydusd();
  await daemon.ready();
  const document = JSON.parse((await daemon.call('GET', '/api/v1/openapi.json')).text);
  expect(
    document.paths['/api/v1/mount'].post.requestBody.content['application/json'].schema.required,
  ).toEqual(['source', 'config']);
  await daemon.call('POST', '/api/v1/mount?mountpoint=/m', mountBody(daemon));
  expect((await daemon.call('GET', '/metrics')).text).toContain('nydusd_read_bytes_total{mountpoint="/m"} 0');
});
