import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { type ExportResult, exportDisk, type VerityResult } from '../../image/export/export.ts';
import { reason } from '../../image/model/error.ts';
import { localBlobs } from '../../image/read/local-blobs.ts';
import { abortOnSignals, logFileOption, logLevelOption, mebibytes, say } from './common.ts';
import { bytesDone, endProgress, progressLine } from './progress.ts';

interface ExportFlags {
  readonly block?: boolean;
  readonly bootstrap?: string;
  readonly localfsDir?: string;
  readonly config?: string;
  readonly threads: number;
  readonly output?: string;
  readonly verity?: boolean;
}

/** What the original takes, and how many it uses at most. service/src/lib.rs. */
const THREADS_MAX = 1024;
const THREADS_USED_MAX = 32;

const HELP = `
The disk is what kernel EROFS mounts (a tarfs image's from Linux 6.4 on). Zeros are holes in the file. With --verity a dm-verity hash tree
follows the data, and what veritysetup and the kernel need to know of it is printed.

Examples:
  Export and mount:
    nydus-image export --block -B image.boot -D blobs -O image.disk
    mount -t erofs -o loop,ro image.disk /mnt
  With a hash tree:
    nydus-image export --block --verity -B image.boot -D blobs -O image.disk
`;

/** `nydus-image export`. */
export function exportCommand(): Command {
  return new Command('export')
    .description('Export a v6 image as a disk that kernel EROFS mounts.')
    .requiredOption('--block', 'as a raw disk image, the only kind there is')
    .option('-B, --bootstrap <file>', 'bootstrap of the image, or a blob with one at its end')
    .addOption(
      new Option('-D, --localfs-dir <dir>', 'directory with the blobs, named by their ids').conflicts(
        'config',
      ),
    )
    .option('-C, --config <file>', 'instead of both: JSON of a blob cache entry, as nydusd takes it')
    .option('-O, --output <file>', 'the disk: a file or a block device (default: DIR/BOOTSTRAP.disk)')
    .addOption(new Option('--threads <n>', 'chunks unpacked at a time').argParser(parseThreads).default(4))
    .option('--verity', 'add a dm-verity hash tree')
    .addOption(logLevelOption())
    .addOption(logFileOption())
    .addHelpText('after', HELP)
    .action(runExport);
}

function parseThreads(text: string): number {
  const count = /^\+?[0-9]+$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isNaN(count)) throw new InvalidArgumentError(`invalid thread number configuration: ${text}`);
  if (count < 1 || count > THREADS_MAX)
    throw new InvalidArgumentError(`invalid thread number ${text}, valid range: [1-${THREADS_MAX}]`);
  return Math.min(count, THREADS_USED_MAX);
}

async function runExport(flags: ExportFlags, command: Command): Promise<void> {
  const started = performance.now();
  const { bootstrap, dir, output } = placesOf(flags, command);
  const source = localBlobs(dir);
  try {
    const result = await exportDisk({
      bootstrap,
      source,
      output,
      verity: flags.verity === true,
      threads: flags.threads,
      signal: abortOnSignals(),
      onProgress: progressLine(bytesDone),
    });
    endProgress();
    say(command, summary(output, result, (performance.now() - started) / 1000));
    if (result.verity !== null) process.stdout.write(verityLine(result.verity));
  } finally {
    await source.close();
  }
}

/** What is read from where; ends the program with a usage error when that was not said. */
function placesOf(flags: ExportFlags, command: Command): { bootstrap: string; dir: string; output: string } {
  const { bootstrap, localfsDir, config, output } = flags;
  if (config !== undefined) {
    if (output === undefined) command.error("error: required option '-O, --output <file>' not specified");
    return { ...readEntry(config), output: output! };
  }
  if (bootstrap === undefined) {
    if (localfsDir !== undefined || output === undefined)
      command.error("error: required option '-B, --bootstrap <file>' not specified");
    throw new Error('both option `-C/--config` and `-D/--localfs-dir` are missing');
  }
  if (localfsDir === undefined)
    command.error("error: required option '-D, --localfs-dir <dir>' not specified");
  const dir = localfsDir!;
  return { bootstrap, dir, output: output ?? join(dir, `${basename(bootstrap)}.disk`) };
}

/**
 * A `BlobCacheEntry` of a bootstrap, of either version, as far as it is used here: {type, config_v2: {backend:
 * {type, localfs: {dir}}, metadata_path}} or {type, config: {backend_type, backend_config: {dir},
 * metadata_path}}. api/src/config.rs.
 */
function readEntry(path: string): { bootstrap: string; dir: string } {
  try {
    const entry: unknown = JSON.parse(readFileSync(path, 'utf8'));
    expectText(entry, ['type'], 'bootstrap');
    const version = valueAt(entry, ['config_v2']) == null ? 1 : 2;
    const config = version === 2 ? 'config_v2' : 'config';
    const backend = version === 2 ? ['config_v2', 'backend', 'type'] : ['config', 'backend_type'];
    expectText(entry, backend, 'localfs');
    const dir =
      version === 2 ? ['config_v2', 'backend', 'localfs', 'dir'] : ['config', 'backend_config', 'dir'];
    return { bootstrap: textAt(entry, [config, 'metadata_path']), dir: textAt(entry, dir) };
  } catch (cause) {
    throw new Error(`${path}: failed to parse configuration information: ${reason(cause)}`, { cause });
  }
}

function valueAt(value: unknown, keys: readonly string[]): unknown {
  let found = value;
  for (const key of keys) {
    const isObject = typeof found === 'object' && found !== null && Object.hasOwn(found, key);
    found = isObject ? (found as Record<string, unknown>)[key] : undefined;
  }
  return found;
}

function textAt(value: unknown, keys: readonly string[]): string {
  const found = valueAt(value, keys);
  if (typeof found === 'string' && found !== '') return found;
  throw new Error(`${keys.join('.')}: must be a text that is not empty`);
}

function expectText(value: unknown, keys: readonly string[], wanted: string): void {
  const found = textAt(value, keys);
  if (found !== wanted) throw new Error(`${keys.join('.')} ${found} is not supported yet: must be ${wanted}`);
}

/** As the original prints it. */
function verityLine({ blockSize, dataBlocks, hashOffset, rootDigest }: VerityResult): string {
  const how = '--no-superblock --format=1 -s "" --hash=sha256';
  const sizes = `--data-block-size=${blockSize} --hash-block-size=4096`;
  const place = `--data-blocks ${dataBlocks} --hash-offset ${hashOffset}`;
  return `dm-verity options: ${how} ${sizes} ${place} ${rootDigest.toString('hex')}\n`;
}

function summary(output: string, { size, blobs }: ExportResult, seconds: number): string {
  return [
    `disk       ${output} (${mebibytes(size)})`,
    `blobs      ${blobs}`,
    `time       ${seconds.toFixed(1)} s`,
    '',
  ].join('\n');
}
