import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { random } from './random.ts';

const FILES = 20_000;
const FILES_PER_DIRECTORY = 100;
/** Bytes of all files. */
export const TREE_BYTES: number = 2 ** 30;
const MEAN_BYTES = TREE_BYTES / FILES;
/** Of ten files: as many are text, as many programs; the rest does not compress. */
const TEXT_OF_TEN = 5;
const PROGRAMS_OF_TEN = 3;
const WORDS = 4096;
const POOL_BYTES = 16 << 20;

/**
 * Makes 1 GiB in 20,000 files, as an image of programs and their text has them: three quarters below the mean size,
 * text, tables of machine words, and compressed data. The same on every machine. Does nothing when `root` has been made
 * before.
 */
export function makeImageTree(root: string): void {
  const stamp = `${root}.complete`;
  if (existsSync(stamp)) return;
  const next = random(20211013);
  const pools = [textPool(next), programPool(next), noisePool(next)];
  const sizes = fileSizes(next);
  for (let i = 0; i < FILES; i++) {
    const directory = join(root, 'opt', `package-${Math.floor(i / FILES_PER_DIRECTORY)}`);
    if (i % FILES_PER_DIRECTORY === 0) mkdirSync(directory, { recursive: true });
    const kind = next() % 10;
    const pool = pools[kind < TEXT_OF_TEN ? 0 : kind < TEXT_OF_TEN + PROGRAMS_OF_TEN ? 1 : 2]!;
    writeFileSync(join(directory, `file-${i}`), contentOf(i, sizes[i]!, pool, next));
  }
  writeFileSync(stamp, '');
}

/** Sizes of a long tail that add up to TREE_BYTES. */
function fileSizes(next: () => number): number[] {
  const weights = Array.from({ length: FILES }, () => 1 / (0.02 + (next() / 2 ** 32) ** 1.5));
  const sum = weights.reduce((a, b) => a + b, 0);
  const sizes = weights.map((weight) => Math.floor((weight / sum) * TREE_BYTES));
  sizes[0]! += TREE_BYTES - sizes.reduce((a, b) => a + b, 0);
  return sizes;
}

/** A piece of a pool, changed every few KiB so that no two chunks are the same. */
function contentOf(file: number, size: number, pool: Buffer, next: () => number): Buffer {
  const bytes = Buffer.allocUnsafe(size);
  for (let done = 0; done < size; ) {
    const start = next() % (pool.length - MEAN_BYTES);
    done += pool.copy(bytes, done, start, start + Math.min(size - done, 2048 + (next() % MEAN_BYTES)));
  }
  if (size >= 8) bytes.writeUInt32LE(file, size - 8);
  return bytes;
}

function textPool(next: () => number): Buffer {
  const words = Array.from({ length: WORDS }, () => {
    const letters = Array.from({ length: 2 + (next() % 9) }, () => String.fromCharCode(97 + (next() % 26)));
    return letters.join('');
  });
  const text: string[] = [];
  for (let length = 0; length < POOL_BYTES; ) {
    // Few words are frequent.
    const word = words[Math.floor(WORDS * (next() / 2 ** 32) ** 3)]!;
    const separator = next() % 12 === 0 ? '\n' : ' ';
    text.push(word, separator);
    length += word.length + 1;
  }
  return Buffer.from(text.join('')).subarray(0, POOL_BYTES);
}

function programPool(next: () => number): Buffer {
  const words = new Uint32Array(POOL_BYTES / 4);
  for (let i = 0; i < words.length; i++) {
    // Opcodes repeat, operands are small or near.
    words[i] = (next() % 3 === 0 ? next() % 0x10000 : (next() % 64) * 0x01010000) + (next() % 3);
  }
  return Buffer.from(words.buffer);
}

function noisePool(next: () => number): Buffer {
  const words = new Uint32Array(POOL_BYTES / 4);
  for (let i = 0; i < words.length; i++) words[i] = next();
  return Buffer.from(words.buffer);
}
