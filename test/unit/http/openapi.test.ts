import { expect, it } from 'vitest';
import { z } from 'zod';
import { openApi } from '../../../src/http/openapi.ts';
import { type Route, route } from '../../../src/http/routes.ts';

const handle = () => ({ status: 204 });

const rows: Route[] = [
  route({
    methods: ['PUT'],
    path: '/thing',
    query: { at: { about: 'Where', isRequired: true } },
    body: { schema: async () => z.object({ size: z.int() }) },
    summary: 'Sets it',
    answers: { 204: 'Set', 400: 'Wrong' },
    handle,
  }),
  route({
    methods: ['PUT', 'GET'],
    path: '/thing',
    contentType: 'text/plain',
    summary: 'Sets or shows all',
    answers: { 200: 'All' },
    handle,
  }),
  route({ methods: ['POST'], path: '/thing', isHidden: true, summary: 'Old', answers: {}, handle }),
];

it('describes rows, those of one path and method together', async () => {
  const $schema = 'https://json-schema.org/draft/2020-12/schema';
  const size = { type: 'integer', minimum: Number.MIN_SAFE_INTEGER, maximum: Number.MAX_SAFE_INTEGER };
  const all = { description: 'All', content: { 'text/plain': {} } };
  expect(await openApi({ title: 't', version: 'v' }, rows, z.object({ code: z.string() }))).toEqual({
    openapi: '3.1.0',
    info: { title: 't', version: 'v' },
    paths: {
      '/thing': {
        put: {
          summary: 'Sets it; Sets or shows all',
          parameters: [
            { name: 'at', in: 'query', required: false, description: 'Where', schema: { type: 'string' } },
          ],
          requestBody: {
            required: true,
            content: {
              'application/json': {
                schema: { $schema, type: 'object', properties: { size }, required: ['size'] },
              },
            },
          },
          responses: {
            200: all,
            204: { description: 'Set' },
            400: {
              description: 'Wrong',
              content: { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } },
            },
          },
        },
        get: { summary: 'Sets or shows all', responses: { 200: all } },
      },
    },
    components: {
      schemas: {
        Error: { $schema, type: 'object', properties: { code: { type: 'string' } }, required: ['code'] },
      },
    },
  });
});
