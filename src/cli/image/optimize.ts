import { writeFileSync } from 'node:fs';
import { Command, Option } from 'commander';
import { readAccessList } from '../../image/optimize/access-list.ts';
import { type OptimizeResult, optimize } from '../../image/optimize/optimize.ts';
import { packageVersion } from '../../programs/common/version.ts';
import { abortOnSignals, logFileOption, logLevelOption, mebibytes, say } from './common.ts';
import { addBackendOptions, type BackendFlags, copySource, warn } from './copy-options.ts';
import { outputJson } from './output-json.ts';
import { bytesDone, endProgress, progressLine } from './progress.ts';

interface OptimizeFlags extends BackendFlags {
  readonly bootstrap: string;
  readonly prefetchFiles?: string;
  readonly outputBootstrap: string;
  readonly outputBlobDir?: string;
  readonly outputJson?: string;
}

const HELP = `
The access list is JSON; ranges are [offset, size] in bytes, and without them a file is wanted as a whole:
  {"version": "v1", "files": [{"path": "/bin/sh"}, {"path": "/usr/lib/big.so", "ranges": [[0, 65536]]}]}

Examples:
  A bootstrap whose listed files are in a blob of their own, in the order of the list:
    nydus-image optimize -B image.boot -D blobs -p access.json -O optimized.boot --output-blob-dir blobs
`;

/** `nydus-image optimize`. */
export function optimizeCommand(): Command {
  const command = new Command('optimize')
    .description('Move what an access list names into one blob, so that it can be fetched in one piece.')
    .requiredOption('-B, --bootstrap <file>', 'bootstrap of the image, or a blob with one at its end')
    .option('-p, --prefetch-files <file>', 'the access list')
    .addOption(
      new Option('-D, --blob-dir <dir>', "directory with the image's blobs, named by their ids").conflicts(
        'config',
      ),
    )
    .option('-C, --config <file>', "instead: nydusd's configuration file, which says where the blobs are")
    .option('-O, --output-bootstrap <file>', 'where the new bootstrap goes', 'optimized_bootstrap')
    .option('--output-blob-dir <dir>', 'directory for the new blob, named by its id; made if missing')
    .option('-J, --output-json <file>', 'write what was done as JSON')
    .addOption(new Option('-b, --blob <file>', 'taken and not used, as by the original').hideHelp());
  return addBackendOptions(command)
    .addOption(logLevelOption())
    .addOption(logFileOption())
    .addHelpText('after', HELP)
    .action(runOptimize);
}

async function runOptimize(flags: OptimizeFlags, command: Command): Promise<void> {
  const started = performance.now();
  const { outputBlobDir, prefetchFiles } = flags;
  if (outputBlobDir === undefined) throw new Error('where does the new blob go? Give --output-blob-dir');
  if (prefetchFiles === undefined)
    throw new Error('what is wanted early? Give an access list with --prefetch-files');
  const onSkipped = (message: string): void => warn('optimize', message);
  const files = readAccessList(prefetchFiles, onSkipped);
  const source = await copySource(flags);
  try {
    const result = await optimize({
      bootstrap: flags.bootstrap,
      files,
      source,
      blobDir: outputBlobDir,
      output: { kind: 'file', path: flags.outputBootstrap },
      signal: abortOnSignals(),
      onProgress: progressLine(bytesDone),
      onSkipped,
    });
    const seconds = (performance.now() - started) / 1000;
    if (flags.outputJson !== undefined) {
      const json = outputJson(packageVersion, flags.outputBootstrap, result, result, seconds);
      writeFileSync(flags.outputJson, `${JSON.stringify(json, null, 2)}\n`);
    }
    endProgress();
    say(command, summary(result, seconds));
  } finally {
    await source.close();
  }
}

function summary(result: OptimizeResult, seconds: number): string {
  const blob = result.prefetchBlob;
  const stored =
    blob === null
      ? 'none: no data of the image is listed'
      : `${blob.id} (${mebibytes(blob.compressedSize)} for ${mebibytes(blob.uncompressedSize)})`;
  return [
    `bootstrap  ${result.bootstrapPath} (${mebibytes(result.bootstrapSize)})`,
    `blob       ${stored}`,
    `chunks     ${blob?.chunkCount ?? 0}`,
    `time       ${seconds.toFixed(1)} s`,
    '',
  ].join('\n');
}
