/** An HTTP server: routes from a table, limits, and headers and error answers in the shape of a product. */
import {
  createServer,
  type IncomingMessage,
  type Server,
  type ServerOptions,
  type ServerResponse,
  STATUS_CODES,
} from 'node:http';
import type { Server as TlsServer } from 'node:https';
import type { Socket } from 'node:net';
import { RequestError } from './errors.ts';
import { type HttpReply, type Route, RouteTable, run } from './routes.ts';

/** Bodies beyond this are refused with TOO_LARGE. */
const BODY_BYTES_MAX: number = 1 << 20;
const CONNECTIONS_MAX = 256;
const REQUEST_TIMEOUT_MS = 30_000;

const limits: ServerOptions = {
  maxHeaderSize: 16 << 10,
  requestTimeout: REQUEST_TIMEOUT_MS,
  headersTimeout: REQUEST_TIMEOUT_MS,
  keepAliveTimeout: REQUEST_TIMEOUT_MS,
};

/** What a product serves, and how it speaks. */
export interface HttpService {
  /** The `Server` header. */
  readonly serverName: string;
  readonly routes: readonly Route[];
  /** The answer to a RequestError or an error of a handler; undefined for one that is a defect of ours. */
  readonly answerTo: (error: unknown) => HttpReply | undefined;
  /** The answer to a request that met a defect. */
  readonly defect: HttpReply;
  /** Hears of defects; `what` is the request's method and target. */
  readonly report: (error: unknown, what: string) => void;
}

/** A unix socket, or a TCP port (0 = any that is free), in clear or with TLS. */
type ListenAddress =
  | { readonly path: string }
  | { readonly host: string; readonly port: number; readonly tls?: Certificate };

/** A certificate and its private key, both PEM. */
interface Certificate {
  readonly cert: string;
  readonly key: string;
}

/** Serves at `address`; rejects when it cannot be had. Who closes the server unlinks the socket with it. */
export async function listen(service: HttpService, address: ListenAddress): Promise<Server | TlsServer> {
  const tls = 'port' in address ? address.tls : undefined;
  const server =
    tls === undefined
      ? createServer(limits)
      : (await import('node:https')).createServer({ ...limits, ...tls });
  server.maxConnections = CONNECTIONS_MAX;
  const table = new RouteTable(service.routes);
  server.on('request', (request, response) => {
    void serve(service, table, request, response);
  });
  server.on('clientError', (error, socket) => answerBrokenRequest(service, error, socket as Socket));
  const listening = Promise.withResolvers<void>();
  server.once('error', listening.reject);
  const where = 'path' in address ? { path: address.path } : { host: address.host, port: address.port };
  server.listen(where, listening.resolve);
  await listening.promise;
  return server;
}

async function serve(
  service: HttpService,
  table: RouteTable,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  response.sendDate = false;
  response.setHeader('Server', service.serverName);
  // A caller that goes away in the middle is its own business.
  response.on('error', () => {});
  try {
    send(response, await dispatch(table, request));
  } catch (error) {
    const reply = service.answerTo(error);
    if (reply === undefined) service.report(error, `${request.method} ${request.url}`);
    send(response, reply ?? service.defect);
  }
}

async function dispatch(table: RouteTable, incoming: IncomingMessage): Promise<HttpReply> {
  const { pathname: path, searchParams: query } = parseUrl(incoming.url ?? '');
  const request = { method: incoming.method ?? '', path, query, body: await readBody(incoming) };
  return run(table.find(request), request);
}

function parseUrl(target: string): URL {
  // Only the origin form; `//host/…` and absolute forms must not choose another host.
  const path = target.startsWith('/') ? target.replace(/^\/+/, '/') : '';
  const url = path === '' ? null : URL.parse(path, 'http://localhost');
  if (url === null) throw new RequestError('BAD_TARGET', 'the request target must be a path');
  return url;
}

async function readBody(request: IncomingMessage): Promise<string | null> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > BODY_BYTES_MAX) {
      throw new RequestError('TOO_LARGE', `the body is larger than ${BODY_BYTES_MAX} bytes`);
    }
    chunks.push(chunk);
  }
  return size === 0 ? null : Buffer.concat(chunks, size).toString('utf8');
}

function send(response: ServerResponse, reply: HttpReply): void {
  if (response.headersSent || response.destroyed) return;
  response.statusCode = reply.status;
  // A body that was not read to its end leaves the connection unusable.
  if (reply.status === 413) response.setHeader('Connection', 'close');
  const done = () => reply.after?.();
  if (reply.body === undefined) {
    response.end(done);
    return;
  }
  const text = textOf(reply);
  response.setHeader('Content-Type', reply.contentType ?? 'application/json');
  response.setHeader('Content-Length', Buffer.byteLength(text));
  response.end(text, done);
}

function textOf({ body }: HttpReply): string {
  return typeof body === 'string' ? body : (JSON.stringify(body) ?? '');
}

/** What is no HTTP gets no ServerResponse: the answer is written by hand. */
function answerBrokenRequest(service: HttpService, error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const why = `not an HTTP request this server takes: ${error.code ?? error.message}`;
  const reply = service.answerTo(new RequestError('BAD_HTTP', why)) ?? service.defect;
  const text = textOf(reply);
  socket.end(
    `HTTP/1.1 ${reply.status} ${STATUS_CODES[reply.status]}\r\nServer: ${service.serverName}\r\n` +
      `Connection: close\r\nContent-Type: ${reply.contentType ?? 'application/json'}\r\n` +
      `Content-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`,
  );
}
