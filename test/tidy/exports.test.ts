import { describe, expect, test } from 'vitest';
import { CIRCLES, DEAD_EXPORTS } from './allowances.ts';
import { circles, deadExports, importGraph, modules } from './graph.ts';
import { type Module, moduleOf } from './modules.ts';

/** Exports that only tests use, and why they stay: path#name. */
const ONLY_FOR_TESTS: Record<string, string> = {
  'src/blob/codecs.ts#exactly': 'the reference codecs keep the same rule of sizes',
  'src/blob/lander.ts#LandPiece': 'the reference lander takes the same job',
  'src/blob/lanes.ts#LANE_LIMITS': 'what a back end that hangs may take is counted against it',
  'src/blob/view.ts#ChunkRecord': 'tests make records and look into them',
  'src/fuse/server.ts#FuseServerOptions': 'tests begin servers with options of their own',
  'src/image/blob/archive/zran.ts#Inflating': 'tests stand in for the inflater',
  'src/image/check/check.ts#CheckReport': 'tests say what a report must hold',
  'src/image/compact/plan.ts#CompactInput': 'tests plan over tables of blobs',
  'src/image/dictionary/select.ts#smoothed': 'its numbers are compared with those of the original',
  'src/image/dictionary/select.ts#splitVersions': 'its choice is compared with that of the original',
  'src/image/merge/merge.ts#LayerBlob': 'tests merge with layers of their own',
  'src/image/merge/merge.ts#MergeOptions': 'tests merge with options of their own',
  'src/image/source/directory.ts#walk': 'trees of directories are compared with what images show',
  'src/image/unpack/unpack.ts#UnpackOptions': 'tests unpack with options of their own',
  'src/image/unpack/unpack.ts#UnpackProgress': 'tests look at the progress that is told',
  'src/imagefs/filesystem.ts#RafsOptions': 'tests open file systems with options of their own',
  'src/native/index.ts#checkSyscall': 'tests call the addon as the product does',
  'src/transport/virtio.ts#StopResult': 'tests say how a ring must stop',
};

const dead = deadExports(modules);

describe('the product', () => {
  test('has no circle of files, type-only and dynamic imports counted', () => {
    expect(modules.size).toBeGreaterThan(100);
    const found = circles(importGraph(modules.values()));
    const known = new Set(CIRCLES.map((circle) => circle.join(' ')));
    expect(found.filter((circle) => !known.has(circle.join(' ')))).toEqual([]);
    const gone = CIRCLES.filter((circle) => !found.some((each) => each.join(' ') === circle.join(' ')));
    expect(gone, 'allowed circles that are no more').toEqual([]);
  });

  test('has no export that nothing in it imports', () => {
    const known = new Set([...Object.keys(ONLY_FOR_TESTS), ...DEAD_EXPORTS]);
    expect(dead.map(({ id }) => id).filter((id) => !known.has(id))).toEqual([]);
    const gone = DEAD_EXPORTS.filter((id) => !dead.some((each) => each.id === id));
    expect(gone, 'allowed dead exports that are no more').toEqual([]);
  });

  test('has an export for tests alone only where a test uses it and nothing else', () => {
    const tested = new Set(dead.filter(({ tested }) => tested).map(({ id }) => id));
    expect(Object.keys(ONLY_FOR_TESTS).filter((id) => !tested.has(id))).toEqual([]);
  });
});

function tree(files: Record<string, string>): Map<string, Module> {
  return new Map(Object.entries(files).map(([path, text]) => [path, moduleOf({ path, text })]));
}

