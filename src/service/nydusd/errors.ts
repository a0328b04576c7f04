/**
 * Errors of the API in the shapes of upstream (api/src/http.rs, http_handler.rs of dragonflyoss/nydus): a message begins with the text
 * upstream gives, which scripts look for, and goes on, after a dash, with the field or file, the reason and the remedy.
 */
export class ApiError extends Error {
  readonly status: number;
  constructor(status: number, original: string, detail?: string, options?: ErrorOptions) {
    super(detail === undefined ? original : `${original} — ${detail}`, options);
    this.name = 'ApiError';
    this.status = status;
  }
}

/** The body of every error answer. */
export function errorBody(message: string): string {
  return JSON.stringify({ code: 'UNDEFINED', message });
}

/** Text as a string literal inside upstream's error texts. */
export function quoted(text: string): string {
  return JSON.stringify(text);
}

export function badRequest(detail: string): ApiError {
  return new ApiError(400, 'BadRequest', detail);
}

export function parseBody(reason: string, line: number, column: number, detail?: string): ApiError {
  return new ApiError(400, `ParseBody(Error(${quoted(reason)}, line: ${line}, column: ${column}))`, detail);
}

/** A mount, remount or umount failed. `inner` is the text inside upstream's `Other(…)`. */
export function mountError(inner: string, detail: string, cause?: unknown): ApiError {
  return new ApiError(500, `Mount(MountFilesystem(Other(${quoted(inner)})))`, detail, { cause });
}

export function noCounter(kind: string, detail: string): ApiError {
  return new ApiError(404, `${kind}(Metrics(Stats(NoCounter)))`, detail);
}

export function unexpectedEvent(kind: string, event: string, detail: string): ApiError {
  return new ApiError(400, `${kind}(DaemonAbnormal(UnexpectedEvent(${quoted(event)})))`, detail);
}
