/**
 * Usage: node report.ts RECORDS [--partial]. Prints how much of each room the processes of a test run executed and
 * keeps the figures for `npm run check`. Exit status 1 if they are below the floor. A partial run is not compared, nor
 * kept.
 */
import { room } from '../tidy/rooms.ts';
import { sources } from '../tidy/sources.ts';
import { type Count, countFiles, type FileCount } from './count.ts';
import { percentText, type Sum, shortfalls, store } from './last.ts';
import { readRecords } from './records.ts';

const KINDS = ['statements', 'branches', 'functions'] as const;

function sum(files: readonly FileCount[]): Sum {
  const of = (kind: (typeof KINDS)[number]): Count =>
    files.reduce(
      (count, file) => ({
        total: count.total + file[kind].total,
        covered: count.covered + file[kind].covered,
      }),
      { total: 0, covered: 0 },
    );
  return { statements: of('statements'), branches: of('branches'), functions: of('functions') };
}

function row(name: string, sum: Sum): string {
  const cells = KINDS.map((kind) => {
    const { total, covered } = sum[kind];
    return `${percentText(sum[kind]).padStart(8)} ${`${covered}/${total}`.padStart(12)}`;
  });
  return `${name.padEnd(26)}${cells.join('')}`;
}

const [records, ...flags] = process.argv.slice(2);
const paths = sources.map(({ path }) => path);
const files = await countFiles(paths, readRecords(records!));
const total = sum(files);

console.log(`coverage${' '.repeat(18)}${KINDS.map((kind) => kind.padStart(21)).join('')}`);
for (const [name, own] of Map.groupBy(files, ({ path }) => room(path))) console.log(row(name, sum(own)));
console.log(row('all', total));

if (!flags.includes('--partial')) {
  store(total);
  const short = shortfalls(total);
  for (const line of short) console.error(`coverage: ${line}`);
  if (short.length > 0) process.exitCode = 1;
}
