/** The routes of the API: upstream's of today and of 2020, the OpenAPI document and the Prometheus page. */
import { QueryError } from '../../http/errors.ts';
import {
  type BodyRule,
  type HttpReply,
  type HttpRequest,
  noMethod,
  type Route,
  route,
} from '../../http/routes.ts';
import type { HttpService } from '../../http/server.ts';
import type { Control, MetricsKind } from './control.ts';
import { ApiError, answerTo, defectReply, missingSource, noCounter, notConfigurable } from './errors.ts';
import { prometheusText } from './prometheus.ts';
import type { LegacyMount, ModernMount, bodies as Schemas } from './schemas.ts';

const DONE: HttpReply = { status: 204 };
const PROMETHEUS_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

/** Answers that any row may give. */
const MAY_FAIL = { 400: 'The request is wrong', 500: 'The daemon failed' } as const;

/** The API over `control`; `report` hears of defects. */
export function nydusdApi(control: Control, report: HttpService['report']): HttpService {
  const rows = [
    ...daemonRoutes(control),
    ...mountRoutes(control),
    ...configRoutes(control),
    ...metricsRoutes(control),
  ];
  rows.push(documentRoute(rows));
  return { serverName: 'Nydus API', routes: rows, answerTo, defect: defectReply, report };
}

function ok(body: unknown): HttpReply {
  return { status: 200, body };
}

/** A body that the schema of this name validates. */
function body<Name extends keyof typeof Schemas>(
  name: Name,
): BodyRule<ReturnType<(typeof Schemas)[Name]['parse']>> {
  return { schema: async () => (await import('./schemas.ts')).bodies[name] as never };
}

function daemonRoutes(control: Control): Route[] {
  const withState = (path: string, summary: string, show: () => unknown) => [
    route({
      methods: ['GET'],
      path,
      summary,
      answers: { 200: 'The daemon', ...MAY_FAIL },
      handle: () => ok(show()),
    }),
    route({
      methods: ['PUT'],
      path,
      summary: 'Set the log level',
      body: body('configureDaemon'),
      answers: { 204: 'It holds now', ...MAY_FAIL, 500: 'There is no such level' },
      handle: (_, { log_level: level }) => setLogLevel(control, level),
    }),
  ];
  return [
    ...withState('/api/v1/daemon', 'State, version and mounts', () => control.info()),
    ...withState('/api/v2/daemon', 'State and version', () => ({
      ...control.info(),
      backend_collection: null,
    })),
    route({
      methods: ['GET'],
      path: '/api/v1/daemon/events',
      summary: 'The last errors',
      answers: { 200: 'Errors, the newest last', ...MAY_FAIL },
      handle: () => ok(control.events()),
    }),
    route({
      methods: ['PUT'],
      path: '/api/v1/daemon/start',
      summary: 'Begin to serve',
      answers: { 204: 'It serves', ...MAY_FAIL, 400: 'It serves already, or the request is wrong' },
      handle: () => {
        control.start();
        return DONE;
      },
    }),
    route({
      methods: ['PUT'],
      path: '/api/v1/daemon/exit',
      summary: 'End the process',
      answers: { 204: 'It ends', ...MAY_FAIL },
      handle: () => ({ status: 204, after: () => control.exit() }),
    }),
    upgradeRoute('/api/v1/daemon/fuse/sendfd', 'SendFd'),
    upgradeRoute('/api/v1/daemon/fuse/takeover', 'Takeover'),
    route({
      methods: ['GET'],
      path: '/api/v1/daemon/backend',
      query: { mountpoint: { about: 'Where it is mounted', isRequired: true } },
      summary: 'Superblock of a mount',
      answers: { 200: 'The superblock', ...MAY_FAIL, 500: 'Nothing is mounted there' },
      handle: ({ query }) => superblock(control, query.get('mountpoint')!),
    }),
  ];
}

function upgradeRoute(path: string, event: string): Route {
  return route({
    methods: ['PUT'],
    path,
    summary: 'Hot upgrade',
    answers: { 400: MAY_FAIL[400], 501: 'Not supported yet' },
    handle: () => {
      throw new ApiError(501, 'Upgrade(Unsupported)', `${event}: hot upgrade is not supported yet`);
    },
  });
}

