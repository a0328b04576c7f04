import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { request as httpRequest, type Server } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { BODY_BYTES_MAX, createApiServer } from '../../../../src/service/nydusd/http.ts';
import { parseJson } from '../../../../src/service/nydusd/json-body.ts';

const directory = mkdtempSync(join(tmpdir(), 'nydus-http-'));
const socket = join(directory, 'api.sock');
const reported: string[] = [];
let server: Server;

beforeAll(async () => {
  const routes = new Map([
    [
      '/echo',
      {
        PUT: (r: { body: string | null }) => ({ status: 200, body: { size: r.body?.length ?? null } }),
        GET: () => {
          throw new Error('a defect');
        },
      },
    ],
  ]);
  server = createApiServer(routes, (_error, what) => reported.push(what));
  server.listen(socket);
  await once(server, 'listening');
});

afterAll(() => {
  server.closeAllConnections();
  server.close();
  rmSync(directory, { recursive: true });
});

async function call(method: string, path: string, body?: string): Promise<{ status: number; text: string }> {
  const request = httpRequest({ socketPath: socket, method, path });
  request.on('error', () => {});
  request.end(body);
  const [response] = (await once(request, 'response')) as [import('node:http').IncomingMessage];
  let text = '';
  for await (const chunk of response) text += String(chunk);
  return { status: response.statusCode!, text };
}

async function raw(bytes: string): Promise<string> {
  const client = connect(socket);
  client.end(bytes);
  let text = '';
  for await (const chunk of client) text += String(chunk);
  return text;
}

test('bytes that are no HTTP are answered with 400, and the server lives on', async () => {
  expect(await raw('\x00\x01garbage\r\n\r\n')).toMatch(/^HTTP\/1.1 400 .*Server: Nydus API/s);
  expect((await call('PUT', '/echo', 'x')).text).toBe('{"size":1}');
});

test('headers beyond the limit are refused', async () => {
  expect(await raw(`GET /echo HTTP/1.1\r\nhost: x\r\nx: ${'y'.repeat(20_000)}\r\n\r\n`)).toMatch(
    /^HTTP\/1.1 400 /,
  );
});

test('a body beyond 1 MiB is refused', async () => {
  expect((await call('PUT', '/echo', 'x'.repeat(BODY_BYTES_MAX))).status).toBe(200);
  expect((await call('PUT', '/echo', 'x'.repeat(BODY_BYTES_MAX + 1))).status).toBe(413);
});

test('paths that try to be URLs or prototype names have no route', async () => {
  expect((await call('GET', '//evil/echo')).status).toBe(404);
  expect((await call('GET', '/__proto__')).status).toBe(404);
  expect((await call('PATCH', '/echo')).status).toBe(400);
});

test('a defect in a handler is a 500 and is reported', async () => {
  const { status, text } = await call('GET', '/echo');
  expect(status).toBe(500);
  expect(JSON.parse(text)).toMatchObject({ code: 'UNDEFINED' });
  expect(reported).toEqual(['GET /echo']);
});

test.each([
  ['hello', 'expected value', 1, 1],
  ['{"a":\n  x}', 'expected value', 2, 3],
  ['{"a": 1', 'EOF while parsing a value', 1, 7],
])('JSON errors of %j name the place', (text, reason, line, column) => {
  expect(() => parseJson(text)).toThrow(`ParseBody(Error("${reason}", line: ${line}, column: ${column})) — `);
});
