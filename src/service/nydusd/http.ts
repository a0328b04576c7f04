/** A small HTTP server on a unix socket: a route table, limits, and the header and error shapes of the API. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { ApiError, badRequest, errorBody } from './errors.ts';

/** Bodies beyond this are refused with 413. */
export const BODY_BYTES_MAX: number = 1 << 20;
const HEADER_BYTES_MAX = 16 << 10;
const CONNECTIONS_MAX = 256;
const REQUEST_TIMEOUT_MS = 30_000;

export interface ApiRequest {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  /** Null when the request has no body; an empty one counts as none. */
  readonly body: string | null;
}

/** `body` is sent as JSON unless it is a string. */
export interface ApiReply {
  readonly status: number;
  readonly body?: unknown;
  readonly contentType?: string;
  /** Runs after the reply has been handed to the kernel. */
  readonly after?: () => void;
}

export type Handler = (request: ApiRequest) => ApiReply | Promise<ApiReply>;

/** Path → method → handler. A path that is absent is 404 `NoRoute`, a method that is absent 400 `BadRequest`. */
export type Routes = ReadonlyMap<string, Readonly<Record<string, Handler>>>;

/** `report` hears of errors that are no ApiError: defects of ours. */
export function createApiServer(routes: Routes, report: (error: unknown, what: string) => void): Server {
  const server = createServer({
    maxHeaderSize: HEADER_BYTES_MAX,
    requestTimeout: REQUEST_TIMEOUT_MS,
    headersTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: REQUEST_TIMEOUT_MS,
  });
  server.maxConnections = CONNECTIONS_MAX;
  server.on('request', (request, response) => {
    void serve(routes, report, request, response);
  });
  server.on('clientError', answerBrokenRequest);
  return server;
}

async function serve(
  routes: Routes,
  report: (error: unknown, what: string) => void,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  response.sendDate = false;
  response.setHeader('Server', 'Nydus API');
  // A caller that goes away in the middle is its own business.
  response.on('error', () => {});
  try {
    send(response, await dispatch(routes, request));
  } catch (error) {
    if (error instanceof ApiError) {
      send(response, { status: error.status, body: errorBody(error.message) });
      return;
    }
    report(error, `${request.method} ${request.url}`);
    send(response, {
      status: 500,
      body: errorBody('InternalError — the daemon failed at this request; its log has the cause'),
    });
  }
}

async function dispatch(routes: Routes, request: IncomingMessage): Promise<ApiReply> {
  const url = parseUrl(request.url ?? '');
  const methods = routes.get(url.pathname);
  const body = await readBody(request);
  if (methods === undefined)
    throw new ApiError(404, 'NoRoute', `no route ${url.pathname}; see /api/v1/openapi.json`);
  const method = request.method ?? '';
  const handler = (Object.hasOwn(methods, method) ? methods[method] : undefined) ?? methods['*'];
  if (handler === undefined) {
    throw badRequest(`${url.pathname} has no ${method}; it has ${Object.keys(methods).join(', ')}`);
  }
  return handler({ method, path: url.pathname, query: url.searchParams, body });
}

function parseUrl(target: string): URL {
  // Only the origin form; `//host/…` and absolute forms must not choose another host.
  const path = target.startsWith('/') ? target.replace(/^\/+/, '/') : '';
  const url = path === '' ? null : URL.parse(path, 'http://localhost');
  if (url === null) throw badRequest('the request target must be a path');
  return url;
}

async function readBody(request: IncomingMessage): Promise<string | null> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > BODY_BYTES_MAX) {
      throw new ApiError(413, 'BadRequest', `the body is larger than ${BODY_BYTES_MAX} bytes`);
    }
    chunks.push(chunk);
  }
  return size === 0 ? null : Buffer.concat(chunks, size).toString('utf8');
}

function send(response: ServerResponse, reply: ApiReply): void {
  if (response.headersSent || response.destroyed) return;
  response.statusCode = reply.status;
  // A body that was not read to its end leaves the connection unusable.
  if (reply.status === 413) response.setHeader('Connection', 'close');
  const done = () => reply.after?.();
  if (reply.body === undefined) {
    response.end(done);
    return;
  }
  const text = typeof reply.body === 'string' ? reply.body : JSON.stringify(reply.body);
  response.setHeader('Content-Type', reply.contentType ?? 'application/json');
  response.setHeader('Content-Length', Buffer.byteLength(text));
  response.end(text, done);
}

function answerBrokenRequest(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const body = errorBody(
    `BadRequest — not an HTTP request this server takes: ${error.code ?? error.message}`,
  );
  socket.end(
    'HTTP/1.1 400 Bad Request\r\nServer: Nydus API\r\nConnection: close\r\nContent-Type: application/json\r\n' +
      `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
}