function setLogLevel(control: Control, level: string): HttpReply {
  if (control.setLogLevel(level)) return DONE;
  throw notConfigurable(`log_level: "${level.slice(0, 64)}" is none of off, error, warn, info, debug, trace`);
}

function superblock(control: Control, mountpoint: string): HttpReply {
  const found = control.superblock(mountpoint);
  if (found !== undefined) return ok(found);
  throw new ApiError(
    500,
    `FsBackendInfo(Metrics(Daemon(Other("object or filesystem doesn't exist"))))`,
    `nothing is mounted at ${mountpoint.slice(0, 256)}`,
  );
}

const MOUNT = '/api/v1/mount';

/** With `?mountpoint=` the requests of today; without it those of 2020, which have everything in the body. */
function mountRoutes(control: Control): Route[] {
  const query = { mountpoint: { about: 'Where in the tree of mounts', isRequired: true } };
  const answers = {
    204: 'Done',
    ...MAY_FAIL,
    501: 'What the configuration asks for is not supported yet',
    503: 'The daemon is ending',
  };
  const legacy: Omit<Route<LegacyMount>, 'methods'> = {
    path: MOUNT,
    body: { ...body('legacyMount'), refuse: needMountpoint },
    summary: 'Without a query: the operation named in the body (2020)',
    answers,
    handle: (request, command) => legacyMount(control, request, command),
  };
  const rows = [
    route({
      methods: ['POST'],
      path: MOUNT,
      query,
      body: body('modernMount'),
      summary: 'Mount an image',
      answers,
      handle: (request, image) => modernMount((command) => control.mount(command), request, image),
    }),
    route({
      methods: ['PUT'],
      path: MOUNT,
      query,
      body: body('modernMount'),
      summary: 'Swap the mounted image',
      answers,
      handle: (request, image) => modernMount((command) => control.remount(command), request, image),
    }),
    route({
      methods: ['DELETE'],
      path: MOUNT,
      query,
      summary: 'Unmount',
      answers: { 204: 'Done', ...MAY_FAIL, 503: answers[503] },
      handle: async (request) => {
        await control.unmount(request.query.get('mountpoint')!);
        return DONE;
      },
    }),
    route({ ...legacy, methods: ['PUT'] }),
    // Scripts mix the method of today with the body of 2020.
    route({ ...legacy, methods: ['POST'], isHidden: true }),
  ];
  return [
    ...rows,
    route({
      methods: '*',
      path: MOUNT,
      body: 'ignored',
      isHidden: true,
      summary: 'Neither of today nor of 2020',
      answers: { 400: MAY_FAIL[400] },
      handle: ({ method, path, query }) => {
        throw query.has('mountpoint') ? noMethod(method, path, rows) : new QueryError('mountpoint');
      },
    }),
  ];
}

/** A body without one is told to use the query. */
function needMountpoint(value: unknown): void {
  const has = typeof value === 'object' && value !== null && Object.hasOwn(value, 'mountpoint');
  if (!has) throw new QueryError('mountpoint');
}

async function modernMount(
  change: Control['mount'],
  { query }: HttpRequest,
  image: ModernMount,
): Promise<HttpReply> {
  await change({
    mountpoint: query.get('mountpoint')!,
    fsType: image.fs_type,
    source: image.source,
    config: image.config,
    prefetchFiles: image.prefetch_files ?? [],
  });
  return DONE;
}

/** `config` is a file's path; success replaces what was mounted there. */
async function legacyMount(control: Control, { body }: HttpRequest, asked: LegacyMount): Promise<HttpReply> {
  if (asked.ops === 'umount') {
    await control.unmount(asked.mountpoint);
    return DONE;
  }
  if (asked.source === undefined) throw missingSource(body!);
  const command = {
    mountpoint: asked.mountpoint,
    fsType: asked.fs_type ?? asked.fstype ?? 'rafs',
    source: asked.source,
    ...legacyConfig(asked.config ?? null),
    prefetchFiles: asked.prefetch_files ?? [],
  };
  await (asked.ops === 'update' ? control.remount(command) : control.mountOver(command));
  return DONE;
}

