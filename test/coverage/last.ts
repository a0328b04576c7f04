import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { repository } from '../../vm/process.ts';
import { COVERAGE_FLOOR_PERCENT } from '../tidy/limits.ts';
import type { Count } from './count.ts';

const FILE = join(repository, 'build/coverage/last.json');

/** What one or several files have in all. */
export interface Sum {
  readonly statements: Count;
  readonly branches: Count;
  readonly functions: Count;
}

/** The outcome of the last whole run. */
export interface LastRun {
  /** ISO 8601. */
  readonly date: string;
  /** The commit that was checked out, with a plus if files had changed since; none outside of a git checkout. */
  readonly commit: string;
  readonly total: Sum;
}

function commit(): string {
  const git = (...args: string[]): string =>
    execFileSync('git', args, {
      cwd: repository,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  try {
    return git('rev-parse', '--short', 'HEAD') + (git('status', '--porcelain') === '' ? '' : '+');
  } catch {
    return 'none';
  }
}

/** Keeps the outcome of a run for `npm run check`. */
export function store(total: Sum): void {
  const run: LastRun = { date: new Date().toISOString(), commit: commit(), total };
  mkdirSync(dirname(FILE), { recursive: true });
  writeFileSync(FILE, `${JSON.stringify(run, null, 2)}\n`);
}

/** The outcome of the last run in this checkout, if there was one. */
export function lastRun(): LastRun | undefined {
  return existsSync(FILE) ? (JSON.parse(readFileSync(FILE, 'utf8')) as LastRun) : undefined;
}

/** How much of it was executed; nothing at all is whole. */
export function percent({ total, covered }: Count): number {
  return total === 0 ? 100 : (100 * covered) / total;
}

/** As people read it, rounded down: what falls short of a floor never looks like it. */
export function percentText(count: Count): string {
  return `${(Math.floor(percent(count) * 10) / 10).toFixed(1)} %`;
}

/** The kinds of count that are below their floors, a sentence each. */
export function shortfalls(sum: Sum): string[] {
  return (['statements', 'branches'] as const)
    .filter((kind) => percent(sum[kind]) < COVERAGE_FLOOR_PERCENT[kind])
    .map(
      (kind) => `${kind}: ${percentText(sum[kind])} executed, the floor is ${COVERAGE_FLOOR_PERCENT[kind]} %`,
    );
}
