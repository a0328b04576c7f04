import { expect, it } from 'vitest';
import { z } from 'zod';
import { type HttpRequest, type Route, RouteTable, route, run } from '../../../src/http/routes.ts';

const named = (status: number, row: Partial<Route> & Pick<Route, 'methods'>): Route =>
  route({ path: '/p', summary: '', answers: {}, handle: () => ({ status }), ...row });

const at = { at: { about: 'Where', isRequired: true } };
const table = new RouteTable([
  named(201, { methods: ['POST'], query: at }),
  named(202, { methods: ['DELETE'], query: at }),
  named(203, {
    methods: ['PUT', 'POST'],
    body: {
      schema: async () => z.object({ name: z.string(), sizes: z.array(z.int()).default([]) }),
      refuse: (value) => {
        if (value === null) throw new Error('refused by the product');
      },
    },
  }),
  named(204, { path: '/q', methods: ['GET'], query: at }),
  named(205, { path: '/all', methods: '*', body: 'ignored' }),
]);

function ask(method: string, target: string, body: string | null = null): Promise<{ status: number }> {
  const { pathname: path, searchParams: query } = new URL(target, 'http://localhost');
  const request: HttpRequest = { method, path, query, body };
  return (async () => run(table.find(request), request))();
}

const code = (name: string, message: string | RegExp) =>
  expect.objectContaining({ code: name, message: expect.stringMatching(message) });

it('rows of a path are told apart by method and by the parameters that they require', async () => {
  expect((await ask('POST', '/p?at=')).status).toBe(201);
  expect((await ask('DELETE', '/p?at=x')).status).toBe(202);
  expect((await ask('POST', '/p', '{"name":"n"}')).status).toBe(203);
  expect((await ask('PATCH', '/all', 'anything')).status).toBe(205);
});

it('what no row takes is refused', async () => {
  await expect(ask('GET', '/')).rejects.toThrow(code('NO_ROUTE', 'no route /'));
  await expect(ask('GET', '/p?at=x')).rejects.toThrow(
    code('NO_METHOD', '/p has no GET; it has POST, DELETE, PUT'),
  );
  await expect(ask('DELETE', '/p')).rejects.toThrow(code('MISSING_QUERY', 'no at'));
  await expect(ask('GET', '/q', 'x')).rejects.toThrow(code('UNWANTED_BODY', 'GET /q takes no body'));
});

it('a body is parsed and validated, and wrong ones name member and place', async () => {
  const place = { line: 2, column: 6 };
  await expect(ask('PUT', '/p')).rejects.toThrow(code('MISSING_BODY', 'PUT /p needs a JSON body'));
  await expect(ask('PUT', '/p', '{')).rejects.toThrow(code('BAD_JSON', ''));
  await expect(ask('PUT', '/p', 'null')).rejects.toThrow('refused by the product');
  await expect(ask('PUT', '/p', '{"x":\n "é"}\n')).rejects.toMatchObject({
    ...{ code: 'BAD_BODY', field: 'name', isMissing: true, place },
  });
  await expect(ask('PUT', '/p', '{"name":"n","sizes":[1,"2"]}')).rejects.toMatchObject({
    ...{ code: 'BAD_BODY', field: 'sizes.1', isMissing: false },
  });
  await expect(ask('PUT', '/p', '[]')).rejects.toMatchObject({
    field: '',
    message: expect.stringMatching(/^the body: /),
  });
});
