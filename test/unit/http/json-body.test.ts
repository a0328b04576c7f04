import { expect, test } from 'vitest';
import { parseJson } from '../../../src/http/json-body.ts';

test.each([
  ['hello', false, 1, 1],
  ['{"a":\n  x}', false, 2, 3],
  ['{"a": 1', true, 1, 7],
  ['{"a": "b', true, 1, 8],
  ['[1] 2', false, 1, 5],
])('errors of %j name the place', (text, isCutShort, line, column) => {
  expect(() => parseJson(text)).toThrow(
    expect.objectContaining({ code: 'BAD_JSON', isCutShort, place: { line, column } }),
  );
});
