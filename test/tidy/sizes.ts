import { lineOf, type SourceFile, syntax, walk } from './sources.ts';

/** Where something is, PATH:LINE, and how many lines it has. */
export interface Extent {
  readonly where: string;
  readonly lines: number;
}

/** How many lines a file has. */
export function extent(file: SourceFile): Extent {
  return { where: file.path, lines: file.text.split('\n').length - 1 };
}

/** Every function of a TypeScript file. */
export function functions(file: SourceFile): Extent[] {
  const found: Extent[] = [];
  walk(syntax(file).program, ({ type, start, end }) => {
    if (!/^(FunctionDeclaration|FunctionExpression|ArrowFunctionExpression)$/.test(type)) return;
    const first = lineOf(file, start);
    found.push({ where: `${file.path}:${first}`, lines: lineOf(file, end) - first + 1 });
  });
  return found;
}

/** The one with the most lines. */
export function largest(extents: readonly Extent[]): Extent {
  return extents.reduce((most, each) => (each.lines > most.lines ? each : most));
}

/** Strings and comments of C++; the first alternatives keep a quoted or raw string from looking like a comment. */
const CPP = /"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|(\/\/[^\n]*|\/\*[\s\S]*?\*\/)/g;

/**
 * A shell's comments: a # that begins a word. Within a string it looks like one, too: a long line is at fault either
 * way.
 */
const SHELL = /(?<=^|\s)#[^\n]*/gm;

/** Where the comments of a file are. */
function comments(file: SourceFile): { start: number; end: number }[] {
  if (file.path.endsWith('.ts')) return [...syntax(file).comments];
  const isCpp = /\.(cc|h)$/.test(file.path);
  return [...file.text.matchAll(isCpp ? CPP : SHELL)]
    .filter((match) => !isCpp || match[1] !== undefined)
    .map((match) => ({ start: match.index, end: match.index + match[0].length }));
}

/** The lines, PATH:LINE, on which a comment goes beyond a column. */
export function longComments(file: SourceFile, columnMax: number): string[] {
  const found = new Set<number>();
  for (const { start, end } of comments(file)) {
    const first = lineOf(file, start);
    const parts = file.text.slice(file.text.lastIndexOf('\n', start - 1) + 1, end).split('\n');
    for (const [at, part] of parts.entries()) if (part.length > columnMax) found.add(first + at);
  }
  return [...found].map((line) => `${file.path}:${line}`);
}
