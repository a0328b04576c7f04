/** What a product declares of its API: a row gives path, validation, handler and the entry of the OpenAPI document. */
import type { z } from 'zod';
import { QueryError, RequestError } from './errors.ts';

/** A request whose body has been read. */
export interface HttpRequest {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  /** As text; null when there is none. An empty one counts as none. */
  readonly body: string | null;
}

/** An answer. `body` is sent as JSON unless it is a string. */
export interface HttpReply {
  readonly status: number;
  readonly body?: unknown;
  /** `application/json` unless given. */
  readonly contentType?: string;
  /** Runs after the reply has been handed to the kernel. */
  readonly after?: () => void;
}

/** What a body must be. */
export interface BodyRule<Body> {
  /** Loads the schema, and zod with it. */
  readonly schema: () => Promise<z.ZodType<Body>>;
  /**
   * Throws the product's own error for a body that it does not leave to the schema; the value is undefined when the
   * request has no body.
   */
  readonly refuse?: (value: unknown) => void;
}

/** A query parameter. */
interface QueryRule {
  readonly about: string;
  readonly isRequired?: boolean;
}

/** An operation of the API. */
export interface Route<Body = unknown> {
  /** `*`: any. */
  readonly methods: readonly string[] | '*';
  readonly path: string;
  readonly query?: Readonly<Record<string, QueryRule>>;
  /** Without a rule a body is refused. */
  readonly body?: BodyRule<Body> | 'ignored';
  /** Served, but not part of the document. */
  readonly isHidden?: boolean;
  readonly summary: string;
  /** What each status means. */
  readonly answers: Readonly<Record<number, string>>;
  /** Media type of 200, `application/json` unless given. */
  readonly contentType?: string;
  /** `body` is undefined where the row has no rule for one. */
  handle(request: HttpRequest, body: Body): HttpReply | Promise<HttpReply>;
}

/** A row with the type of its body inferred from its schema. */
export function route<Body = undefined>(row: Route<Body>): Route {
  return row as Route;
}

/** The rows by path, those of a path in order. */
export class RouteTable {
  readonly #byPath: Map<string, Route[]> = new Map();

  constructor(rows: readonly Route[]) {
    for (const row of rows) {
      const same = this.#byPath.get(row.path);
      if (same === undefined) this.#byPath.set(row.path, [row]);
      else same.push(row);
    }
  }

  /**
   * The first row of the path and method that has all query parameters it requires; where none has, the first of the
   * path and method. Throws RequestError.
   */
  find({ method, path, query }: HttpRequest): Route {
    const rows = this.#byPath.get(path);
    if (rows === undefined) throw new RequestError('NO_ROUTE', `no route ${path}`);
    const fitting = rows.filter(({ methods }) => methods === '*' || methods.includes(method));
    const found = fitting.find((row) => missingParameter(row, query) === undefined) ?? fitting[0];
    if (found === undefined) throw noMethod(method, path, rows);
    return found;
  }
}

/** The request's method is none of those that `rows` have at `path`. */
export function noMethod(method: string, path: string, rows: readonly Route[]): RequestError {
  const known = new Set(rows.flatMap(({ methods }) => (methods === '*' ? [] : methods)));
  return new RequestError('NO_METHOD', `${path} has no ${method}; it has ${[...known].join(', ')}`);
}

/**
 * Hands the request with its validated body to the row. Throws RequestError, or what `refuse` and the handler throw.
 */
export async function run(row: Route, request: HttpRequest): Promise<HttpReply> {
  const { body: rule } = row;
  if (rule === 'ignored') return row.handle(request, undefined);
  const { method, path, query, body: text } = request;
  if (rule === undefined) {
    if (text !== null) throw new RequestError('UNWANTED_BODY', `${method} ${path} takes no body`);
  } else if (text === null) {
    rule.refuse?.(undefined);
    throw new RequestError('MISSING_BODY', `${method} ${path} needs a JSON body`);
  }
  const missing = missingParameter(row, query);
  if (missing !== undefined) throw new QueryError(missing);
  if (rule === undefined || text === null) return row.handle(request, undefined);
  const { parseJson, validate } = await import('./json-body.ts');
  const value = parseJson(text);
  rule.refuse?.(value);
  return row.handle(request, validate(await rule.schema(), value, text));
}

function missingParameter({ query: rules = {} }: Route, query: URLSearchParams): string | undefined {
  return Object.keys(rules).find((name) => rules[name]!.isRequired && !query.has(name));
}
