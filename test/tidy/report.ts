/** Prints what `npm run check` found of the tree: the table of rooms, circles, dead exports, sizes, coverage. */
import { lastRun, percentText, shortfalls } from '../coverage/last.ts';
import { CIRCLES, DEAD_EXPORTS, LONG_COMMENTS } from './allowances.ts';
import { circles, deadExports, importGraph, modules, unusedMethods } from './graph.ts';
import {
  COVERAGE_FLOOR_PERCENT,
  FILE_LINES_MAX,
  FUNCTION_LINES_MAX,
  TABLE_FILE_LINES_MAX,
} from './limits.ts';
import { MAY_IMPORT, rooms } from './rooms.ts';
import { extent, functions, largest } from './sizes.ts';
import { everything, scripts, sources } from './sources.ts';

function printRooms(): void {
  console.log(`${'room'.padEnd(26)}files  lines  imports`);
  for (const { name, files, lines, imports } of rooms()) {
    const unused = (MAY_IMPORT[name] ?? []).filter((other) => !imports.includes(other));
    const note = unused.length > 0 ? ` (could: ${unused.join(' ')})` : '';
    const size = `${String(files).padStart(5)} ${String(lines).padStart(6)}`;
    console.log(`${name.padEnd(26)}${size}  ${imports.join(' ') || '–'}${note}`);
  }
}

/** A line with what there is, or "none". */
function print(what: string, found: readonly string[], allowed = 0): void {
  const note = allowed > 0 ? ` (${allowed} of them known and still to be mended)` : '';
  console.log(`${what}: ${found.length === 0 ? 'none' : found.length + note}`);
  for (const each of found) console.log(`  ${each}`);
}

function printSizes(): void {
  const isTest = (path: string): boolean => path.endsWith('.test.ts');
  const isTable = (path: string): boolean => path.startsWith('src/wire/');
  const files = everything.map(extent);
  const show = (what: string, { where, lines }: { where: string; lines: number }, max: number): void =>
    console.log(`largest ${what}: ${where} with ${lines} lines (at most ${max})`);
  show('table', largest(files.filter(({ where }) => isTable(where))), TABLE_FILE_LINES_MAX);
  show('file of src', largest(sources.map(extent).filter(({ where }) => !isTable(where))), FILE_LINES_MAX);
  show('other file', largest(files.filter(({ where }) => !where.startsWith('src/'))), FILE_LINES_MAX);
  show('function of src', largest(sources.flatMap(functions)), FUNCTION_LINES_MAX);
  const others = scripts.filter(({ path }) => !path.startsWith('src/') && !isTest(path));
  show('other function', largest(others.flatMap(functions)), FUNCTION_LINES_MAX);
}

function printCoverage(): void {
  const { statements, branches } = COVERAGE_FLOOR_PERCENT;
  const floor = `floors ${statements} % and ${branches} %`;
  const last = lastRun();
  if (!last) {
    console.log(`coverage: not measured in this checkout (${floor}); npm run coverage does`);
    return;
  }
  const { total, date, commit } = last;
  const short = shortfalls(total).length > 0 ? ', BELOW THE FLOOR' : '';
  console.log(
    `coverage: ${percentText(total.statements)} of statements, ${percentText(total.branches)} of branches, ` +
      `${percentText(total.functions)} of functions (${floor}${short}), measured ${date} at commit ${commit}`,
  );
}

printRooms();
print(
  'circles',
  circles(importGraph(modules.values())).map((circle) => circle.join(' ')),
  CIRCLES.length,
);
const dead = deadExports(modules);
print(
  'exports for tests alone',
  dead.filter(({ id, tested }) => tested && !DEAD_EXPORTS.includes(id)).map(({ id }) => id),
);
print(
  'dead exports',
  dead.filter(({ id, tested }) => !tested || DEAD_EXPORTS.includes(id)).map(({ id }) => id),
  DEAD_EXPORTS.length,
);
print('methods that nothing calls by name', unusedMethods(sources));
const long = Object.entries(LONG_COMMENTS).map(([name, count]) => `${name} ${count}`);
if (long.length > 0) print('rooms with comments that are too long', long);
printSizes();
printCoverage();
