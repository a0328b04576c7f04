import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readAccessList } from '../../../../src/image/optimize/access-list.ts';

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'access-list-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function read(
  text: string,
  onSkipped = (message: string): void => expect.fail(message),
): ReturnType<typeof readAccessList> {
  const path = join(dir, 'list.json');
  writeFileSync(path, text);
  return readAccessList(path, onSkipped);
}

test('files, whole or in ranges, in the order of the list', () => {
  const files = [
    {
      path: '/b',
      ranges: [
        [1, 2],
        [3, 0],
      ],
    },
    { path: '/a', ranges: null, more: 1 },
    { path: '/c', ranges: [] },
  ];
  expect(read(JSON.stringify({ version: 'v1', files }))).toEqual([
    {
      path: '/b',
      ranges: [
        { offset: 1, size: 2 },
        { offset: 3, size: 0 },
      ],
    },
    { path: '/a', ranges: null },
    { path: '/c', ranges: [] },
  ]);
});

test('an empty file lists nothing', () => {
  expect(read(' \n')).toEqual([]);
});

test('a path that is not absolute is left out, and said', () => {
  const said: string[] = [];
  expect(read('{"version":"v1","files":[{"path":"a"}]}', (message) => said.push(message))).toEqual([]);
  expect(said).toEqual([expect.stringContaining('"a" is not an absolute path')]);
});

test.each([
  ['/bin/sh\n', /list\.json: not JSON/],
  ['[]', /list\.json: the list: /],
  ['{"files":[]}', /list\.json: version: /],
  ['{"version":"v2","files":[]}', /version is "v2", supported is "v1"/],
  ['{"version":"v1"}', /list\.json: files: /],
  ['{"version":"v1","files":[{}]}', /files\.0\.path: /],
  ['{"version":"v1","files":[{"path":"/a","ranges":[[1]]}]}', /files\.0\.ranges\.0/],
  ['{"version":"v1","files":[{"path":"/a","ranges":[[-1,2]]}]}', /files\.0\.ranges\.0\.0/],
  ['{"version":"v1","files":[{"path":"/a","ranges":[[0,1.5]]}]}', /files\.0\.ranges\.0\.1/],
])('%s is refused, and the member named', (text, message) => {
  expect(() => read(text)).toThrow(message);
});

test('a missing file is named', () => {
  expect(() => readAccessList(join(dir, 'absent'), () => {})).toThrow(/absent/);
});
