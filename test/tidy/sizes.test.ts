import { describe, expect, test } from 'vitest';
import { LONG_COMMENTS } from './allowances.ts';
import { COMMENT_COLUMNS_MAX, FILE_LINES_MAX, FUNCTION_LINES_MAX, TABLE_FILE_LINES_MAX } from './limits.ts';
import { room } from './rooms.ts';
import { extent, functions, longComments } from './sizes.ts';
import { everything, type SourceFile, scripts } from './sources.ts';

describe('every file', () => {
  test(`has at most ${FILE_LINES_MAX} lines, ${TABLE_FILE_LINES_MAX} where it is a table`, () => {
    const long = everything
      .map(extent)
      .filter(
        ({ where, lines }) => lines > (where.startsWith('src/wire/') ? TABLE_FILE_LINES_MAX : FILE_LINES_MAX),
      );
    expect(long).toEqual([]);
  });

  test(`has functions of at most ${FUNCTION_LINES_MAX} lines, tests aside`, () => {
    const all = scripts.filter(({ path }) => !path.endsWith('.test.ts')).flatMap(functions);
    expect(all.length).toBeGreaterThan(100);
    expect(all.filter(({ lines }) => lines > FUNCTION_LINES_MAX)).toEqual([]);
  });

  test(`has comments within ${COMMENT_COLUMNS_MAX} columns`, () => {
    const long = new Map<string, string[]>();
    for (const file of everything) {
      const name = file.path.startsWith('src/') ? room(file.path) : file.path.split('/')[0]!;
      const found = longComments(file, COMMENT_COLUMNS_MAX);
      if (found.length > 0) long.set(name, [...(long.get(name) ?? []), ...found]);
    }
    const surplus = [...long].filter(([name, { length }]) => length > (LONG_COMMENTS[name] ?? 0));
    expect(surplus.flatMap(([, where]) => where)).toEqual([]);
    const lowered = Object.entries(LONG_COMMENTS).filter(
      ([name, count]) => (long.get(name)?.length ?? 0) < count,
    );
    expect(lowered, 'allowances that can be lowered').toEqual([]);
  });

  test('leaves nothing for later and no test alone', () => {
    const marks = new RegExp(['FIX' + 'ME', 'TO' + 'DO', '\\b(?:test|it|describe)\\.' + 'only\\b'].join('|'));
    const marked = everything.flatMap(({ path, text }) =>
      text.split('\n').flatMap((line, at) => (marks.test(line) ? [`${path}:${at + 1} ${line.trim()}`] : [])),
    );
    expect(marked).toEqual([]);
  });
});

describe('a comment that is too long is found', () => {
  const file = (path: string, ...lines: string[]): SourceFile => ({ path, text: lines.join('\n') });

  test('in TypeScript: on its own line, behind code, within a block', () => {
    const source = file(
      'a.ts',
      '// 4567890',
      'a(); // 90',
      '/**',
      ' * 567890',
      ' */',
      '// short',
      "b('//567890');",
    );
    expect(longComments(source, 8)).toEqual(['a.ts:1', 'a.ts:2', 'a.ts:4']);
  });

  test('in C++, where a quoted one is none', () => {
    const source = file('a.cc', 'a("//567890");', "b('\"'); // 0", '/* 4567890', '   4567890 */');
    expect(longComments(source, 10)).toEqual(['a.cc:2', 'a.cc:4']);
  });

  test('in a shell script, where $# begins none', () => {
    expect(longComments(file('a.sh', '# 34567890', 'test $# -gt 1'), 8)).toEqual(['a.sh:1']);
  });
});
