import { Command, CommanderError } from 'commander';
import { checkCommand } from './image/check.ts';
import { chunkdictCommand } from './image/chunkdict.ts';
import { logFileOption, logLevelOption, version } from './image/common.ts';
import { compactCommand } from './image/compact.ts';
import { createCommand } from './image/create.ts';
import { exportCommand } from './image/export.ts';
import { inspectCommand } from './image/inspect.ts';
import { mergeCommand } from './image/merge.ts';
import { optimizeCommand } from './image/optimize.ts';
import { endProgress } from './image/progress.ts';
import { statCommand } from './image/stat.ts';
import { unpackCommand } from './image/unpack.ts';

const EXIT_FAILURE = 1;
const EXIT_USAGE = 2;

function program(): Command {
  const root = new Command('nydus-image')
    .description('Builds RAFS images, which nydusd mounts.')
    .version(version(), '-V, --version')
    .addOption(logLevelOption())
    .addOption(logFileOption())
    .exitOverride();
  for (const command of [
    createCommand(),
    chunkdictCommand(),
    mergeCommand(),
    compactCommand(),
    optimizeCommand(),
    checkCommand(),
    inspectCommand(),
    statCommand(),
    unpackCommand(),
    exportCommand(),
  ])
    root.addCommand(command.copyInheritedSettings(root));
  return root;
}

async function main(): Promise<void> {
  try {
    await program().parseAsync();
  } catch (error) {
    if (error instanceof CommanderError) {
      process.exitCode = error.exitCode === 0 ? 0 : EXIT_USAGE;
      return;
    }
    endProgress();
    const message = error instanceof Error ? error.message : String(error);
    process.stderr.write(`nydus-image: ${message}\n`);
    process.exitCode ??= EXIT_FAILURE;
  }
}

await main();
