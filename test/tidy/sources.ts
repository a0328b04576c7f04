import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { parseSync } from 'vite';
import { repository } from '../../vm/process.ts';

/** One file that people write. */
export interface SourceFile {
  /** Relative to the repository. */
  readonly path: string;
  readonly text: string;
}

/** A node of the syntax tree (ESTree, with TypeScript's nodes); the other properties depend on the type. */
export interface Node {
  readonly type: string;
  /** Offsets into the text. */
  readonly start: number;
  readonly end: number;
  readonly [property: string]: unknown;
}

/** A comment, its delimiters included. */
export interface Comment {
  readonly start: number;
  readonly end: number;
}

/** A file that was parsed. */
export interface Syntax {
  readonly program: Node;
  readonly comments: readonly Comment[];
}

/** The files below a directory whose names match, without fixtures and what was installed. */
export function files(directory: string, names: RegExp): SourceFile[] {
  return readdirSync(join(repository, directory), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && names.test(entry.name))
    .map((entry) => relative(repository, join(entry.parentPath, entry.name)))
    .filter((path) => !path.startsWith('test/fixtures/') && !path.includes('node_modules'))
    .sort()
    .map((path) => ({ path, text: readFileSync(join(repository, path), 'utf8') }));
}

/** The product. */
export const sources: readonly SourceFile[] = files('src', /\.ts$/);

/** All that people write in a programming language. */
export const everything: readonly SourceFile[] = [
  ...['src', 'test', 'vm', 'addon', 'qemu-scripts'].flatMap((top) => files(top, /\.(ts|cc|h|sh)$|^init$/)),
  ...['bin', '.ci'].flatMap((top) => files(top, /^[\w-]+$/)),
];

/** All TypeScript. */
export const scripts: readonly SourceFile[] = everything.filter(({ path }) => path.endsWith('.ts'));

const parsed = new Map<SourceFile, Syntax>();

/** The syntax of a TypeScript file. Throws if it has none. */
export function syntax(file: SourceFile): Syntax {
  let result = parsed.get(file);
  if (!result) {
    const { program, comments, errors } = parseSync(file.path, file.text);
    if (errors.length > 0) throw new Error(`${file.path}: ${errors[0]?.message}`);
    result = { program: program as unknown as Node, comments };
    parsed.set(file, result);
  }
  return result;
}

/** Whether a property of a node is a node. */
export function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && typeof (value as Node).type === 'string';
}

/** Calls `visit` for a node and all below it, a parent before its children, with the parents, nearest last. */
export function walk(
  node: Node,
  visit: (node: Node, parents: readonly Node[]) => void,
  parents: Node[] = [],
): void {
  visit(node, parents);
  parents.push(node);
  for (const key in node) {
    const value = node[key];
    if (Array.isArray(value)) {
      for (const child of value) if (isNode(child)) walk(child, visit, parents);
    } else if (isNode(value)) walk(value, visit, parents);
  }
  parents.pop();
}

/** The number of the line that an offset is in, the first being 1. */
export function lineOf(file: SourceFile, offset: number): number {
  let line = 1;
  for (let at = file.text.indexOf('\n'); at >= 0 && at < offset; at = file.text.indexOf('\n', at + 1)) line++;
  return line;
}
