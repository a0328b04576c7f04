import { statSync, writeFileSync } from 'node:fs';
import { Command, Option } from 'commander';
import type { Destination } from '../../image/blob/output-file.ts';
import { type ChunkdictResult, generateChunkdict } from '../../image/dictionary/generate.ts';
import { packageVersion } from '../../programs/common/version.ts';
import { logFileOption, logLevelOption, mebibytes, say } from './common.ts';
import { warn } from './copy-options.ts';
import { outputJson } from './output-json.ts';

interface ChunkdictFlags {
  readonly database: string;
  readonly bootstrap?: string;
  readonly blobDir?: string;
  readonly outputJson?: string;
}

const HELP = `
A bootstrap is told apart by its directory, which is called name:tag after its image. The database keeps what was added
before, and a dictionary is made of all of it.

Examples:
  Which chunks do versions of redis have in common?
    nydus-image chunkdict generate --database sqlite:///var/lib/chunks.db -B dict.boot redis:7.0/image.boot redis:7.2/image.boot
  Use them:
    nydus-image create --chunk-dict bootstrap=dict.boot -B image.boot -D blobs ./rootfs
`;

/** `nydus-image chunkdict`. */
export function chunkdictCommand(): Command {
  return (
    new Command('chunkdict')
      .description('Make dictionaries of chunks that images share.')
      // Settings of the program are handed down by one level only.
      .addCommand(generateCommand().exitOverride())
  );
}

function generateCommand(): Command {
  return new Command('generate')
    .description('Choose chunks which images to come are likely to have, and write a dictionary of them.')
    .argument('<source...>', 'bootstraps, each in a directory called name:tag')
    .option(
      '--database <url>',
      'SQLite file to which the chunks are added',
      'sqlite:///home/runner/output/database.db',
    )
    .option('-B, --bootstrap <file>', 'where the dictionary goes')
    .option('-D, --blob-dir <dir>', 'instead: into this directory, named by its SHA-256')
    .option('-J, --output-json <file>', 'write what was done as JSON')
    .addOption(
      new Option('--prefetch-policy <policy>', 'taken and not used, as by the original')
        .choices(['fs', 'blob', 'none'])
        .hideHelp(),
    )
    .addOption(new Option('-C, --config <file>', 'taken and not used: no blob is read').hideHelp())
    .addOption(new Option('-v, --verbose', 'taken and not used, as by the original').hideHelp())
    .addOption(logLevelOption())
    .addOption(logFileOption())
    .addHelpText('after', HELP)
    .action(runGenerate);
}

async function runGenerate(sources: string[], flags: ChunkdictFlags, command: Command): Promise<void> {
  const started = performance.now();
  const result = await generateChunkdict({
    sources,
    database: flags.database,
    output: destination(flags),
    onSkipped: (message) => warn('chunkdict generate', message),
  });
  const seconds = (performance.now() - started) / 1000;
  if (flags.outputJson !== undefined) {
    const json = outputJson(packageVersion, flags.bootstrap ?? result.bootstrapPath, result, result, seconds);
    writeFileSync(flags.outputJson, `${JSON.stringify(json, null, 2)}\n`);
  }
  say(command, summary(result, seconds));
}

function destination({ bootstrap, blobDir }: ChunkdictFlags): Destination {
  if (bootstrap !== undefined) return { kind: 'file', path: bootstrap };
  if (blobDir === undefined) throw new Error('where does the dictionary go? Give --bootstrap or --blob-dir');
  if (statSync(blobDir, { throwIfNoEntry: false })?.isDirectory())
    return { kind: 'directory', path: blobDir };
  throw new Error(`${blobDir}: no such directory; make it, or give --bootstrap`);
}

function summary(result: ChunkdictResult, seconds: number): string {
  const { loneImages, chunks, chunkBytes, blobIds } = result;
  const lone = loneImages.length === 0 ? [] : [`of little use for: ${loneImages.join(' ')}`];
  return [
    `bootstrap  ${result.bootstrapPath} (${mebibytes(result.bootstrapSize)})`,
    `chunks     ${chunks} in ${blobIds.length} blobs (${mebibytes(chunkBytes)})`,
    ...lone,
    `time       ${seconds.toFixed(1)} s`,
    '',
  ].join('\n');
}
