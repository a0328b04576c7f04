import { Command, CommanderError } from 'commander';
import { ExitCode } from '../programs/common/exit-codes.ts';
import { packageVersion } from '../programs/common/version.ts';
import { checkCommand } from './image/check.ts';
import { chunkdictCommand } from './image/chunkdict.ts';
import { logFileOption, logLevelOption } from './image/common.ts';
import { compactCommand } from './image/compact.ts';
import { createCommand } from './image/create.ts';
import { exportCommand } from './image/export.ts';
import { inspectCommand } from './image/inspect.ts';
import { mergeCommand } from './image/merge.ts';
import { optimizeCommand } from './image/optimize.ts';
import { endProgress } from './image/progress.ts';
import { statCommand } from './image/stat.ts';
import { unpackCommand } from './image/unpack.ts';

function program(): Command {
  const root = new Command('nydus-image')
    .description('Builds RAFS images, which nydusd mounts.')
    .version(packageVersion, '-V, --version')
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
      process.exitCode = error.exitCode === 0 ? 0 : ExitCode.usage;
      return;
    }
    endProgress();
    const message = error instanceof Error ? error.message : String(error);
    process.stderr.write(`nydus-image: ${message}\n`);
    process.exitCode ??= ExitCode.failure;
  }
}

await main();
