import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { request as httpRequest, type IncomingMessage, type Server } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { type AddressInfo, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { RequestError } from '../../../src/http/errors.ts';
import { route } from '../../../src/http/routes.ts';
import { type HttpService, listen } from '../../../src/http/server.ts';
import { selfSigned } from '../../support/certificate.ts';

const directory = mkdtempSync(join(tmpdir(), 'nydus-http-'));
const socket = join(directory, 'api.sock');
const MIB = 1 << 20;
const reported: string[] = [];
let server: Pick<Server, 'close' | 'closeAllConnections'>;

const statuses: Readonly<Record<string, number>> = { NO_ROUTE: 404, TOO_LARGE: 413 };

const service: HttpService = {
  serverName: 'A product',
  routes: [
    route({
      methods: ['PUT'],
      path: '/echo',
      body: 'ignored',
      summary: 'Tells the size of a body',
      answers: { 200: 'The size' },
      handle: ({ body }) => ({ status: 200, body: { size: body?.length ?? null } }),
    }),
    route({
      methods: ['GET'],
      path: '/echo',
      summary: 'Fails',
      answers: { 500: 'Always' },
      handle: () => {
        throw new Error('a defect');
      },
    }),
  ],
  answerTo: (error) =>
    error instanceof RequestError
      ? { status: statuses[error.code] ?? 400, body: { code: error.code } }
      : undefined,
  defect: { status: 500, body: { code: 'UNDEFINED' } },
  report: (_error, what) => reported.push(what),
};

beforeAll(async () => {
  server = await listen(service, { path: socket });
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
  const [response] = (await once(request, 'response')) as [IncomingMessage];
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
  expect(await raw('\x00\x01garbage\r\n\r\n')).toMatch(/^HTTP\/1.1 400 .*Server: A product/s);
  expect((await call('PUT', '/echo', 'x')).text).toBe('{"size":1}');
});

test('headers beyond the limit are refused', async () => {
  expect(await raw(`GET /echo HTTP/1.1\r\nhost: x\r\nx: ${'y'.repeat(20_000)}\r\n\r\n`)).toMatch(
    /^HTTP\/1.1 400 /,
  );
});

test('a body beyond 1 MiB is refused', async () => {
  expect((await call('PUT', '/echo', 'x'.repeat(MIB))).status).toBe(200);
  expect((await call('PUT', '/echo', 'x'.repeat(MIB + 1))).status).toBe(413);
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

test('an answer names the product, has no date, and its headers have an order', async () => {
  expect(await raw('PUT /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')).toBe(
    'HTTP/1.1 200 OK\r\nServer: A product\r\nContent-Type: application/json\r\nContent-Length: 13\r\n' +
      'Connection: close\r\n\r\n{"size":null}',
  );
  expect(await raw('GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')).toBe(
    'HTTP/1.1 404 Not Found\r\nServer: A product\r\nContent-Type: application/json\r\nContent-Length: 19\r\n' +
      'Connection: close\r\n\r\n{"code":"NO_ROUTE"}',
  );
  expect(await raw('garbage\r\n\r\n')).toBe(
    'HTTP/1.1 400 Bad Request\r\nServer: A product\r\nConnection: close\r\nContent-Type: application/json\r\n' +
      'Content-Length: 19\r\n\r\n{"code":"BAD_HTTP"}',
  );
});

test('an address that cannot be had rejects', async () => {
  await expect(listen(service, { path: socket })).rejects.toThrow('EADDRINUSE');
});

test('the same is served over TCP and TLS', async () => {
  const { cert, key } = selfSigned();
  for (const [get, tls] of [
    [httpRequest, undefined],
    [httpsRequest, { cert, key }],
  ] as const) {
    const listening = await listen(service, { host: '127.0.0.1', port: 0, ...(tls && { tls }) });
    const { port } = listening.address() as AddressInfo;
    const request = get({ host: '127.0.0.1', port, path: '/nowhere', ca: cert, servername: 'localhost' });
    request.end();
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    response.resume();
    expect([response.statusCode, response.headers.server]).toEqual([404, 'A product']);
    listening.close();
    listening.closeAllConnections();
  }
});
