/**
 * Runs `main.ts` with the same arguments on an addon with the address sanitizer, or, with `canary`, the planted
 * defects.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { canaries, runCanary } from './canary.ts';
import { sanitized } from './sanitized.ts';

const root = join(import.meta.dirname, '../..');

/** Exit status; a process that a signal ended has none. */
export function fuzz(args: readonly string[]): number {
  const command = [join(root, 'test/fuzz/main.ts'), ...args];
  const { status, signal } = spawnSync(process.execPath, command, { stdio: 'inherit', env: sanitized() });
  if (signal !== null) console.error(`fuzz: ended by ${signal}`);
  return status ?? 1;
}

function main(args: readonly string[]): number {
  if (args[0] !== 'canary') return fuzz(args);
  let missed = 0;
  for (const name of args.length > 1 ? args.slice(1) : Object.keys(canaries)) {
    const { found, output } = runCanary(name);
    console.log(`${name}: ${found ? 'found' : `NOT found\n${output}`}`);
    if (!found) missed++;
  }
  return missed === 0 ? 0 : 1;
}

if (import.meta.main) process.exitCode = main(process.argv.slice(2));
