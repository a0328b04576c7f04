import { Command, Option } from 'commander';
import { type BlobSource, localBlobs } from '../../image/read/local-blobs.ts';
import { type UnpackResult, unpack } from '../../image/unpack/unpack.ts';
import { bootstrapPath } from './bootstrap-options.ts';
import { abortOnSignals, logFileOption, logLevelOption, mebibytes, say } from './common.ts';
import { addBackendOptions, type BackendFlags, copySource, warn } from './copy-options.ts';
import { bytesDone, endProgress, progressLine } from './progress.ts';

interface UnpackFlags extends BackendFlags {
  readonly bootstrap?: string;
  readonly blob?: string;
  readonly output: string;
}

const HELP = `
Owners, times, xattrs, hard links and devices are kept; sockets, which a tar cannot hold, are left out. The output appears under its name
when it is complete.

Examples:
  A layer, back as a tar:
    nydus-image unpack -D blobs --output layer.tar image.boot
  An image whose data is in one blob, straight into a directory:
    nydus-image unpack --blob image.blob --output - image.boot | tar --xattrs --xattrs-include='*' -xpC tree
`;

/** `nydus-image unpack`. */
export function unpackCommand(): Command {
  const command = new Command('unpack')
    .description('Turn an image into a tar of its files.')
    .argument('[bootstrap]', 'bootstrap, or a blob with one at its end')
    .addOption(new Option('-B, --bootstrap <file>', 'the same').hideHelp())
    .addOption(new Option('-b, --blob <file>', "the image's only blob").conflicts(['blobDir', 'backendType']))
    .addOption(
      new Option('-D, --blob-dir <dir>', 'directory with the blobs, named by their ids').conflicts(
        'backendType',
      ),
    )
    .requiredOption('--output <file>', 'where the tar goes: a file, a pipe, or - for standard output');
  return addBackendOptions(command)
    .addOption(logLevelOption())
    .addOption(logFileOption())
    .addHelpText('after', HELP)
    .action(runUnpack);
}

async function runUnpack(argument: string | undefined, flags: UnpackFlags, command: Command): Promise<void> {
  const started = performance.now();
  const bootstrap = bootstrapPath(argument, flags, command);
  if (flags.output === '') throw new Error('invalid empty --output option');
  const source = await blobSource(flags);
  try {
    const result = await unpack({
      bootstrap,
      source,
      isOneBlob: flags.blob !== undefined,
      output: flags.output,
      signal: abortOnSignals(),
      onProgress: progressLine(bytesDone),
      onSkipped: (message) => warn('unpack', message),
    });
    endProgress();
    // What takes a stream may be standard output by another name.
    if (result.isFile) say(command, summary(flags.output, result, (performance.now() - started) / 1000));
  } finally {
    await source.close();
  }
}

async function blobSource(flags: UnpackFlags): Promise<BlobSource> {
  if (flags.blob !== undefined) return localBlobs({ blob_file: flags.blob });
  const { blobDir, backendType } = flags;
  if (blobDir === undefined && backendType === undefined)
    throw new Error('--blob, --blob-dir or --backend-type must be specified');
  return copySource(flags);
}

function summary(output: string, { entries, bytes, size }: UnpackResult, seconds: number): string {
  return [
    `tar        ${output} (${mebibytes(size)})`,
    `entries    ${entries}, with ${mebibytes(bytes)} of data`,
    `time       ${seconds.toFixed(1)} s`,
    '',
  ].join('\n');
}
