import { expect, it } from 'vitest';
import { normalisePath, PathError, splitPath } from '../../../src/lib/path.ts';

it.each([
  ['/', '/'],
  ['//', '/'],
  ['/foo/bar', '/foo/bar'],
  ['/foo//bar/', '/foo/bar'],
  ['/./foo/./bar/.', '/foo/bar'],
  ['/foo/../bar', '/bar'],
  ['/..', '/'],
  ['/../../foo', '/foo'],
  ['/foo/bar/../..', '/'],
  ['/...', '/...'],
  [`/${'é'.repeat(127)}`, `/${'é'.repeat(127)}`],
])('%s is %s', (path, normal) => {
  expect(normalisePath(path)).toBe(normal);
  expect(splitPath(path)).toEqual(normal.split('/').filter(Boolean));
});

it.each([
  '',
  'foo',
  './foo',
  '../foo',
  '/fo\0o',
  `/${'n'.repeat(256)}`,
  `/${'é'.repeat(128)}`,
  `/${'n'.repeat(256)}/..`,
  '/n'.repeat(2049),
])('refuses %j', (path) => {
  expect(() => normalisePath(path)).toThrow(PathError);
});
