/** The routes of the API: upstream's of today and of 2020, the OpenAPI document and the Prometheus page. */
import type { z } from 'zod';
import { ConfigStore } from './config-store.ts';
import type { Control, MetricsKind, MountRequest } from './control.ts';
import { ApiError, badRequest, noCounter, parseBody } from './errors.ts';
import type { ApiReply, ApiRequest, Handler, Routes } from './http.ts';
import { parseJson } from './json-body.ts';
import { prometheusText } from './prometheus.ts';

const done: ApiReply = { status: 204 };

/** Builds the route table over `control`. */
export function apiRoutes(control: Control): Routes {
  const store = new ConfigStore();
  return new Map<string, Record<string, Handler>>([
    ['/api/v1/daemon', { GET: plain(() => ok(control.info())), PUT: (r) => configure(control, r) }],
    [
      '/api/v2/daemon',
      {
        GET: plain(() => ok({ ...control.info(), backend_collection: null })),
        PUT: (r) => configure(control, r),
      },
    ],
    ['/api/v1/daemon/events', { GET: plain(() => ok(control.events())) }],
    ['/api/v1/daemon/start', { PUT: plain(() => start(control)) }],
    ['/api/v1/daemon/exit', { PUT: plain(() => ({ status: 204, after: () => control.exit() })) }],
    ['/api/v1/daemon/fuse/sendfd', { PUT: plain(() => unsupportedUpgrade('SendFd')) }],
    ['/api/v1/daemon/fuse/takeover', { PUT: plain(() => unsupportedUpgrade('Takeover')) }],
    ['/api/v1/daemon/backend', { GET: plain((r) => ok(control.superblock(needMountpoint(r)))) }],
    ['/api/v1/mount', { '*': (r) => mountRoute(control, r) }],
    [
      '/api/v1/config',
      { GET: plain((r) => ok(store.get(r.query.get('id')))), PUT: (r) => putConfig(store, r) },
    ],
    ['/api/v1/metrics', { GET: metrics(control, 'global', 'GlobalMetrics') }],
    ['/api/v1/metrics/files', { GET: metrics(control, 'files', 'FsFilesMetrics') }],
    ['/api/v1/metrics/pattern', { GET: metrics(control, 'pattern', 'Pattern') }],
    ['/api/v1/metrics/backend', { GET: metrics(control, 'backend', 'BackendMetrics') }],
    ['/api/v1/metrics/blobcache', { GET: metrics(control, 'blobcache', 'BlobcacheMetrics') }],
    ['/api/v1/metrics/inflight', { GET: plain(() => inflight(control)) }],
    ['/api/v1/openapi.json', { GET: plain(async () => ok((await import('./openapi.ts')).openApi())) }],
    ['/metrics', { GET: plain(() => prometheus(control)) }],
  ]);
}

function start(control: Control): ApiReply {
  control.start();
  return done;
}

function ok(body: unknown): ApiReply {
  return { status: 200, body };
}

/** A handler of requests that must not have a body. */
function plain(handler: Handler): Handler {
  return (request) => {
    if (request.body !== null) throw badRequest(`${request.method} ${request.path} takes no body`);
    return handler(request);
  };
}

function needBody(request: ApiRequest): string {
  if (request.body === null) throw badRequest(`${request.method} ${request.path} needs a JSON body`);
  return request.body;
}

function needMountpoint(request: ApiRequest): string {
  const mountpoint = request.query.get('mountpoint');
  if (mountpoint === null) throw missingMountpoint();
  return mountpoint;
}

function missingMountpoint(): ApiError {
  return new ApiError(
    400,
    `QueryString("'mountpoint' should be specified in query string")`,
    'add ?mountpoint=/path, or put "mountpoint" into the body of a PUT',
  );
}

function unsupportedUpgrade(event: string): never {
  throw new ApiError(501, `Upgrade(Unsupported)`, `${event}: hot upgrade is not supported yet`);
}

/** Validates `value`; upstream names the first missing or wrong field with the place where the object ends. */
function validate<T>(schema: z.ZodType<T>, value: unknown, text: string): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  const field = issue.path.map(String).join('.');
  const top = typeof value === 'object' && value !== null && !Array.isArray(value);
  const missing = top && issue.path.length === 1 && !Object.hasOwn(value, String(issue.path[0]));
  const reason = missing ? `missing field \`${field}\`` : `invalid type: ${field || 'body'}`;
  const trimmed = text.trimEnd().split('\n');
  const detail = `${field === '' ? 'the body' : field}: ${issue.message}; see /api/v1/openapi.json`;
  throw parseBody(reason, trimmed.length, Buffer.byteLength(trimmed.at(-1)!), detail);
}

