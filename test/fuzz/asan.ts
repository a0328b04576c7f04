/** Builds the addon with the address sanitizer and runs `main.ts` with the same arguments on it. */
import { execFileSync, spawnSync } from 'node:child_process';
import { join } from 'node:path';

const root = join(import.meta.dirname, '../..');

execFileSync(process.execPath, [join(root, 'addon/build.ts'), '--asan'], { stdio: 'inherit' });
const library = execFileSync('gcc', ['-print-file-name=libasan.so'], { encoding: 'utf8' }).trim();
const { status, signal } = spawnSync(
  process.execPath,
  [join(import.meta.dirname, 'main.ts'), ...process.argv.slice(2)],
  {
    stdio: 'inherit',
    env: {
      ...process.env,
      NYDUS_ADDON: join(root, 'build/asan/nydus.node'),
      LD_PRELOAD: library,
      // Faults in guest memory are the addon's own affair, and V8 uses SIGSEGV; node does not free at exit.
      ASAN_OPTIONS: 'handle_sigbus=0:handle_segv=0:detect_leaks=0:quarantine_size_mb=16:abort_on_error=1',
    },
  },
);
if (signal !== null) console.error(`fuzz: ended by ${signal}`);
process.exitCode = status ?? 1;
