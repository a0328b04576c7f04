import { closeSync, existsSync, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { random } from './random.ts';

const DIRECTORIES = 200;
const FILES_PER_DIRECTORY = 60;
const BIG_FILES = 4;
/** Size of each big file; random and sequential reads go to these. */
export const BIG_FILE_BYTES: number = 64 << 20;

function fill(buffer: Uint32Array, next: () => number): void {
  for (let i = 0; i < buffer.length; i++) buffer[i] = next();
}

/**
 * Makes the tree that every back end of the benchmark serves: 12,200 entries, small files of 1 to 16 KiB and
 * four files of 64 MiB. Does nothing when `root` has been made before.
 */
export function makeTree(root: string): void {
  const stamp = `${root}.complete`;
  if (existsSync(stamp)) return;
  const next = random(20201021);
  const small = new Uint32Array(4096);
  fill(small, next);
  for (let d = 0; d < DIRECTORIES; d++) {
    const directory = join(root, `package-${d}`, 'lib');
    mkdirSync(directory, { recursive: true });
    for (let f = 0; f < FILES_PER_DIRECTORY; f++) {
      small[0] = d * FILES_PER_DIRECTORY + f;
      writeFileSync(
        join(directory, `module-${f}.js`),
        new Uint8Array(small.buffer, 0, 1024 + (next() % 15360)),
      );
    }
  }
  for (let b = 0; b < BIG_FILES; b++) writeBigFile(join(root, `layer-${b}.bin`), next);
  writeFileSync(stamp, '');
}

function writeBigFile(path: string, next: () => number): void {
  const block = new Uint32Array((1 << 20) / 4);
  const fd = openSync(path, 'w');
  for (let written = 0; written < BIG_FILE_BYTES; written += block.byteLength) {
    fill(block, next);
    writeSync(fd, block);
  }
  closeSync(fd);
}

/** Paths, relative to the root, of every small file's directory and name. */
export function smallFiles(): { directory: string; name: string }[] {
  const files = [];
  for (let d = 0; d < DIRECTORIES; d++) {
    for (let f = 0; f < FILES_PER_DIRECTORY; f++)
      files.push({ directory: `package-${d}/lib`, name: `module-${f}.js` });
  }
  return files;
}

/** Names of the big files, which are in the root. */
export function bigFiles(): string[] {
  return Array.from({ length: BIG_FILES }, (_, b) => `layer-${b}.bin`);
}