describe('a circle is found', () => {
  const inCircle = (there: string, back: string): string[][] =>
    circles(
      importGraph(tree({ 'src/a.ts': there, 'src/b.ts': back, 'src/c.ts': "import './a.ts';" }).values()),
    );

  test.each([
    ['imports', "import { b } from './b.ts';"],
    ['type-only imports', "import type { B } from './b.ts';"],
    ['a type import in place', "type B = import('./b.ts').B;"],
    ['re-exports', "export { b } from './b.ts';"],
    ['exports of everything', "export * from './b.ts';"],
    ['dynamic imports', "export const b = () => import('./b.ts');"],
  ])('of %s', (_, there) => {
    expect(inCircle(there, "import { a } from './a.ts';")).toEqual([['src/a.ts', 'src/b.ts']]);
  });

  test('naming the file of a worker makes none', () => {
    expect(
      inCircle("new Worker(new URL('./b.ts', import.meta.url));", "import { a } from './a.ts';"),
    ).toEqual([]);
  });

  test('of a file with itself', () => {
    expect(inCircle("import type { A } from './a.ts';", '')).toEqual([['src/a.ts']]);
  });
});

describe('an export is dead', () => {
  const B =
    'export const one = 1, { two, x: [three] } = f(); export interface Four {} export function five() {}';
  const deadOf = (user: string, path = 'src/a.ts'): string[] =>
    deadExports(tree({ [path]: user, 'src/b.ts': B }))
      .map(({ id }) => id)
      .filter((id) => id.startsWith('src/b.ts'))
      .map((id) => id.slice('src/b.ts#'.length));

  test('unless a file of the product takes it by its name', () => {
    expect(deadOf('')).toEqual(['one', 'two', 'three', 'Four', 'five']);
    expect(deadOf("import { one, three as x } from './b.ts';")).toEqual(['two', 'Four', 'five']);
    expect(deadOf("import type { Four } from './b.ts'; type T = import('./b.ts').two;")).toEqual([
      'one',
      'three',
      'five',
    ]);
    expect(deadOf("import { one } from '../src/b.ts';", 'vm/a.ts')).not.toContain('one');
    expect(deadOf("import { one } from '../src/b.ts';", 'test/a.ts')).toContain('one');
  });

  test('unless a namespace that was imported is asked for it', () => {
    expect(deadOf("import * as b from './b.ts'; b.one; type F = b.Four; q.five; ({ five: 1 });")).toEqual([
      'two',
      'three',
      'five',
    ]);
    expect(deadOf("import * as b from './b.ts'; hand(b);")).toEqual([]);
    expect(deadOf("import * as b from './b.ts'; const { two } = b;")).not.toContain('two');
    expect(deadOf("import * as b from './b.ts'; b[name];")).toEqual([]);
  });

  test('unless a dynamic import takes it', () => {
    const rest = ['two', 'three', 'Four', 'five'];
    expect(deadOf("const { one } = await import('./b.ts');")).toEqual(rest);
    expect(deadOf("(await import('./b.ts')).one();")).toEqual(rest);
    expect(deadOf("const b = await import('./b.ts'); b.one();")).toEqual(rest);
    expect(deadOf("import('./b.ts').then(({ one }) => one);")).toEqual(rest);
    expect(deadOf("import('./b.ts').then((b) => b.one());")).toEqual(rest);
    expect(deadOf("hand(await import('./b.ts'));")).toEqual([]);
  });

  test('when it is handed on and nobody takes it from there', () => {
    const deadIn = (user: string, hub: string): string[] =>
      deadExports(
        tree({ 'src/a.ts': user, 'src/hub.ts': hub, 'src/b.ts': 'export const one = 1, two = 2;' }),
      ).map(({ id }) => id);
    expect(deadIn('', "export { one } from './b.ts';")).toEqual(['src/hub.ts#one', 'src/b.ts#two']);
    expect(deadIn("import { uno } from './hub.ts';", "export { one as uno } from './b.ts';")).toEqual([
      'src/b.ts#two',
    ]);
    expect(deadIn("import { one } from './hub.ts';", "export * from './b.ts';")).toEqual(['src/b.ts#two']);
    expect(deadIn("import { b } from './hub.ts';", "export * as b from './b.ts';")).toEqual([]);
  });
});
