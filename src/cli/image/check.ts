import { writeFileSync } from 'node:fs';
import { Command } from 'commander';
import { checkImage } from '../../image/check/check.ts';
import { checkJson, checkLines } from '../../image/check/text.ts';
import { readBootstrap } from '../../image/read/load.ts';
import { packageVersion } from '../../programs/common/version.ts';
import { addBootstrapOptions, type BootstrapFlags, blobSource, bootstrapPath } from './bootstrap-options.ts';
import { abortOnSignals, logFileOption, logLevelOption } from './common.ts';
import { bytesDone, endProgress, progressLine } from './progress.ts';
import { Output } from './standard-output.ts';

const EXIT_DAMAGED = 1;

interface CheckFlags extends BootstrapFlags {
  readonly verbose?: boolean;
  readonly outputJson?: string;
}

const EXAMPLES = `
Examples:
  Is this bootstrap sound, and which blobs does it need?
    nydus-image check image.boot
  Are its blobs, too? Every chunk is read, unpacked and compared with its digest:
    nydus-image check image.boot -D blobs
  List every inode and chunk:
    nydus-image check -v image.boot

Exit status: 0 if the image is sound; 1 if it is damaged or cannot be read, each fault being a line on standard error.
`;

/** `nydus-image check`. */
export function checkCommand(): Command {
  return addBootstrapOptions(
    new Command('check').description(
      'Verify an image: its bootstrap, and with --blob-dir or --config its blobs.',
    ),
  )
    .option('-v, --verbose', 'list inodes and chunks')
    .option('-J, --output-json <file>', 'write which blobs the image has as JSON')
    .addOption(logLevelOption())
    .addOption(logFileOption())
    .addHelpText('after', EXAMPLES)
    .action(runCheck);
}

async function runCheck(argument: string | undefined, flags: CheckFlags, command: Command): Promise<void> {
  const started = performance.now();
  const path = bootstrapPath(argument, flags, command);
  const source = await blobSource(flags);
  try {
    const bootstrap = await readBootstrap(path);
    const onProgress = progressLine(bytesDone);
    const signal = abortOnSignals();
    const report = await checkImage({ bootstrap, path, source, signal, onProgress });
    endProgress();
    for (const note of report.notes) process.stderr.write(`nydus-image check: ${path}: ${note}\n`);
    if (report.faultCount > 0) {
      complain(path, report);
      return;
    }
    const seconds = (performance.now() - started) / 1000;
    const output = new Output();
    for (const line of checkLines(bootstrap, path, flags.verbose === true)) await output.line(line);
    await output.end();
    if (flags.outputJson !== undefined)
      writeFileSync(flags.outputJson, JSON.stringify(checkJson(bootstrap, path, packageVersion, seconds)));
  } finally {
    await source?.close();
  }
}

function complain(
  path: string,
  { faults, faultCount }: { faults: readonly string[]; faultCount: number },
): void {
  for (const fault of faults) process.stderr.write(`nydus-image check: ${path}: ${fault}\n`);
  const more = faultCount > faults.length ? `, the first ${faults.length} of them above` : '';
  process.stderr.write(`nydus-image check: ${path} is damaged: ${faultCount} faults${more}\n`);
  process.exitCode = EXIT_DAMAGED;
}
