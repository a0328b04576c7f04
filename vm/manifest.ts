import { join } from 'node:path';
import { repository, run } from './process.ts';

/** Columns of a line that `vm/walk.cc` prints. */
const Column = { path: 0, type: 1, nlink: 5, size: 6, mtime: 7 } as const;

/** Prints a tree on the host with the very program that the guest walks with. */
export function walkHost(directory: string): string {
  const walker = run('sh', [join(repository, 'vm/initramfs.sh')])
    .toString()
    .split('\n')[2];
  if (!walker) throw new Error('vm/initramfs.sh named no walker');
  return run(walker, [directory]).toString('latin1');
}

/**
 * A manifest without what an image need not keep of its source: size and link count of directories (each file
 * system has its own), and the root's mtime (images have none).
 */
export function comparable(manifest: string): string[] {
  return manifest
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const columns = line.split('\t');
      if (columns[Column.type] === 'dir') columns[Column.nlink] = columns[Column.size] = '-';
      if (columns[Column.path] === '/') columns[Column.mtime] = '-';
      return columns.join('\t');
    });
}

/** Lines that only one of two manifests has, `-` before those of `expected` and `+` before those of `actual`. */
export function differences(expected: readonly string[], actual: readonly string[]): string[] {
  const wanted = new Set(expected);
  const seen = new Set(actual);
  return [
    ...expected.filter((line) => !seen.has(line)).map((line) => `- ${line}`),
    ...actual.filter((line) => !wanted.has(line)).map((line) => `+ ${line}`),
  ];
}
