import { readdirSync, statSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { Command, Option } from 'commander';
import { ImageStat } from '../../image/inspect/stat.ts';
import { reason } from '../../image/model/error.ts';
import type { DigestAlgorithm } from '../../lib/content-hash.ts';
import { type BootstrapFlags, blobSource, configOption } from './bootstrap-options.ts';
import { isVerbose, logFileOption, logLevelOption } from './common.ts';

interface StatFlags extends BootstrapFlags {
  readonly target?: string;
  readonly digester: DigestAlgorithm;
  readonly outputJson?: string;
}

const EXAMPLES = `
Examples:
  Files, chunks and sizes of one image:
    nydus-image stat -B image.boot
  How much of a new image do those in a directory have already?
    nydus-image stat -D images -T new.boot -J stat.json
`;

/** `nydus-image stat`. */
export function statCommand(): Command {
  return new Command('stat')
    .description('Count files, chunks and bytes of images, and what they share.')
    .option('-B, --bootstrap <file>', 'the image')
    .option(
      '-D, --blob-dir <dir>',
      'instead: all images in the directory, and what they share; files with an extension are left out',
    )
    .option('-T, --target <file>', 'an image which is compared with the others')
    .addOption(configOption())
    .addOption(
      new Option('--digester <name>', 'images with another one are not compared')
        .choices(['blake3', 'sha256'])
        .default('blake3'),
    )
    .option('-J, --output-json <file>', 'write the counts as JSON instead of printing them')
    .addOption(logLevelOption())
    .addOption(logFileOption())
    .addHelpText('after', EXAMPLES)
    .action(runStat);
}

async function runStat(flags: StatFlags, command: Command): Promise<void> {
  const { bootstrap, blobDir, target } = flags;
  if (bootstrap === undefined && blobDir === undefined)
    throw new Error('one of --bootstrap and --blob-dir must be specified');
  // Nothing is read from blobs but the bootstraps at their ends; what is wrong with the
  // configuration is said all the same.
  if (flags.config !== undefined) await (await blobSource({ config: flags.config }))?.close();
  const stat = new ImageStat(flags.digester, bootstrap === undefined);
  if (bootstrap !== undefined) await stat.addBase(bootstrap);
  else await addDirectory(stat, blobDir!, target, isVerbose(command));
  if (target !== undefined) await stat.setTarget(target);
  if (flags.outputJson === undefined) process.stdout.write(stat.text());
  else writeFileSync(flags.outputJson, JSON.stringify(stat.json()));
}

/** Adds every image in the directory; other files are left out, as by the original. */
async function addDirectory(
  stat: ImageStat,
  dir: string,
  target: string | undefined,
  verbose: boolean,
): Promise<void> {
  for (const name of readdirSync(dir).sort()) {
    const path = join(dir, name);
    const hasExtension = name.lastIndexOf('.') > 0;
    if (hasExtension || !statSync(path, { throwIfNoEntry: false })?.isFile()) continue;
    if (target !== undefined && resolve(path) === resolve(target)) continue;
    try {
      await stat.addBase(path);
    } catch (error) {
      if (verbose) process.stderr.write(`nydus-image stat: ${path} is left out: ${reason(error)}\n`);
    }
  }
}