function legacyConfig(config: string | null): { config?: string; configPath?: string } {
  if (config === null || config === '') return {};
  return config.trimStart().startsWith('{') ? { config } : { configPath: config };
}

function configRoutes(control: Control): Route[] {
  const path = '/api/v1/config';
  const query = { id: { about: 'Id of the configuration whose values are meant' } };
  return [
    route({
      methods: ['GET'],
      path,
      query,
      summary: 'Values set at run time',
      answers: { 200: 'The values of the id; without one all, each as id:key', ...MAY_FAIL },
      handle: (request) => ok(control.runtimeConfig(request.query.get('id'))),
    }),
    route({
      methods: ['PUT'],
      path,
      query,
      body: body('runtimeConfig'),
      summary: 'Set values at run time',
      answers: { 204: 'They hold now', ...MAY_FAIL, 500: 'A key is none that can be set' },
      handle: (request, values) => {
        control.setRuntimeConfig(request.query.get('id'), values);
        return DONE;
      },
    }),
  ];
}

function metricsRoutes(control: Control): Route[] {
  return [
    metricsRoute(control, '/api/v1/metrics', 'global', 'GlobalMetrics', 'Counters of a mount'),
    metricsRoute(
      control,
      '/api/v1/metrics/files',
      'files',
      'FsFilesMetrics',
      'Counters per inode, or the inodes read lately',
    ),
    metricsRoute(control, '/api/v1/metrics/pattern', 'pattern', 'Pattern', 'First reads per inode'),
    metricsRoute(control, '/api/v1/metrics/backend', 'backend', 'BackendMetrics', 'Counters of a back end'),
    metricsRoute(
      control,
      '/api/v1/metrics/blobcache',
      'blobcache',
      'BlobcacheMetrics',
      'Counters of a cache',
    ),
    route({
      methods: ['GET'],
      path: '/api/v1/metrics/inflight',
      summary: 'Requests being served',
      answers: { 200: 'The requests', 204: 'There are none', ...MAY_FAIL },
      handle: async () => {
        const requests = await control.inflight();
        return requests.length === 0 ? DONE : ok(requests);
      },
    }),
    route({
      methods: ['GET'],
      path: '/metrics',
      summary: 'Counters for Prometheus',
      answers: { 200: 'The page', ...MAY_FAIL },
      contentType: PROMETHEUS_TYPE,
      handle: async () => {
        const mounts = await control.allMetrics();
        return { ...ok(prometheusText(mounts, mounts.length)), contentType: PROMETHEUS_TYPE };
      },
    }),
  ];
}

/** `upstream` is the name that upstream's errors have for the request. */
function metricsRoute(
  control: Control,
  path: string,
  kind: MetricsKind,
  upstream: string,
  summary: string,
): Route {
  const about = kind === 'blobcache' ? 'Id in the configuration' : 'Mountpoint';
  return route({
    methods: ['GET'],
    path,
    query: {
      id: { about: `${about}; without it there must be exactly one` },
      ...(kind === 'files' ? { latest: { about: '`true`: the inodes read since it was last asked' } } : {}),
    },
    summary,
    answers: { 200: 'The counters', ...MAY_FAIL, 404: 'Nothing is counted under the id' },
    handle: async ({ query }) => {
      const id = query.get('id');
      const latest = kind === 'files' && query.get('latest') === 'true';
      const found = await control.metrics(latest ? 'latest' : kind, id);
      if (found !== undefined) return ok(found);
      const why =
        id === null ? 'there is not exactly one mount; add ?id=' : `nothing is counted under id ${id}`;
      throw noCounter(upstream, why);
    },
  });
}

/** Describes `rows`, which it is one of. */
function documentRoute(rows: readonly Route[]): Route {
  return route({
    methods: ['GET'],
    path: '/api/v1/openapi.json',
    summary: 'This document',
    answers: { 200: 'The document', ...MAY_FAIL },
    handle: async () => {
      const [{ openApi }, { errorBody }] = await Promise.all([
        import('../../http/openapi.ts'),
        import('./schemas.ts'),
      ]);
      return ok(await openApi({ title: 'nydusd', version: 'v1' }, rows, errorBody));
    },
  });
}
