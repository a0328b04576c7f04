/** Proof that the fuzzers see something: each runs on a copy of the product from which one check was taken. */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { sanitized } from './sanitized.ts';

const root = join(import.meta.dirname, '../..');
const SECONDS = 60;

/** Text of a file that is replaced in the copy, and what the target must then say. */
interface Canary {
  readonly file: string;
  readonly check: string;
  readonly instead: string;
  readonly says: RegExp;
}

/** By target. */
export const canaries: Readonly<Record<string, Canary>> = {
  bootstrap: {
    file: 'src/rafs/image-v5.ts',
    check: "if (end + count * CHUNK.size > length) return this.#bad('chunk records outside the bootstrap');",
    instead: '',
    says: /bootstrap: seed 7, iteration \d+: RangeError/,
  },
  check: {
    file: 'src/image/check/tree-v5.ts',
    check: 'if (table === undefined) return',
    instead: 'if (table === undefined) return null;\n    if (table === undefined) return',
    says: /check: seed 7, iteration \d+: Error: accepted, but a chunk of blob \d+/,
  },
  fuse: {
    file: 'src/fuse/server.ts',
    check: 'result > request.room',
    instead: 'result > request.room + 104',
    says: /fuse: seed 7, iteration \d+: Error: a reply of \d+ bytes into \d+/,
  },
  gzip: {
    file: 'addon/gzip_index.cc',
    check: 'if (stream_.data_type & kLastBlock) return;',
    instead: '',
    says: /gzip: seed 7, iteration \d+: Error: accepted, but slice \d+ does not inflate/,
  },
  ring: {
    file: 'addon/chain.cc',
    check: 'if (desc.next >= entries) return false;',
    instead: '',
    says: /AddressSanitizer: heap-buffer-overflow/,
  },
  tar: {
    file: 'src/image/source/tar/tree.ts',
    check: "if (part === '..')",
    instead: "if (part === '')",
    says: /tar: seed 7, iteration \d+: Error: accepted, but "\/[^\n]*" has a child named "\.\."/,
  },
  unit: {
    file: 'addon/unit.cc',
    check: 'return memcmp(actual, piece.digest, kDigestBytes) == 0;',
    instead: 'return true;',
    says: /unit: seed 7, iteration \d+: Error: accepted, but piece \d+ has not its digest/,
  },
  vhost: {
    file: 'src/vhost/session.ts',
    check: 'fds.close();',
    instead: '',
    says: /vhost: seed 7, iteration \d+: Error: \d+ descriptors leaked/,
  },
};

function plant(name: string, { file, check, instead }: Canary): string {
  const copy = join(root, 'build/canary', name);
  for (const folder of ['src', 'addon', 'test']) {
    rmSync(join(copy, folder), { recursive: true, force: true });
    mkdirSync(copy, { recursive: true });
    const filter = (path: string) => path !== join(root, 'test/fixtures');
    cpSync(join(root, folder), join(copy, folder), { recursive: true, filter });
  }
  symlinkSync(join(root, 'test/fixtures'), join(copy, 'test/fixtures'));
  cpSync(join(root, 'package.json'), join(copy, 'package.json'));
  if (!existsSync(join(copy, 'node_modules')))
    symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
  const text = readFileSync(join(copy, file), 'utf8');
  if (text.split(check).length !== 2) throw new Error(`${file} has not exactly one: ${check}`);
  writeFileSync(join(copy, file), text.replace(check, instead));
  return copy;
}

/** Runs the target `name` on a copy with its defect, for at most `SECONDS`. */
export function runCanary(name: string): { found: boolean; output: string } {
  const canary = canaries[name];
  if (canary === undefined) throw new Error(`no canary ${name}`);
  const copy = plant(name, canary);
  const env = sanitized(canary.file.startsWith('addon/') ? copy : root);
  const args = [
    join(copy, 'test/fuzz/main.ts'),
    '--target',
    name,
    '--seed',
    '7',
    '--seconds',
    String(SECONDS),
  ];
  const { stdout, stderr, status } = spawnSync(process.execPath, args, { env, encoding: 'utf8' });
  const output = `${stdout}${stderr}`;
  return { found: status !== 0 && canary.says.test(output), output };
}
