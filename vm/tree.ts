import { createHash } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  ftruncateSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  openSync,
  readdirSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { run } from './process.ts';

const MIB = 1 << 20;
/** 2021-10-20 12:00:00 UTC; every entry of a tree gets a time of its own after it. */
const EPOCH_S = 1634731200;

/** Bytes that do not compress, the same on every machine. */
function noise(seed: string, size: number): Buffer {
  const out = Buffer.alloc(size);
  for (let at = 0, n = 0; at < size; at += 32, n++) {
    createHash('sha256').update(`${seed} ${n}`).digest().copy(out, at);
  }
  return out;
}

/** Text that compresses well. */
function text(seed: string, lines: number): string {
  return Array.from({ length: lines }, (_, n) => `${n} ${seed} ${(n * 2654435761) >>> 0}\n`).join('');
}

const asRoot = process.getuid?.() === 0;

function etc(root: string): void {
  mkdirSync(join(root, 'etc/ssl'), { recursive: true });
  writeFileSync(join(root, 'etc/hostname'), 'nydus\n');
  writeFileSync(join(root, 'etc/empty'), '');
  writeFileSync(join(root, 'etc/shadow'), 'root:*:\n');
  chmodSync(join(root, 'etc/shadow'), 0o600);
  writeFileSync(join(root, 'etc/services'), text('service', 4000));
  symlinkSync('../usr/lib/os-release', join(root, 'etc/os-release'));
  symlinkSync('/no/such/file', join(root, 'etc/dangling'));
}

function usr(root: string, seed: string): void {
  mkdirSync(join(root, 'usr/bin'), { recursive: true });
  mkdirSync(join(root, 'usr/lib/deep/er/and/deep/er'), { recursive: true });
  writeFileSync(join(root, 'usr/lib/os-release'), `NAME="${seed}"\n`);
  writeFileSync(join(root, 'usr/lib/deep/er/and/deep/er/leaf'), seed);
  writeFileSync(join(root, 'usr/bin/tool'), noise(`${seed} tool`, 300_001));
  chmodSync(join(root, 'usr/bin/tool'), 0o4755);
  linkSync(join(root, 'usr/bin/tool'), join(root, 'usr/bin/tool-hardlink'));
  for (const size of [1, 4095, 4096, 4097, 65_536]) {
    writeFileSync(join(root, `usr/lib/size-${size}`), noise(`${seed} ${size}`, size));
  }
  writeFileSync(join(root, 'usr/lib/three-chunks.bin'), noise(`${seed} big`, 2 * MIB + 12_345));
  writeFileSync(join(root, 'usr/lib/text'), text(seed, 50_000));
  const sparse = openSync(join(root, 'usr/lib/sparse'), 'w');
  writeSync(sparse, noise(`${seed} sparse`, 5000), 0, 5000, 3 * MIB + 17);
  ftruncateSync(sparse, 5 * MIB + 1);
  closeSync(sparse);
}

function oddNames(root: string): void {
  const odd = join(root, 'odd');
  mkdirSync(odd);
  writeFileSync(join(odd, 'n'.repeat(255)), 'longest name\n');
  writeFileSync(join(odd, 'with space and\nnewline'), 'x');
  writeFileSync(join(odd, 'grüße'), 'utf-8');
  writeFileSync(Buffer.concat([Buffer.from(`${odd}/latin1-`), Buffer.from([0xe9, 0xff])]), 'not utf-8');
  symlinkSync('t'.repeat(1000), join(odd, 'long-link'));
}

function crowd(root: string, seed: string): void {
  const many = join(root, 'many');
  mkdirSync(many);
  for (let n = 0; n < 400; n++) writeFileSync(join(many, `entry-${n}`), `${seed} ${n}\n`);
}

/** Extended attributes, owners and devices: what takes a privilege is left out without it. */
function attributes(root: string): void {
  run('setfattr', ['-n', 'user.origin', '-v', 'demo', join(root, 'etc/hostname')]);
  run('setfattr', ['-n', 'user.binary', '-v', '0x00ff0a0d', join(root, 'etc/hostname')]);
  run('setfattr', ['-n', 'user.dir', '-v', 'of a directory', join(root, 'usr')]);
  run('mkfifo', [join(root, 'etc/fifo')]);
  chmodSync(join(root, 'many'), 0o1777);
  if (!asRoot) return;
  run('mknod', [join(root, 'etc/null'), 'c', '1', '3']);
  run('mknod', [join(root, 'etc/disk'), 'b', '259', '70000']);
  run('chown', ['-h', '1000:100', join(root, 'etc/services'), join(root, 'etc/dangling')]);
  run('chown', ['4000000:70000', join(root, 'usr/lib/text')]);
}

/** Every entry gets its own mtime, children before their directories; returns how many there are. */
function times(directory: Buffer, from: number): number {
  let count = from;
  for (const entry of readdirSync(directory, { withFileTypes: true, encoding: 'buffer' })) {
    const path = Buffer.concat([directory, Buffer.from('/'), entry.name]);
    if (entry.isDirectory()) count = times(path, count);
    // Microseconds survive a double of this size.
    else lutimesSync(path, EPOCH_S, EPOCH_S + count + 0.123456);
    count++;
  }
  lutimesSync(directory, EPOCH_S, EPOCH_S + count);
  return count;
}

/**
 * Makes a tree like that of a small container with an instance of everything an image can hold; `seed` makes its
 * contents differ from those of other trees. Returns the number of entries below the root.
 */
export function makeSourceTree(root: string, seed: string): number {
  mkdirSync(root, { recursive: true });
  etc(root);
  usr(root, seed);
  oddNames(root);
  crowd(root, seed);
  attributes(root);
  return times(Buffer.from(root), 0);
}
