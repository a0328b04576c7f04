/** nydusd: argv → options → daemon → exit code. */
import { ExitCode } from '../programs/common/exit-codes.ts';
import { parseOptions, UsageError } from './nydusd-options.ts';

try {
  const options = parseOptions(process.argv.slice(2));
  if (options === 'help') {
    process.stdout.write((await import('./nydusd-help.ts')).HELP);
  } else if (options === 'version') {
    process.stdout.write((await import('./nydusd-help.ts')).versionText());
  } else {
    const { runNydusd } = await import('../programs/nydusd/start.ts');
    process.exitCode = await runNydusd(options);
    // Polls and threads that a failed shutdown left must not keep the process.
    process.exit();
  }
} catch (error) {
  const usage = error instanceof UsageError;
  process.stderr.write(`nydusd: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(usage ? ExitCode.usage : ExitCode.failure);
}
