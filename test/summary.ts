/**
 * Usage: node summary.ts REPORT, the file of vitest's json reporter. The last line counts what vitest ran. Exit status
 * 1 if that was nothing, or if more was skipped than may be.
 */
import { readFileSync } from 'node:fs';
import { SKIPPED_TESTS } from './tidy/limits.ts';

interface Report {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numPendingTests: number;
  readonly numTodoTests: number;
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly message: string;
    readonly assertionResults: readonly { readonly status: string; readonly fullName: string }[];
  }[];
}

const report = JSON.parse(readFileSync(process.argv[2]!, 'utf8')) as Report;
const skipped = report.numPendingTests + report.numTodoTests;
const broken = report.testResults.filter(
  (file) => file.status === 'failed' && file.assertionResults.length === 0,
);
for (const file of broken) console.log(`could not run ${file.name}: ${file.message}`);

const most = SKIPPED_TESTS.reduce((sum, { count }) => sum + count, 0);
if (skipped > most) {
  for (const { name, assertionResults } of report.testResults) {
    for (const { status, fullName } of assertionResults) {
      if (status !== 'passed' && status !== 'failed') console.log(`skipped: ${name}: ${fullName}`);
    }
  }
  for (const { count, reason } of SKIPPED_TESTS) console.log(`${count} may be skipped: ${reason}`);
  console.log(`more tests were skipped than the ${most} that may be`);
}

const failed = report.numFailedTests + broken.length;
console.log(`${report.numPassedTests} passed, ${failed} failed, ${skipped} skipped`);
if (report.numPassedTests === 0 || skipped > most) process.exitCode = 1;
