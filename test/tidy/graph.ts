import { type Module, moduleOf } from './modules.ts';
import { isNode, lineOf, type Node, type SourceFile, scripts, syntax, walk } from './sources.ts';

/** Every TypeScript file's place among the others. */
export const modules: ReadonlyMap<string, Module> = new Map(
  scripts.map((file) => [file.path, moduleOf(file)]),
);

/** Whether a file is part of what runs or is built, tests aside: its imports count as use. */
function isProduct(path: string): boolean {
  return !path.startsWith('test/');
}

/** Files that import each other in a circle, a list for every such knot, largest first (Tarjan's components). */
export function circles(graph: ReadonlyMap<string, readonly string[]>): string[][] {
  const index = new Map<string, number>();
  const low = new Map<string, number>();
  const stack: string[] = [];
  const found: string[][] = [];
  const visit = (path: string): void => {
    index.set(path, index.size);
    low.set(path, index.get(path)!);
    stack.push(path);
    for (const target of graph.get(path) ?? []) {
      if (!index.has(target)) {
        visit(target);
        low.set(path, Math.min(low.get(path)!, low.get(target)!));
      } else if (stack.includes(target)) low.set(path, Math.min(low.get(path)!, index.get(target)!));
    }
    if (low.get(path) !== index.get(path)) return;
    const component = stack.splice(stack.indexOf(path)).sort();
    if (component.length > 1 || graph.get(path)?.includes(path)) found.push(component);
  };
  for (const path of graph.keys()) if (!index.has(path)) visit(path);
  return found.sort((a, b) => b.length - a.length || (a[0]! < b[0]! ? -1 : 1));
}

/** Who imports whom, type-only and dynamic imports counted; naming a worker's file is none. */
export function importGraph(all: Iterable<Module>): Map<string, string[]> {
  return new Map(
    [...all].map(({ path, imports }) => [path, [...new Set(imports.map((each) => each.target))]]),
  );
}

/** An export of `src` that the product does not use. */
export interface DeadExport {
  /** PATH#NAME. */
  readonly id: string;
  /** Whether a test uses it. */
  readonly tested: boolean;
}

/** The exports that are taken by files for which `counts` holds, as PATH#NAME; PATH#* where all may be. */
function usedExports(all: ReadonlyMap<string, Module>, counts: (path: string) => boolean): Set<string> {
  const used = new Set<string>();
  const use = (path: string, name: string): void => {
    const module = all.get(path);
    if (used.has(`${path}#${name}`)) return;
    used.add(`${path}#${name}`);
    if (name === '*' || !module?.exports.some((each) => each.name === name)) {
      for (const further of module?.passesOn ?? []) use(further, name);
    }
  };
  for (const { path, imports } of all.values()) {
    if (!counts(path)) continue;
    for (const { target, names } of imports)
      for (const name of names === '*' ? ['*'] : names) use(target, name);
  }
  return used;
}

/** Exports below `src` that no other file of the product imports. */
export function deadExports(all: ReadonlyMap<string, Module>): DeadExport[] {
  const used = usedExports(all, isProduct);
  const tested = usedExports(all, (path) => !isProduct(path));
  const has = (set: ReadonlySet<string>, path: string, name: string): boolean =>
    set.has(`${path}#${name}`) || set.has(`${path}#*`);
  return [...all.values()]
    .filter(({ path }) => path.startsWith('src/'))
    .flatMap(({ path, exports }) =>
      [...new Set(exports.map(({ name }) => name))].map((name) => ({ path, name })),
    )
    .filter(({ path, name }) => !has(used, path, name))
    .map(({ path, name }) => ({ id: `${path}#${name}`, tested: has(tested, path, name) }));
}

/**
 * Methods and accessors of classes that nothing in `files` calls by their name, and members of interfaces likewise. A
 * hint only: it goes by name, so a namesake hides one, and what a library calls (iterators, streams) looks unused.
 */
export function unusedMethods(files: readonly SourceFile[]): string[] {
  const defined: { name: string; where: string }[] = [];
  const used = new Set<string>();
  for (const file of files) {
    walk(syntax(file).program, (node, parents) => {
      const key = isNode(node.key) && !node.computed ? (node.key.name as string | undefined) : undefined;
      if (
        /^(TSAbstract)?MethodDefinition$|^TSMethodSignature$/.test(node.type) &&
        key &&
        node.kind !== 'constructor'
      ) {
        if ((node.key as Node).type !== 'PrivateIdentifier') {
          defined.push({ name: key, where: `${file.path}:${lineOf(file, node.start)} ${key}` });
        }
      }
      const parent = parents.at(-1);
      if (node.type === 'MemberExpression' && !node.computed)
        used.add((node.property as Node).name as string);
      if (node.type === 'Property' && parent?.type === 'ObjectPattern' && key) used.add(key);
      if (node.type === 'Literal' && typeof node.value === 'string') used.add(node.value);
    });
  }
  return defined.filter(({ name }) => !used.has(name)).map(({ where }) => where);
}
