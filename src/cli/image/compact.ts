import { writeFileSync } from 'node:fs';
import { parse } from 'node:path';
import { Command, Option } from 'commander';
import { type CompactResult, compact } from '../../image/compact/compact.ts';
import { packageVersion } from '../../programs/common/version.ts';
import { parseChunkDict } from './chunk-dict-option.ts';
import { abortOnSignals, logFileOption, logLevelOption, mebibytes, say } from './common.ts';
import { addBackendOptions, type BackendFlags, copySource } from './copy-options.ts';
import { outputJson } from './output-json.ts';
import { bytesDone, endProgress, progressLine } from './progress.ts';

interface CompactFlags extends BackendFlags {
  readonly bootstrap: string;
  readonly blobDir: string;
  readonly minUsedRatio: string;
  readonly compactBlobSize: string;
  readonly maxCompactSize: string;
  readonly layersToCompact: string;
  readonly chunkDict?: string;
  readonly outputBootstrap?: string;
  readonly outputJson?: string;
}

const HELP = `
The blobs that the image had stay where they are: remove them when no other image needs them.

Examples:
  Put the small blobs of an image of many layers together:
    nydus-image compact -B image.boot -D blobs -O compact.boot
  Also drop unused chunks from blobs of which less than half is used:
    nydus-image compact --min-used-ratio 50 -B image.boot -D blobs -O compact.boot
`;

/** `nydus-image compact`. */
export function compactCommand(): Command {
  const command = new Command('compact')
    .description('Join small blobs of an image and drop chunks that it does not use.')
    .requiredOption('-B, --bootstrap <file>', 'bootstrap of the image, or a blob with one at its end')
    .requiredOption(
      '-D, --blob-dir <dir>',
      "directory with the image's blobs, named by their ids; new blobs go there, too",
    )
    .option(
      '--min-used-ratio <percent>',
      'blobs of which less is used are written anew; 0 to 99, 0: none',
      '0',
    )
    .option('--compact-blob-size <bytes>', 'blobs smaller than this are joined', '10485760')
    .option('--max-compact-size <bytes>', 'up to blobs of this size', '104857600')
    .option('--layers-to-compact <n>', 'an image with fewer blobs is left alone, and nothing is written', '0')
    .addOption(
      new Option(
        '--chunk-dict <dict>',
        'bootstrap=FILE: chunks which it has are taken from its blobs',
      ).argParser(parseChunkDict),
    )
    .option(
      '-O, --output-bootstrap <file>',
      "where the new bootstrap goes (default: the image's, with extension .bootstrap.compact)",
    )
    .option('-J, --output-json <file>', 'write what was done as JSON');
  return addBackendOptions(command)
    .addOption(logLevelOption())
    .addOption(logFileOption())
    .addHelpText('after', HELP)
    .action(runCompact);
}

async function runCompact(flags: CompactFlags, command: Command): Promise<void> {
  const started = performance.now();
  const outputBootstrap = flags.outputBootstrap ?? defaultOutput(flags.bootstrap);
  const rules = {
    minUsedPercent: parseNumber('--min-used-ratio', flags.minUsedRatio, 99),
    compactBlobSize: parseNumber('--compact-blob-size', flags.compactBlobSize),
    maxCompactSize: parseNumber('--max-compact-size', flags.maxCompactSize),
    minBlobs: parseNumber('--layers-to-compact', flags.layersToCompact),
  };
  const source = await copySource(flags);
  try {
    const result = await compact({
      ...rules,
      bootstrap: flags.bootstrap,
      dictionary: flags.chunkDict ?? null,
      source,
      blobDir: flags.blobDir,
      output: { kind: 'file', path: outputBootstrap },
      signal: abortOnSignals(),
      onProgress: progressLine(bytesDone),
    });
    endProgress();
    const seconds = (performance.now() - started) / 1000;
    if (result !== null && flags.outputJson !== undefined) {
      const json = outputJson(packageVersion, outputBootstrap, result, result, seconds);
      writeFileSync(flags.outputJson, `${JSON.stringify(json, null, 2)}\n`);
    }
    say(command, result === null ? NOTHING : summary(result, seconds));
  } finally {
    await source.close();
  }
}

const NOTHING = 'nothing to compact: the image has no data, or fewer blobs than --layers-to-compact\n';

/** The extension is replaced, as by the original. */
function defaultOutput(bootstrap: string): string {
  const { dir, name } = parse(bootstrap);
  return `${dir === '' || dir.endsWith('/') ? dir : `${dir}/`}${name}.bootstrap.compact`;
}

function parseNumber(flag: string, text: string, most = Number.MAX_SAFE_INTEGER): number {
  const value = /^\+?[0-9]+$/.test(text) ? Number(text) : Number.NaN;
  if (value <= most) return value;
  throw new Error(`${flag} ${text}: must be a number from 0 to ${most}`);
}

function summary(result: CompactResult, seconds: number): string {
  const { newBlobs, droppedIds, blobIds } = result;
  return [
    `bootstrap  ${result.bootstrapPath} (${mebibytes(result.bootstrapSize)})`,
    `blobs      ${blobIds.length}: ${newBlobs.length} new, ${blobIds.length - newBlobs.length} kept`,
    ...newBlobs.map(({ id, compressedSize }) => `new        ${id} (${mebibytes(compressedSize)})`),
    ...droppedIds.map((id) => `not needed ${id}`),
    `time       ${seconds.toFixed(1)} s`,
    '',
  ].join('\n');
}
