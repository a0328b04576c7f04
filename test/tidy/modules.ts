import { dirname, relative, resolve } from 'node:path';
import { repository } from '../../vm/process.ts';
import { isNode, lineOf, type Node, type SourceFile, syntax, walk } from './sources.ts';

/** A file's use of another one of ours: import, export from, import(), or the type import('…'). */
export interface Import {
  /** Relative to the repository. */
  readonly target: string;
  /** What is taken of it; '*' where that cannot be told, or is all. */
  readonly names: readonly string[] | '*';
}

/** A name that a file gives to others. */
export interface Export {
  readonly name: string;
  readonly line: number;
}

/** How a file hangs together with others. */
export interface Module {
  readonly path: string;
  readonly imports: readonly Import[];
  readonly exports: readonly Export[];
  /** Files of which this one hands on all names: `export * from`. */
  readonly passesOn: readonly string[];
  /** Files that it names otherwise: workers in new URL(), paths to run. */
  readonly names: readonly string[];
}

const OWN_FILE = /^\.{1,2}\/.*\.ts$/;

/** The path of our own file that a literal names, if it does. */
function target(file: SourceFile, literal: unknown): string | undefined {
  const value = isNode(literal) && literal.type === 'Literal' ? literal.value : undefined;
  if (typeof value !== 'string' || !OWN_FILE.test(value)) return undefined;
  return relative(repository, resolve(repository, dirname(file.path), value));
}

/** Of an identifier or a string in its place. */
function nameOf(node: unknown): string {
  const { name, value } = node as { name?: string; value?: string };
  return name ?? value ?? '';
}

/** The names that an object pattern takes, or '*' if it takes the rest. */
function patternNames(pattern: Node): string[] | '*' {
  const properties = pattern.properties as Node[];
  if (properties.some((property) => property.type === 'RestElement' || property.computed)) return '*';
  return properties.map((property) => nameOf(property.key));
}

/** The member of a module that the nearest of `parents` takes of it, or '*'. */
function taken(node: Node, parents: readonly Node[]): readonly string[] | '*' {
  const parent = parents.at(-1);
  if (!parent) return '*';
  const above = parents.slice(0, -1);
  switch (parent.type) {
    case 'AwaitExpression':
    case 'ParenthesizedExpression':
      return taken(parent, above);
    case 'MemberExpression': {
      if (parent.object !== node || parent.computed) return '*';
      const member = nameOf(parent.property);
      const call = above.at(-1);
      if (node.type !== 'ImportExpression' || member !== 'then' || call?.type !== 'CallExpression')
        return [member];
      const then = (call.arguments as Node[])[0];
      const parameter = (then?.params as Node[] | undefined)?.[0];
      return parameter ? bound(parameter, then?.body as Node) : '*';
    }
    case 'TSQualifiedName':
      return parent.left === node ? [nameOf(parent.right)] : '*';
    case 'VariableDeclarator': {
      const id = parent.id as Node;
      if (id.type === 'ObjectPattern') return patternNames(id);
      // A name for a module that was loaded, not a second name for it.
      return node.type === 'Identifier' ? '*' : bound(id, parents[0]!);
    }
    default:
      return '*';
  }
}

/**
 * What is taken of the module that `pattern` is bound to, within `scope`. A name of its own is not told from a
 * namesake.
 */
function bound(pattern: Node, scope: Node): readonly string[] | '*' {
  if (pattern.type === 'ObjectPattern') return patternNames(pattern);
  if (pattern.type !== 'Identifier') return '*';
  const found: (readonly string[] | '*')[] = [];
  walk(scope, (node, parents) => {
    if (node.type !== 'Identifier' || node.name !== pattern.name || node === pattern) return;
    const parent = parents.at(-1);
    const isLabel =
      (parent?.type === 'MemberExpression' && parent.property === node && !parent.computed) ||
      (parent?.type === 'TSQualifiedName' && parent.right === node) ||
      (parent?.type === 'Property' && parent.key === node && !parent.shorthand && !parent.computed) ||
      parent?.type === 'ImportNamespaceSpecifier';
    if (!isLabel) found.push(taken(node, parents));
  });
  return found.some((names) => names === '*') ? '*' : found.flat();
}

