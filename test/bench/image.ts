/**
 * How fast `nydus-image create` packs a tree of 1 GiB in 20,000 files, beside `zstd -3 -T1` of the same tar: runs
 * alternate, medians are printed, and what matters is the ratio.
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { repository } from '../../vm/process.ts';
import { makeImageTree, TREE_BYTES } from './image-tree.ts';

const USAGE = `usage: npm run bench -- image [--runs N] [--work DIR] [--compare PROGRAM] [--only TEXT]

  --runs N     alternating runs of every row (default 3)
  --work DIR   where the tree, its tar and the images are made, 3.5 GiB (default build/bench)
  --compare P  another nydus-image to measure beside ours
  --only TEXT  only rows whose name contains TEXT, and zstd
`;
const SAMPLE_MS = 20;

interface Row {
  readonly name: string;
  readonly command: readonly string[];
}

interface Measured {
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly peakBytes: number;
}

/** CPU seconds of all threads so far; 100 ticks a second is what Linux tells user space everywhere. */
function cpuSecondsOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)!.split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

function peakBytesOf(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmHWM:\s+(\d+)/m.exec(status)?.[1] ?? 0) * 1024;
}

/** Runs a command to its end; memory and CPU time are those of the last sample before it. */
function measure([program, ...args]: readonly string[]): Promise<Measured> {
  return new Promise((resolve, reject) => {
    const start = performance.now();
    const child = spawn(program!, args, { stdio: ['ignore', 'ignore', 'inherit'] });
    let cpuSeconds = 0;
    let peakBytes = 0;
    const timer = setInterval(() => {
      try {
        cpuSeconds = cpuSecondsOf(child.pid!);
        peakBytes = Math.max(peakBytes, peakBytesOf(child.pid!));
      } catch {
        // It has just ended.
      }
    }, SAMPLE_MS);
    child.once('error', reject);
    child.once('exit', (code) => {
      clearInterval(timer);
      if (code !== 0) reject(new Error(`${program} ended with ${code}`));
      else resolve({ seconds: (performance.now() - start) / 1000, cpuSeconds, peakBytes });
    });
  });
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

function rowsOf(work: string, tree: string, tar: string, compare: string | undefined): Row[] {
  const programs = [['nydus-image', join(repository, 'bin/nydus-image')]];
  if (compare !== undefined) programs.push(['other', compare]);
  const rows: Row[] = [
    { name: 'zstd -3 -T1', command: ['zstd', '-q', '-f', '-3', '-T1', tar, '-o', join(work, 'tar.zst')] },
  ];
  const sources = [
    ['directory', 'dir-rafs', tree],
    ['tar', 'tar-rafs', tar],
  ] as const;
  for (const [kind, type, source] of sources) {
    for (const compressor of ['none', 'lz4_block', 'zstd']) {
      if (kind === 'tar' && compressor !== 'zstd') continue;
      for (const [name, program] of programs) {
        const out = join(work, `out-${name}`);
        const where = ['-D', out, '-B', join(out, 'image.boot')];
        const what = ['create', '-t', type, '--compressor', compressor, '--digester', 'blake3'];
        rows.push({
          name: `${name} ${kind} ${compressor}`,
          command: [program!, ...what, '--log-level', 'error', ...where, source],
        });
      }
    }
  }
  return rows;
}

function prepare(work: string): { tree: string; tar: string } {
  const tree = join(work, 'image-tree');
  const tar = join(work, 'image-tree.tar');
  mkdirSync(work, { recursive: true });
  makeImageTree(tree);
  if (!existsSync(tar)) {
    const made = spawnSync('tar', ['--sort=name', '-cf', tar, '-C', tree, '.'], { stdio: 'inherit' });
    if (made.status !== 0) throw new Error(`tar ended with ${made.status}`);
  }
  // Into the page cache.
  spawnSync('sh', [
    '-c',
    'cat "$1" > /dev/null; find "$2" -type f -exec cat {} + > /dev/null',
    'sh',
    tar,
    tree,
  ]);
  return { tree, tar };
}

/**
 * Makes runs alike: what the one before left to be written is written, and memory for the next one's files has just
 * been in use, since a VM may have given unused memory back to its host, and gets it again page by page.
 */
function settle(work: string): void {
  const scratch = join(work, 'scratch');
  spawnSync('dd', ['if=/dev/zero', `of=${scratch}`, 'bs=1M', 'count=1200', 'status=none']);
  rmSync(scratch, { force: true });
  spawnSync('sync');
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      runs: { type: 'string', default: '3' },
      work: { type: 'string', default: join(repository, 'build/bench') },
      compare: { type: 'string' },
      only: { type: 'string', default: '' },
      help: { type: 'boolean', short: 'h' },
    },
  });
  if (values.help) return void process.stdout.write(USAGE);
  const { tree, tar } = prepare(values.work);
  const rows = rowsOf(values.work, tree, tar, values.compare).filter(
    (row, i) => i === 0 || row.name.includes(values.only),
  );
  const results = new Map<Row, Measured[]>(rows.map((row) => [row, []]));
  for (let run = 0; run < Number(values.runs); run++) {
    for (const row of rows) {
      for (const name of ['out-nydus-image', 'out-other'])
        rmSync(join(values.work, name), { recursive: true, force: true });
      mkdirSync(join(values.work, 'out-other'), { recursive: true });
      settle(values.work);
      results.get(row)!.push(await measure(row.command));
    }
  }
  console.log(`${availableParallelism()} CPUs, 1 GiB in 20,000 files, median of ${values.runs} runs`);
  console.log('command                            s    MB/s   CPU s  peak MiB  time/zstd');
  const zstd = median(results.get(rows[0]!)!.map(({ seconds }) => seconds));
  for (const [{ name }, runs] of results) {
    const of = (field: keyof Measured): number => median(runs.map((run) => run[field]));
    const seconds = of('seconds');
    const cells = [
      name.padEnd(30),
      seconds.toFixed(2).padStart(6),
      (TREE_BYTES / 1e6 / seconds).toFixed(0).padStart(7),
      of('cpuSeconds').toFixed(2).padStart(7),
      (Math.max(...runs.map((run) => run.peakBytes)) / 2 ** 20).toFixed(0).padStart(9),
      (seconds / zstd).toFixed(2).padStart(10),
    ];
    console.log(cells.join(' '));
  }
}

await main();
