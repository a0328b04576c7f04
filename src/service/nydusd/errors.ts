/**
 * Errors of the API in the shapes of upstream (api/src/http.rs, http_handler.rs of dragonflyoss/nydus): a message
 * begins with the text upstream gives, which scripts look for, and goes on, after a dash, with the field or file, the
 * reason and the remedy.
 */
import { BodyError, JsonError, QueryError, RequestError } from '../../http/errors.ts';
import type { HttpReply } from '../../http/routes.ts';
import { ControlError, type ControlFailures } from './control.ts';

/** A refusal that a route itself knows of. */
export class ApiError extends Error {
  readonly status: number;
  constructor(status: number, original: string, detail: string) {
    super(`${original} — ${detail}`);
    this.name = 'ApiError';
    this.status = status;
  }
}

/** The answer to an error; undefined for one that is none of a request's or of the daemon's refusals. */
export function answerTo(error: unknown): HttpReply | undefined {
  const refusal = apiError(error);
  return refusal && errorReply(refusal.status, refusal.message);
}

/** The answer to a request that met a defect. */
export const defectReply: HttpReply = errorReply(
  500,
  'InternalError — the daemon failed at this request; its log has the cause',
);

/** What the API says of an error, also where it is shown elsewhere. */
export function describeError(error: unknown): string {
  return apiError(error)?.message ?? (error instanceof Error ? error.message : String(error));
}

function errorReply(status: number, message: string): HttpReply {
  return { status, body: { code: 'UNDEFINED', message } };
}

function apiError(error: unknown): ApiError | undefined {
  if (error instanceof ApiError) return error;
  if (error instanceof ControlError) return ofControl(error);
  if (error instanceof RequestError) return ofRequest(error);
  return undefined;
}

const DOCUMENT = 'see /api/v1/openapi.json';

function ofRequest(error: RequestError): ApiError {
  const { message } = error;
  if (error instanceof QueryError) return missingQuery(error.parameter);
  if (error instanceof JsonError) {
    return parseBody(error.isCutShort ? 'EOF while parsing a value' : 'expected value', error.place, message);
  }
  if (error instanceof BodyError) {
    const reason = error.isMissing ? missingField(error.field) : `invalid type: ${error.field || 'body'}`;
    return parseBody(reason, error.place, `${message}; ${DOCUMENT}`);
  }
  if (error.code === 'NO_ROUTE') return new ApiError(404, 'NoRoute', `${message}; ${DOCUMENT}`);
  return new ApiError(error.code === 'TOO_LARGE' ? 413 : 400, 'BadRequest', message);
}

/** The only parameter that anything requires is `mountpoint`. */
function missingQuery(parameter: string): ApiError {
  return new ApiError(
    400,
    `QueryString("'${parameter}' should be specified in query string")`,
    `add ?${parameter}=/path, or put "${parameter}" into the body of a PUT`,
  );
}

/** Upstream names the first missing or wrong member with the place where the body ends. */
function parseBody(
  reason: string,
  { line, column }: { readonly line: number; readonly column: number },
  detail: string,
): ApiError {
  return new ApiError(400, `ParseBody(Error(${quoted(reason)}, line: ${line}, column: ${column}))`, detail);
}

function missingField(field: string): string {
  return `missing field \`${field}\``;
}

/** A request of 2020 to mount that names no image. */
export function missingSource(body: string): ApiError {
  const place = { line: 1, column: body.trimEnd().length };
  return parseBody(missingField('source'), place, 'the bootstrap’s path');
}

/**
 * Nothing is counted under an id, or several things are and none was named. `kind` is upstream's name of the request.
 */
export function noCounter(kind: string, detail: string): ApiError {
  return new ApiError(404, `${kind}(Metrics(Stats(NoCounter)))`, detail);
}

/** A value of PUT that upstream's daemon does not take. */
export function notConfigurable(detail: string): ApiError {
  return new ApiError(500, 'Configure(ResponsePayloadType)', detail);
}

interface Original {
  readonly status: number;
  /** What upstream says. */
  readonly text: string;
  /** What to do about it, where that is another request. */
  readonly remedy?: string;
}

const notSupported: Original = { status: 501, text: 'Mount(MountFilesystem(Unsupported))' };

/** A mount, remount or umount failed. `inner` is the text inside upstream's `Other(…)`. */
function mountFailed(inner: string, remedy?: string): Original {
  const text = `Mount(MountFilesystem(Other(${quoted(inner)})))`;
  return { status: 500, text, ...(remedy === undefined ? {} : { remedy }) };
}

/** As above, in the image itself. */
function rafsFailed(inner: string): Original {
  return mountFailed(`RAFS failed to handle request, ${inner}\``);
}

const systemTexts: Readonly<Record<string, string>> = {
  ENOENT: 'No such file or directory (os error 2)',
  EACCES: 'Permission denied (os error 13)',
  EISDIR: 'Is a directory (os error 21)',
};

/** The status and the words of upstream for each failure of the daemon. */
const originals: {
  readonly [Code in keyof ControlFailures]: (about: ControlFailures[Code]) => Original;
} = {
  DAEMON_ENDING: () => ({ status: 503, text: 'Mount(NotReady)' }),
  LIFE_UNEXPECTED_EVENT: (event) => ({
    status: 400,
    text: `Configure(DaemonAbnormal(UnexpectedEvent(${quoted(event)})))`,
  }),
  MOUNT_EXISTS: () =>
    mountFailed('object or filesystem already exists', 'unmount it first, or PUT to replace it'),
  MOUNT_NOT_FOUND: (operation) =>
    mountFailed(
      "object or filesystem doesn't exist",
      operation === 'remount' ? 'POST mounts it' : 'GET /api/v1/daemon lists what is',
    ),
  MOUNT_LIMIT: () => mountFailed('vfs maximum mountpoints reached'),
  MOUNT_BAD_PATH: () =>
    mountFailed(
      'VFS failed to handle request, PathWalk(Os { code: 22, kind: InvalidInput, message: "Invalid argument" })',
    ),
  MOUNT_BAD_TYPE: (type) =>
    mountFailed(
      `invalid argument \`only 'rafs' and 'passthrough_fs' are supported, but ${type.slice(0, 64)} was specified\``,
    ),
  MOUNT_CONFIG_UNPARSED: () => rafsFailed('Failed to load config: failed to parse configuration information'),
  MOUNT_CONFIG_INVALID: () => rafsFailed('Failed to load config: invalid configuration'),
  MOUNT_BAD_SUPERBLOCK: (code) =>
    rafsFailed(`Failed to fill superBlock: ${systemTexts[code ?? ''] ?? 'failed to fill whole buffer'}`),
  MOUNT_BAD_BLOBS: () => rafsFailed('Failed to create device: Input/output error (os error 5)'),
  MOUNT_WORKER_FAILED: (code) => rafsFailed(`Failed to fill superBlock: ${code}`),
  MOUNT_NOT_SUPPORTED: () => notSupported,
  CONFIG_REFUSED: () => ({ status: 500, text: 'Configure(ResponsePayloadType)' }),
};

function ofControl<Code extends keyof ControlFailures>(error: ControlError<Code>): ApiError {
  const { status, text, remedy } = originals[error.code](error.about);
  return new ApiError(status, text, error.message + (remedy === undefined ? '' : `; ${remedy}`));
}

/** Text as a string literal inside upstream's error texts. */
function quoted(text: string): string {
  return JSON.stringify(text);
}
