import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { parseSync } from 'vite';
import { describe, expect, test } from 'vitest';
import { repository } from '../vm/process.ts';

const MAX_FILE_LINES = 500;
/** Files of `wire` are tables of layouts: reading one from top to bottom is not the point. */
const MAX_WIRE_FILE_LINES = 700;
const MAX_FUNCTION_LINES = 70;

/** Which rooms of `src` a room may import, itself aside. Type-only imports count: they are knowledge, too. */
const MAY_IMPORT: Record<string, readonly string[]> = {
  lib: [],
  wire: ['lib'],
  native: ['lib'],
  vhost: ['lib', 'wire', 'native'],
  fuse: ['lib', 'wire'],
  transport: ['lib', 'wire', 'native', 'vhost', 'fuse'],
  vfs: ['lib', 'wire', 'fuse'],
  rafs: ['lib', 'wire', 'native'],
  imagefs: ['lib', 'wire', 'native', 'fuse', 'rafs', 'blob'],
  blob: ['lib', 'wire', 'native'],
  source: ['lib', 'wire', 'native', 'blob', 'http'],
  http: ['lib'],
  config: ['lib'],
  'image/model': ['lib', 'wire', 'native', 'rafs'],
  'image/source': ['wire', 'native', 'image/model'],
  'image/source/tar': ['wire', 'native', 'image/model', 'image/source'],
  'image/source/archive': ['lib', 'wire', 'native', 'image/model', 'image/source/tar'],
  'image/blob': ['lib', 'wire', 'native', 'image/model', 'image/source'],
  'image/blob/archive': [
    ...['lib', 'wire', 'native', 'image/model', 'image/source', 'image/source/archive', 'image/blob'],
  ],
  'image/bootstrap': ['lib', 'wire', 'native', 'image/model'],
  // Images are read back through the same checked reader and sources that serve them.
  'image/read': ['lib', 'wire', 'native', 'rafs', 'blob', 'source', 'image/model'],
  'image/rewrite': [...['lib', 'wire', 'blob', 'image/model', 'image/blob', 'image/bootstrap', 'image/read']],
  'image/create': [
    ...[
      'lib',
      'wire',
      'rafs',
      'blob',
      'image/model',
      'image/source',
      'image/source/tar',
      'image/source/archive',
    ],
    ...['image/blob', 'image/blob/archive', 'image/bootstrap', 'image/read'],
  ],
  'image/merge': [
    ...['lib', 'wire', 'rafs', 'blob', 'image/model', 'image/blob', 'image/bootstrap', 'image/read'],
  ],
  'image/compact': [
    ...['lib', 'wire', 'blob', 'image/model', 'image/blob', 'image/bootstrap', 'image/read', 'image/rewrite'],
  ],
  'image/optimize': [
    ...['lib', 'wire', 'blob', 'image/model', 'image/blob', 'image/bootstrap', 'image/read', 'image/rewrite'],
  ],
  'image/dictionary': ['wire', 'image/model', 'image/blob', 'image/bootstrap', 'image/read'],
  'image/check': ['lib', 'wire', 'native', 'rafs', 'blob', 'image/model', 'image/read'],
  'image/inspect': ['wire', 'rafs', 'image/model', 'image/read'],
  'image/unpack': ['lib', 'wire', 'native', 'rafs', 'blob', 'image/model', 'image/read'],
  'image/export': ['lib', 'rafs', 'blob', 'image/model', 'image/read'],
  service: ['lib', 'wire', 'http'],
  'programs/common': ['lib', 'native'],
  // The control thread joins everything. Of FUSE it knows the layout of the counters.
  'programs/nydusd': [
    ...['lib', 'wire', 'native', 'vhost', 'fuse', 'rafs', 'config', 'http', 'service'],
    ...['programs/common', 'programs/nydusd/storage', 'programs/nydusd/workers'],
  ],
  'programs/nydusd/storage': ['lib', 'wire', 'native', 'rafs', 'blob', 'source', 'config'],
  'programs/nydusd/workers': [
    ...['lib', 'wire', 'native', 'vhost', 'fuse', 'transport', 'vfs', 'rafs', 'imagefs', 'blob'],
  ],
  cli: ['programs/common', 'programs/nydusd', 'cli/image', 'lib'],
  'cli/image': [
    ...[
      'lib',
      'config',
      'programs/common',
      'image/model',
      'image/source',
      'image/source/tar',
      'image/blob',
      'image/read',
      'image/create',
    ],
    ...['image/merge', 'image/compact', 'image/optimize', 'image/dictionary', 'image/check', 'image/inspect'],
    ...['image/unpack', 'image/export'],
  ],
};

interface SourceFile {
  /** Relative to the repository. */
  readonly path: string;
  readonly text: string;
}

function files(directory: string, endings: RegExp): SourceFile[] {
  return readdirSync(join(repository, directory), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && endings.test(entry.name))
    .map((entry) => relative(repository, join(entry.parentPath, entry.name)))
    .filter((path) => !path.startsWith('test/fixtures/') && !path.includes('node_modules'))
    .sort()
    .map((path) => ({ path, text: readFileSync(join(repository, path), 'utf8') }));
}

