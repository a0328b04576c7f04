import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { SKIPPED_TESTS } from './limits.ts';

const limit = SKIPPED_TESTS.reduce((sum, { count }) => sum + count, 0);

/** Exit status and output of the summary of a run. */
function summary(
  passed: number,
  failed: number,
  skipped: number,
): { status: number | null; lines: string[] } {
  const directory = mkdtempSync(join(tmpdir(), 'nydus-summary-'));
  try {
    const report = join(directory, 'report.json');
    const counts = {
      numPassedTests: passed,
      numFailedTests: failed,
      numPendingTests: skipped,
      numTodoTests: 0,
    };
    const assertionResults = [{ status: 'skipped', fullName: 'a test' }];
    const testResults = [{ name: 'a file', status: 'passed', message: '', assertionResults }];
    writeFileSync(report, JSON.stringify({ ...counts, testResults }));
    const { status, stdout } = spawnSync(process.execPath, [
      join(import.meta.dirname, '../summary.ts'),
      report,
    ]);
    return { status, lines: stdout.toString().trimEnd().split('\n') };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

test('a run of CI is counted in the last line', () => {
  expect(summary(7, 2, limit)).toEqual({ status: 0, lines: [`7 passed, 2 failed, ${limit} skipped`] });
});

test('a run of CI that skips more than the limit fails and says what it skipped', () => {
  const { status, lines } = summary(7, 0, limit + 1);
  expect(status).toBe(1);
  expect(lines[0]).toBe('skipped: a file: a test');
  expect(lines.at(-1)).toBe(`7 passed, 0 failed, ${limit + 1} skipped`);
});

test('a run of CI without a test that passed fails', () => {
  expect(summary(0, 0, 0).status).toBe(1);
});
