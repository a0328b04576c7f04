/** The OpenAPI 3.1 document of an API, from the rows that serve it. Import lazily: zod comes with it. */
import { z } from 'zod';
import type { BodyRule, Route } from './routes.ts';

const ERROR = { $ref: '#/components/schemas/Error' };
const JSON_TYPE = 'application/json';
/** From here on an answer is an error. */
const FIRST_ERROR_STATUS = 400;

/** The document; a plain object ready for JSON. `errorBody` is the body of every error answer. */
export async function openApi(
  info: { readonly title: string; readonly version: string },
  rows: readonly Route[],
  errorBody: z.ZodType,
): Promise<unknown> {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const [path, methods] of operations(rows)) {
    const described: Record<string, unknown> = {};
    for (const [method, same] of methods) described[method] = await describe(same);
    paths[path] = described;
  }
  return { openapi: '3.1.0', info, paths, components: { schemas: { Error: schemaOf(errorBody) } } };
}

/** Path → method in small letters → the rows that share both, told apart by their query. */
function operations(rows: readonly Route[]): Map<string, Map<string, Route[]>> {
  const found = new Map<string, Map<string, Route[]>>();
  for (const row of rows) {
    if (row.isHidden || row.methods === '*') continue;
    const methods = found.get(row.path) ?? new Map<string, Route[]>();
    found.set(row.path, methods);
    for (const name of row.methods) {
      const method = name.toLowerCase();
      methods.set(method, [...(methods.get(method) ?? []), row]);
    }
  }
  return found;
}

async function describe(rows: readonly Route[]): Promise<unknown> {
  const parameters = parametersOf(rows);
  const rules = rows.flatMap(({ body }) => (body === undefined || body === 'ignored' ? [] : [body]));
  return {
    summary: rows.map(({ summary }) => summary).join('; '),
    ...(parameters.length > 0 ? { parameters } : {}),
    ...(rules.length > 0 ? { requestBody: await requestBody(rules) } : {}),
    responses: Object.fromEntries(
      rows.flatMap((row) =>
        Object.entries(row.answers).map(([status, about]) => [
          status,
          answer(Number(status), about, row.contentType ?? JSON_TYPE),
        ]),
      ),
    ),
  };
}

/** Required is what every row requires. */
function parametersOf(rows: readonly Route[]): unknown[] {
  const names = new Set(rows.flatMap(({ query }) => Object.keys(query ?? {})));
  return [...names].map((name) => ({
    name,
    in: 'query',
    required: rows.every(({ query }) => query?.[name]?.isRequired === true),
    description: rows.find(({ query }) => query?.[name] !== undefined)?.query?.[name]?.about,
    schema: { type: 'string' },
  }));
}

async function requestBody(rules: readonly BodyRule<unknown>[]): Promise<unknown> {
  const schemas = await Promise.all(rules.map(async ({ schema }) => schemaOf(await schema())));
  const schema = schemas.length === 1 ? schemas[0] : { anyOf: schemas };
  return { required: true, content: { [JSON_TYPE]: { schema } } };
}

function answer(status: number, about: string, contentType: string): unknown {
  if (status >= FIRST_ERROR_STATUS)
    return { description: about, content: { [JSON_TYPE]: { schema: ERROR } } };
  return { description: about, ...(status === 200 ? { content: { [contentType]: {} } } : {}) };
}

function schemaOf(schema: z.ZodType): unknown {
  return z.toJSONSchema(schema, { io: 'input' });
}
