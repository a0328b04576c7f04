import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { canaries, runCanary } from './canary.ts';
import { sanitized } from './sanitized.ts';
import { targets } from './targets.ts';

/** The sanitized addon may have to be built. */
const TIMEOUT_MS = 240_000;

test.each(Object.keys(targets))(
  'a short run of %s finds nothing and leaks nothing',
  (name) => {
    const args = [join(import.meta.dirname, 'main.ts'), 'smoke', '--target', name];
    const { status, stdout, stderr } = spawnSync(process.execPath, args, {
      env: sanitized(),
      encoding: 'utf8',
    });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    const result = JSON.parse(stdout) as { iterations: number; accepted: number; refused: number };
    expect(result.iterations).toBe(600);
    expect(result.accepted).toBeGreaterThan(10);
    expect(result.refused).toBeGreaterThan(10);
  },
  TIMEOUT_MS,
);

test.each(Object.keys(canaries))(
  '%s finds a check that was taken from the product',
  (name) => {
    const { found, output } = runCanary(name);
    expect(found ? '' : output).toBe('');
    expect(found).toBe(true);
  },
  TIMEOUT_MS,
);

test('every target has a planted defect', () => {
  expect(Object.keys(canaries).sort()).toEqual(Object.keys(targets).sort());
});

test('a thread that does not come back is ended with its seed', () => {
  const script = `
    const { run } = await import(${JSON.stringify(join(import.meta.dirname, 'runner.ts'))});
    const endless = () => ({ iterate(random) { for (;;) random(2); }, close() {} });
    await run('endless', endless, null, { seed: 5, iterations: 1, hangMs: 500 });`;
  const args = ['--input-type=module', '--eval', script];
  const { signal, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 20_000 });
  expect(stderr).toContain('endless: seed 5, iteration 0: hangs');
  expect(signal).toBe('SIGKILL');
});