/** The names that a pattern of a declaration binds. */
function boundNames(pattern: Node): string[] {
  switch (pattern.type) {
    case 'Identifier':
      return [nameOf(pattern)];
    case 'ObjectPattern':
      return (pattern.properties as Node[]).flatMap((each) =>
        boundNames((each.value ?? each.argument) as Node),
      );
    case 'ArrayPattern':
      return (pattern.elements as (Node | null)[]).flatMap((each) => (each ? boundNames(each) : []));
    case 'AssignmentPattern':
      return boundNames(pattern.left as Node);
    case 'RestElement':
      return boundNames(pattern.argument as Node);
    default:
      throw new Error(`a declaration binds a ${pattern.type}`);
  }
}

function declaredNames(declaration: Node): string[] {
  if (declaration.type !== 'VariableDeclaration') return [nameOf(declaration.id)];
  return (declaration.declarations as Node[]).flatMap((each) => boundNames(each.id as Node));
}

/** The imports that one node makes. */
function importsOf(file: SourceFile, program: Node, node: Node, parents: readonly Node[]): Import[] {
  const to = target(file, node.source);
  if (!to) return [];
  const specifiers = (node.specifiers ?? []) as Node[];
  switch (node.type) {
    case 'ImportDeclaration':
      return specifiers.length === 0
        ? [{ target: to, names: [] }]
        : specifiers.map((each) => ({ target: to, names: specifierNames(program, each) }));
    case 'ExportNamedDeclaration':
      return [{ target: to, names: specifiers.map((each) => nameOf(each.local)) }];
    case 'ExportAllDeclaration':
      return [{ target: to, names: node.exported ? '*' : [] }];
    case 'ImportExpression':
      return [{ target: to, names: taken(node, parents) }];
    case 'TSImportType':
      return [{ target: to, names: node.qualifier ? [firstName(node.qualifier as Node)] : '*' }];
    default:
      return [];
  }
}

function specifierNames(program: Node, specifier: Node): readonly string[] | '*' {
  if (specifier.type === 'ImportDefaultSpecifier') return ['default'];
  if (specifier.type === 'ImportNamespaceSpecifier') return bound(specifier.local as Node, program);
  return [nameOf(specifier.imported)];
}

function firstName(qualifier: Node): string {
  return qualifier.type === 'TSQualifiedName' ? firstName(qualifier.left as Node) : nameOf(qualifier);
}

/** The names that one node exports. */
function exportsOf(node: Node): string[] {
  if (node.type === 'ExportDefaultDeclaration') return ['default'];
  if (node.type === 'ExportAllDeclaration') return node.exported ? [nameOf(node.exported)] : [];
  if (node.type !== 'ExportNamedDeclaration') return [];
  if (isNode(node.declaration)) return declaredNames(node.declaration);
  return (node.specifiers as Node[]).map((each) => nameOf(each.exported));
}

/** Reads how a file hangs together with others from its syntax. */
export function moduleOf(file: SourceFile): Module {
  const { program } = syntax(file);
  const imports: Import[] = [];
  const exports: Export[] = [];
  const passesOn: string[] = [];
  const names = new Set<string>();
  walk(program, (node, parents) => {
    imports.push(...importsOf(file, program, node, parents));
    exports.push(...exportsOf(node).map((name) => ({ name, line: lineOf(file, node.start) })));
    const all =
      node.type === 'ExportAllDeclaration' && !node.exported ? target(file, node.source) : undefined;
    if (all) passesOn.push(all);
    const named = target(file, node);
    if (named) names.add(named);
  });
  for (const { target } of imports) names.delete(target);
  return { path: file.path, imports, exports, passesOn, names: [...names] };
}
