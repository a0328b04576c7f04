import { execFileSync } from 'node:child_process';
import { join } from 'node:path';

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
