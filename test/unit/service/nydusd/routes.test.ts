/** The bytes of answers, and which request calls what of the daemon. */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { listen } from '../../../../src/http/server.ts';
import type { Control, MountRequest } from '../../../../src/service/nydusd/control.ts';
import { nydusdApi } from '../../../../src/service/nydusd/routes.ts';

const directory = mkdtempSync(join(tmpdir(), 'nydus-routes-'));
const path = join(directory, 'api.sock');
let server: Awaited<ReturnType<typeof listen>>;
let called: unknown[];

const recorded = (name: string) => async (asked: MountRequest | string) => void called.push([name, asked]);

const control = {
  mount: recorded('mount'),
  mountOver: recorded('mountOver'),
  remount: recorded('remount'),
  unmount: recorded('unmount'),
  events: () => {
    throw new Error('a defect');
  },
} as Partial<Control> as Control;

beforeAll(async () => {
  server = await listen(
    nydusdApi(control, (error, what) => called.push([what, error])),
    { path },
  );
});
beforeEach(() => {
  called = [];
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
  rmSync(directory, { recursive: true });
});

async function raw(bytes: string): Promise<string> {
  const client = connect(path);
  // Who refuses a body closes before all of it has been written.
  client.on('error', () => {});
  client.write(bytes);
  let text = '';
  client.on('data', (chunk) => {
    text += String(chunk);
  });
  await once(client, 'close');
  return text;
}

function call(request: string, body = ''): Promise<string> {
  const length = body === '' ? '' : `Content-Length: ${Buffer.byteLength(body)}\r\n`;
  return raw(`${request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${length}\r\n${body}`);
}

const NO_CONTENT = 'HTTP/1.1 204 No Content\r\nServer: Nydus API\r\nConnection: close\r\n\r\n';

it('a refusal has the body of the original, and no date', async () => {
  expect(await call('GET /nowhere')).toBe(
    'HTTP/1.1 404 Not Found\r\nServer: Nydus API\r\nContent-Type: application/json\r\nContent-Length: 88\r\n' +
      'Connection: close\r\n\r\n' +
      '{"code":"UNDEFINED","message":"NoRoute — no route /nowhere; see /api/v1/openapi.json"}',
  );
  expect(await raw('\x00\x01garbage\r\n\r\n')).toBe(
    'HTTP/1.1 400 Bad Request\r\nServer: Nydus API\r\nConnection: close\r\nContent-Type: application/json\r\n' +
      'Content-Length: 105\r\n\r\n{"code":"UNDEFINED","message":' +
      '"BadRequest — not an HTTP request this server takes: HPE_INVALID_METHOD"}',
  );
  expect(await call('PUT /nowhere', 'x'.repeat((1 << 20) + 1))).toMatch(
    /^HTTP\/1\.1 413 Payload Too Large\r\nServer: Nydus API\r\nConnection: close\r\n.*"BadRequest — /s,
  );
});

it('a defect is reported and told as one', async () => {
  expect(await call('GET /api/v1/daemon/events')).toMatch(/^HTTP\/1\.1 500 .*"InternalError — /s);
  expect(called).toEqual([['GET /api/v1/daemon/events', new Error('a defect')]]);
});

it('requests of today have the mountpoint in the query', async () => {
  const image = '{"source":"/i","fs_type":"rafs","config":"{}"}';
  const asked = { mountpoint: '/p', fsType: 'rafs', source: '/i', config: '{}', prefetchFiles: [] };
  expect(await call('POST /api/v1/mount?mountpoint=/p', image)).toBe(NO_CONTENT);
  expect(await call('PUT /api/v1/mount?mountpoint=/p', image)).toBe(NO_CONTENT);
  expect(await call('DELETE /api/v1/mount?mountpoint=/p')).toBe(NO_CONTENT);
  expect(called).toEqual([
    ['mount', asked],
    ['remount', asked],
    ['unmount', '/p'],
  ]);
});

it.each(['PUT', 'POST'])('requests of 2020 have it in the body of a %s', async (method) => {
  const send = (more: string) => call(`${method} /api/v1/mount`, `{"mountpoint":"/p",${more}}`);
  const asked = { mountpoint: '/p', fsType: 'rafs', source: '/i', configPath: '/c', prefetchFiles: [] };
  expect(await send('"source":"/i","fstype":"rafs","config":"/c"')).toBe(NO_CONTENT);
  expect(await send('"source":"/i","ops":"update","config":"/c"')).toBe(NO_CONTENT);
  expect(await send('"ops":"umount"')).toBe(NO_CONTENT);
  expect(called).toEqual([
    ['mountOver', asked],
    ['remount', asked],
    ['unmount', '/p'],
  ]);
  const missing = `ParseBody(Error(\\"missing field \`source\`\\", line: 1, column: 33))`;
  expect(await send('"ops":"mount"')).toContain(missing);
});

it.each([
  ['GET /api/v1/mount', '', `QueryString(\\"'mountpoint' should be specified in query string\\")`],
  ['DELETE /api/v1/mount', '{}', `QueryString(\\"'mountpoint' should be specified in query string\\")`],
  ['PUT /api/v1/mount', '', `QueryString(\\"'mountpoint' should be specified in query string\\")`],
  ['PUT /api/v1/mount', '[]', `QueryString(\\"'mountpoint' should be specified in query string\\")`],
  ['GET /api/v1/mount?mountpoint=/p', '', '/api/v1/mount has no GET; it has POST, PUT, DELETE'],
  ['DELETE /api/v1/mount?mountpoint=/p', '{}', 'DELETE /api/v1/mount takes no body'],
  ['POST /api/v1/mount?mountpoint=/p', '', 'POST /api/v1/mount needs a JSON body'],
])('%s with %j is refused', async (request, body, reason) => {
  const text = await call(request, body);
  expect(text).toMatch(/^HTTP\/1\.1 400 /);
  expect(text).toContain(reason);
  expect(called).toEqual([]);
});