const sources = files('src', /\.ts$/);
const everything = ['src', 'test', 'vm', 'addon', 'qemu-scripts'].flatMap((top) =>
  files(top, /\.(ts|cc|h|sh)$|^init$/),
);

/** Paths of our own files that a file names in import, export, import() or new URL(). */
function references(file: SourceFile): string[] {
  return [...file.text.matchAll(/['"](\.{1,2}\/[^'"\n]+\.ts)['"]/g)].map((match) =>
    relative(repository, resolve(repository, dirname(file.path), match[1]!)),
  );
}

/** The row that a file belongs to: the longest that its path begins with. */
function room(path: string): string {
  const parts = path.split('/').slice(1, -1);
  for (let length = parts.length; length > 0; length--) {
    const name = parts.slice(0, length).join('/');
    if (name in MAY_IMPORT) return name;
  }
  return parts.join('/');
}

function allowed(from: string, to: string): boolean {
  return from === to || (MAY_IMPORT[from]?.includes(to) ?? false);
}

/** Every function of a file with its number of lines. */
function functions(file: SourceFile): { where: string; lines: number }[] {
  const parsed = parseSync(file.path, file.text);
  if (parsed.errors.length > 0) throw new Error(`${file.path}: ${parsed.errors[0]?.message}`);
  const found: { where: string; lines: number }[] = [];
  const line = (offset: number): number => file.text.slice(0, offset).split('\n').length;
  const visit = (node: unknown): void => {
    if (Array.isArray(node)) for (const item of node) visit(item);
    if (typeof node !== 'object' || node === null || Array.isArray(node)) return;
    const { type, start, end } = node as { type?: string; start?: number; end?: number };
    if (type && /^(FunctionDeclaration|FunctionExpression|ArrowFunctionExpression)$/.test(type)) {
      const first = line(start ?? 0);
      found.push({ where: `${file.path}:${first}`, lines: line(end ?? 0) - first + 1 });
    }
    for (const child of Object.values(node)) visit(child);
  };
  visit(parsed.program.body);
  return found;
}

describe('the rooms', () => {
  test('every directory of src is a room of the import table', () => {
    const rooms = new Set(sources.map((file) => room(file.path)));
    expect([...rooms].filter((name) => !(name in MAY_IMPORT))).toEqual([]);
    expect(rooms.size).toBeGreaterThan(10);
  });

  test('import each other only as the table allows', () => {
    const crossings = sources.flatMap((file) =>
      references(file)
        .filter((target) => target.startsWith('src/') && !allowed(room(file.path), room(target)))
        .map((target) => `${file.path} imports ${target}`),
    );
    expect(crossings).toEqual([]);
  });

  test('import nothing from outside src', () => {
    const strays = sources.flatMap((file) =>
      references(file)
        .filter((target) => !target.startsWith('src/'))
        .map((target) => `${file.path} imports ${target}`),
    );
    expect(strays).toEqual([]);
  });

  test('hold no file that no program reaches', () => {
    const byPath = new Map(sources.map((file) => [file.path, file]));
    const reached = new Set<string>();
    const follow = (path: string): void => {
      const file = byPath.get(path);
      if (!file || reached.has(path)) return;
      reached.add(path);
      for (const target of references(file)) follow(target);
    };
    for (const file of sources) if (file.path.startsWith('src/cli/')) follow(file.path);
    expect([...byPath.keys()].filter((path) => !reached.has(path))).toEqual([]);
  });
});

describe('every file', () => {
  test(`has at most ${MAX_FILE_LINES} lines, ${MAX_WIRE_FILE_LINES} where it is a table`, () => {
    const long = everything
      .map(({ path, text }) => ({ path, lines: text.split('\n').length - 1 }))
      .filter(
        ({ path, lines }) => lines > (path.startsWith('src/wire/') ? MAX_WIRE_FILE_LINES : MAX_FILE_LINES),
      );
    expect(long).toEqual([]);
  });

  test(`has functions of at most ${MAX_FUNCTION_LINES} lines, tests aside`, () => {
    const scripts = everything.filter(({ path }) => path.endsWith('.ts') && !path.endsWith('.test.ts'));
    const all = scripts.flatMap(functions);
    expect(all.length).toBeGreaterThan(100);
    expect(all.filter(({ lines }) => lines > MAX_FUNCTION_LINES)).toEqual([]);
  });

  test('leaves nothing for later and no test alone', () => {
    const marks = new RegExp(['FIX' + 'ME', 'TO' + 'DO', '\\b(?:test|it|describe)\\.' + 'only\\b'].join('|'));
    const marked = everything.flatMap(({ path, text }) =>
      text.split('\n').flatMap((line, at) => (marks.test(line) ? [`${path}:${at + 1} ${line.trim()}`] : [])),
    );
    expect(marked).toEqual([]);
  });
});
