import { describe, expect, test } from 'vitest';
import { modules } from './graph.ts';
import { allowed, MAY_IMPORT, references, room } from './rooms.ts';
import { sources } from './sources.ts';

const product = sources.map(({ path }) => modules.get(path)!);

describe('the rooms', () => {
  test('every directory of src is a room of the import table', () => {
    const rooms = new Set(sources.map((file) => room(file.path)));
    expect([...rooms].filter((name) => !(name in MAY_IMPORT))).toEqual([]);
    expect(rooms.size).toBeGreaterThan(10);
  });

  test('import each other only as the table allows', () => {
    const crossings = product.flatMap((module) =>
      references(module)
        .filter((target) => target.startsWith('src/') && !allowed(room(module.path), room(target)))
        .map((target) => `${module.path} imports ${target}`),
    );
    expect(crossings).toEqual([]);
  });

  test('import nothing from outside src', () => {
    const strays = product.flatMap((module) =>
      references(module)
        .filter((target) => !target.startsWith('src/'))
        .map((target) => `${module.path} imports ${target}`),
    );
    expect(strays).toEqual([]);
  });

  test('hold no file that no program reaches', () => {
    const reached = new Set<string>();
    const follow = (path: string): void => {
      const module = modules.get(path);
      if (!module || reached.has(path)) return;
      reached.add(path);
      for (const target of references(module)) follow(target);
    };
    for (const { path } of sources) if (room(path) === 'cli') follow(path);
    expect(sources.map(({ path }) => path).filter((path) => !reached.has(path))).toEqual([]);
  });
});
