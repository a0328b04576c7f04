/**
 * Runs `main.ts` with the same arguments on an addon with the address sanitizer, or, with `canary`, the planted
 * defects.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { canaries, runCanary } from './canary.ts';

const root = join(import.meta.dirname, '../..');

/** Builds the addon below `top`, and returns what a process needs that loads it. */
export function sanitized(top: string = root): NodeJS.ProcessEnv {
  execFileSync(process.execPath, [join(top, 'addon/build.ts'), '--asan'], { stdio: ['ignore', 2, 2] });
  const library = execFileSync('gcc', ['-print-file-name=libasan.so'], { encoding: 'utf8' }).trim();
  return {
    ...process.env,
    NYDUS_ADDON: join(top, 'build/asan/nydus.node'),
    LD_PRELOAD: library,
    // Faults in guest memory are the addon's own affair, V8 uses SIGSEGV, and node does not free at exit.
    ASAN_OPTIONS: 'handle_sigbus=0:handle_segv=0:detect_leaks=0:quarantine_size_mb=16:abort_on_error=1',
  };
}

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