async function configure(control: Control, request: ApiRequest): Promise<ApiReply> {
  const text = needBody(request);
  const value = parseJson(text);
  const { bodies } = await import('./schemas.ts');
  const { log_level: level } = validate(bodies.configureDaemon, value, text);
  if (!control.setLogLevel(level)) {
    throw new ApiError(
      500,
      'Configure(ResponsePayloadType)',
      `log_level: "${level.slice(0, 64)}" is none of off, error, warn, info, debug, trace`,
    );
  }
  return done;
}

async function putConfig(store: ConfigStore, request: ApiRequest): Promise<ApiReply> {
  const text = needBody(request);
  const value = parseJson(text);
  const { bodies } = await import('./schemas.ts');
  const refused = store.put(request.query.get('id'), validate(bodies.configStore, value, text));
  if (refused !== null) {
    throw new ApiError(
      500,
      'Configure(ResponsePayloadType)',
      `${refused.slice(0, 64)}: not a key of the store; it takes ${ConfigStore.keys.join(', ')}`,
    );
  }
  return done;
}

async function mountRoute(control: Control, request: ApiRequest): Promise<ApiReply> {
  const mountpoint = request.query.get('mountpoint');
  if (mountpoint === null) return legacyMount(control, request);
  if (request.method === 'DELETE') {
    if (request.body !== null) throw badRequest('DELETE /api/v1/mount takes no body');
    await control.unmount(mountpoint);
    return done;
  }
  if (request.method !== 'POST' && request.method !== 'PUT') {
    throw badRequest(`/api/v1/mount has no ${request.method}; it has POST, PUT, DELETE`);
  }
  const text = needBody(request);
  const value = parseJson(text);
  const { bodies } = await import('./schemas.ts');
  const body = validate(bodies.modernMount, value, text);
  const command: MountRequest = {
    mountpoint,
    fsType: body.fs_type,
    source: body.source,
    config: body.config,
    prefetchFiles: body.prefetch_files ?? [],
  };
  await (request.method === 'POST' ? control.mount(command) : control.remount(command));
  return done;
}

/** 2020: no query, everything in the body, `config` a file's path, success replaces what was mounted there. */
async function legacyMount(control: Control, request: ApiRequest): Promise<ApiReply> {
  if (request.body === null || (request.method !== 'PUT' && request.method !== 'POST')) {
    throw missingMountpoint();
  }
  const value = parseJson(request.body);
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, 'mountpoint')) {
    throw missingMountpoint();
  }
  const { bodies } = await import('./schemas.ts');
  const body = validate(bodies.legacyMount, value, request.body);
  if (body.ops === 'umount') {
    await control.unmount(body.mountpoint);
    return done;
  }
  if (body.source === undefined) {
    throw parseBody('missing field `source`', 1, request.body.trimEnd().length, 'the bootstrap’s path');
  }
  const command: MountRequest = {
    mountpoint: body.mountpoint,
    fsType: body.fs_type ?? body.fstype ?? 'rafs',
    source: body.source,
    ...legacyConfig(body.config ?? null),
    prefetchFiles: body.prefetch_files ?? [],
  };
  await (body.ops === 'update' ? control.remount(command) : control.mountOver(command));
  return done;
}

function legacyConfig(config: string | null): { config?: string; configPath?: string } {
  if (config === null || config === '') return {};
  return config.trimStart().startsWith('{') ? { config } : { configPath: config };
}

function metrics(control: Control, kind: MetricsKind, upstream: string): Handler {
  return plain(async (request) => {
    const id = request.query.get('id');
    const latest = kind === 'files' && request.query.get('latest') === 'true';
    const found = await control.metrics(latest ? 'latest' : kind, id);
    if (found === undefined) {
      const why =
        id === null ? 'there is not exactly one mount; add ?id=' : `nothing is counted under id ${id}`;
      throw noCounter(upstream, why);
    }
    return ok(found);
  });
}

async function inflight(control: Control): Promise<ApiReply> {
  const requests = await control.inflight();
  return requests.length === 0 ? done : ok(requests);
}

async function prometheus(control: Control): Promise<ApiReply> {
  const mounts = await control.allMetrics();
  const contentType = 'text/plain; version=0.0.4; charset=utf-8';
  return { status: 200, contentType, body: prometheusText(mounts, mounts.length) };
}
