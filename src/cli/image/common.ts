import { appendFileSync } from 'node:fs';
import { constants } from 'node:os';
import { type Command, Option } from 'commander';

const LOG_LEVELS = ['error', 'warn', 'info', 'debug', 'trace'] as const;

/** Taken before and after the subcommand, as by the original; the default is applied where it is read. */
export function logLevelOption(): Option {
  return new Option('-l, --log-level <level>', 'how much is said (default: "info")').choices(LOG_LEVELS);
}

/** Taken before and after the subcommand. */
export function logFileOption(): Option {
  return new Option('-L, --log-file <file>', 'append what is said to a file, errors and results aside');
}

/** Says what was done, unless the log level is below `info`: on standard output or in the log file. */
export function say(command: Command, text: string): void {
  if (!isTalkative(command)) return;
  const { logFile } = command.optsWithGlobals<{ logFile?: string }>();
  if (logFile === undefined) process.stdout.write(text);
  else appendFileSync(logFile, text);
}

/** Whether a summary is wanted on standard output. */
function isTalkative(command: Command): boolean {
  const { logLevel } = command.optsWithGlobals<{ logLevel?: (typeof LOG_LEVELS)[number] }>();
  return LOG_LEVELS.indexOf(logLevel ?? 'info') >= LOG_LEVELS.indexOf('info');
}

/** Whether details are wanted on standard error. */
export function isVerbose(command: Command): boolean {
  const { logLevel } = command.optsWithGlobals<{ logLevel?: (typeof LOG_LEVELS)[number] }>();
  return LOG_LEVELS.indexOf(logLevel ?? 'info') > LOG_LEVELS.indexOf('info');
}

/** Aborts when the user or the system ends the program; the exit code says so. */
export function abortOnSignals(): AbortSignal {
  const abort = new AbortController();
  const interrupt = (signal: NodeJS.Signals): void => {
    process.exitCode = 128 + constants.signals[signal];
    abort.abort();
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, interrupt);
  return abort.signal;
}

/** A size for people. */
export function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}
