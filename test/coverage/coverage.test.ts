import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { repository } from '../../vm/process.ts';
import { countFiles } from './count.ts';
import { percentText, shortfalls } from './last.ts';
import { readRecords } from './records.ts';

const EXECUTED = 'src/lib/u64.ts';
const NOT_LOADED = 'src/lib/gate.ts';

let directory: string;
const place = (name: string): string => join(directory, name);

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'nydus-coverage-'));
  execFileSync(process.execPath, [
    '--no-warnings',
    join(import.meta.dirname, 'blanked.ts'),
    place('blanked'),
  ]);
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** Runs a script in a process of its own whose coverage is recorded. */
function record(records: string, script: string, env: NodeJS.ProcessEnv = {}): void {
  execFileSync(process.execPath, ['--input-type=module', '--eval', script], {
    cwd: repository,
    env: {
      ...process.env,
      NODE_V8_COVERAGE: records,
      NODE_DISABLE_COMPILE_CACHE: '1',
      NYDUS_COVERAGE_SOURCES: `${pathToFileURL(join(repository, 'src')).href}/`,
      NYDUS_COVERAGE_BLANKED: `${pathToFileURL(place('blanked')).href}/`,
      NODE_OPTIONS: `--import ${pathToFileURL(join(import.meta.dirname, 'preload.mjs')).href}`,
      ...env,
    },
  });
}

const callRead = `const { readU64 } = await import('./${EXECUTED}'); readU64(new DataView(new ArrayBuffer(8)), 0);`;

test('what several processes and their threads executed is added up', async () => {
  const records = place('several');
  record(records, callRead);
  const [one] = await countFiles([EXECUTED], readRecords(records));
  expect(one!.functions.total).toBeGreaterThan(1);
  expect(one!.functions.covered).toBe(1);
  const threaded = `import { Worker } from 'node:worker_threads';
    new Worker(${JSON.stringify(callRead.replaceAll('readU64', 'writeU64').replace(', 0)', ', 0, 1)'))}, { eval: true });`;
  record(records, threaded.replaceAll('./src/', `${repository}src/`));
  const [both] = await countFiles([EXECUTED], readRecords(records));
  expect(both!.functions.covered).toBe(2);
});

test('a file that no process loaded counts as not executed', async () => {
  record(place('none'), '');
  const [count] = await countFiles([NOT_LOADED], readRecords(place('none')));
  expect(count!.statements.total).toBeGreaterThan(5);
  expect(count!.statements.covered).toBe(0);
});

test('a record without block counters, as code from a compile cache leaves it, is refused', () => {
  const cached = {
    NODE_DISABLE_COMPILE_CACHE: undefined,
    NODE_COMPILE_CACHE: place('cache'),
    NODE_OPTIONS: '',
  };
  record(place('warm'), callRead, cached);
  record(place('cached'), callRead, cached);
  expect(() => readRecords(place('cached'))).toThrow(/was counted as a whole/);
});

test('figures are rounded down and held to the floor', () => {
  expect(percentText({ total: 10_000, covered: 8999 })).toBe('89.9 %');
  const none = { total: 100, covered: 0 };
  expect(shortfalls({ statements: none, branches: none, functions: none })).toHaveLength(2);
  const all = { total: 100, covered: 100 };
  expect(shortfalls({ statements: all, branches: all, functions: none })).toEqual([]);
});
