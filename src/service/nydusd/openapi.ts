/** The OpenAPI 3.1 document of the API, from the schemas that validate its bodies. */
import { z } from 'zod';
import { bodies } from './schemas.ts';

interface Operation {
  summary: string;
  query?: readonly string[];
  needs?: readonly string[];
  body?: z.ZodType;
  /** 200 with this media type; otherwise 204. */
  gives?: string;
}

const json = 'application/json';

const operations: Readonly<Record<string, Readonly<Record<string, Operation>>>> = {
  '/api/v1/daemon': {
    get: { summary: 'State, version and mounts', gives: json },
    put: { summary: 'Set the log level', body: bodies.configureDaemon },
  },
  '/api/v2/daemon': {
    get: { summary: 'State and version', gives: json },
    put: { summary: 'Set the log level', body: bodies.configureDaemon },
  },
  '/api/v1/daemon/events': { get: { summary: 'The last errors', gives: json } },
  '/api/v1/daemon/start': { put: { summary: 'Begin to serve' } },
  '/api/v1/daemon/exit': { put: { summary: 'End the process' } },
  '/api/v1/daemon/backend': {
    get: { summary: 'Superblock of a mount', needs: ['mountpoint'], gives: json },
  },
  '/api/v1/mount': {
    post: { summary: 'Mount an image', needs: ['mountpoint'], body: bodies.modernMount },
    put: {
      summary: 'With ?mountpoint=: swap the mounted image. Without: the operation named in the body (2020)',
      query: ['mountpoint'],
      body: z.union([bodies.modernMount, bodies.legacyMount]),
    },
    delete: { summary: 'Unmount', needs: ['mountpoint'] },
  },
  '/api/v1/config': {
    get: { summary: 'Values set at run time', query: ['id'], gives: json },
    put: { summary: 'Set values', query: ['id'], body: bodies.configStore },
  },
  '/api/v1/metrics': { get: { summary: 'Counters of a mount', query: ['id'], gives: json } },
  '/api/v1/metrics/files': {
    get: { summary: 'Counters per inode, or the inodes read lately', query: ['id', 'latest'], gives: json },
  },
  '/api/v1/metrics/pattern': { get: { summary: 'First reads per inode', query: ['id'], gives: json } },
  '/api/v1/metrics/backend': { get: { summary: 'Counters of a back end', query: ['id'], gives: json } },
  '/api/v1/metrics/blobcache': { get: { summary: 'Counters of a cache', query: ['id'], gives: json } },
  '/api/v1/metrics/inflight': { get: { summary: 'Requests being served; 204 if none', gives: json } },
  '/metrics': { get: { summary: 'Counters for Prometheus', gives: 'text/plain' } },
};

const errorSchema = z.object({ code: z.string(), message: z.string() });

/** The document; a plain object ready for JSON. */
export function openApi(): unknown {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const [path, methods] of Object.entries(operations)) {
    paths[path] = Object.fromEntries(
      Object.entries(methods).map(([method, operation]) => [method, describe(operation)]),
    );
  }
  return { openapi: '3.1.0', info: { title: 'nydusd', version: 'v1' }, paths };
}

function describe(operation: Operation): unknown {
  const parameters = [
    ...(operation.needs ?? []).map((name) => parameter(name, true)),
    ...(operation.query ?? []).map((name) => parameter(name, false)),
  ];
  const success =
    operation.gives === undefined
      ? { 204: { description: 'Done' } }
      : { 200: { description: 'OK', content: { [operation.gives]: {} } } };
  return {
    summary: operation.summary,
    ...(parameters.length > 0 ? { parameters } : {}),
    ...(operation.body === undefined
      ? {}
      : { requestBody: { required: true, content: { [json]: { schema: schemaOf(operation.body) } } } }),
    responses: {
      ...success,
      default: { description: 'Refused or failed', content: { [json]: { schema: schemaOf(errorSchema) } } },
    },
  };
}

function parameter(name: string, required: boolean): unknown {
  return { name, in: 'query', required, schema: { type: 'string' } };
}

function schemaOf(schema: z.ZodType): unknown {
  return z.toJSONSchema(schema, { io: 'input' });
}
