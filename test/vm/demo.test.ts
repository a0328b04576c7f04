import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { repository } from '../../vm/process.ts';

const DEMO_TIMEOUT_MS = 600_000;

/** Of every process there is. */
function commandLines(): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      } catch {
        return '';
      }
    });
}

test(
  'the demo passes and leaves neither processes nor guest memory behind',
  { timeout: DEMO_TIMEOUT_MS },
  () => {
    const before = readdirSync('/dev/shm');
    const demo = spawnSync('sh', [join(repository, 'qemu-scripts/demo.sh')], { encoding: 'utf8' });
    expect(demo.status, demo.stdout + demo.stderr).toBe(0);
    expect(demo.stdout).toMatch(/== PASS\s*$/);
    // Both images were compared whole, not just found.
    expect(demo.stdout).toMatch(/pseudo_1: 4\d\d entries equal/);
    expect(demo.stdout).toMatch(/pseudo_2: 4\d\d entries equal/);
    const sock = /listening on (\S+)/.exec(demo.stdout)?.[1];
    expect(sock).toBeDefined();
    expect(commandLines().filter((line) => line.includes(sock!))).toEqual([]);
    expect(
      readdirSync('/dev/shm').filter((name) => name.startsWith('nydus-guest') && !before.includes(name)),
    ).toEqual([]);
  },
);
