/**
 * Logging. pino is loaded after the API socket is bound; lines that come earlier wait for it. Level names are
 * upstream's.
 */
import { renameSync, statSync } from 'node:fs';
import type { Logger, LoggerOptions } from 'pino';

type Level = 'debug' | 'info' | 'warn' | 'error';
type Fields = Record<string, unknown>;

const LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'off'];

interface LogOptions {
  /** Whose log it is. */
  readonly program: string;
  readonly level: string;
  /** Null = standard error. `.log` is appended to a name without extension. */
  readonly file: string | null;
  /** 0 = never. */
  readonly rotationSizeMb: number;
}

/** The program's log. */
export class Log {
  readonly #options: LogOptions;
  readonly #early: [Level, Fields, string][] = [];
  #level: string;
  #logger: Logger | null = null;

  constructor(options: LogOptions) {
    this.#options = options;
    this.#level = options.level;
  }

  debug(fields: Fields, message: string): void {
    this.#write('debug', fields, message);
  }
  info(fields: Fields, message: string): void {
    this.#write('info', fields, message);
  }
  warn(fields: Fields, message: string): void {
    this.#write('warn', fields, message);
  }
  error(fields: Fields, message: string): void {
    this.#write('error', fields, message);
  }

  /** False when the level is none of off, error, warn, info, debug, trace (in any case). */
  setLevel(level: string): boolean {
    const name = level.toLowerCase();
    if (!LEVELS.includes(name)) return false;
    this.#level = name;
    if (this.#logger !== null) this.#logger.level = name === 'off' ? 'silent' : name;
    return true;
  }

  /** Loads pino and writes what has waited. Throws when the log file cannot be opened. */
  async open(): Promise<void> {
    const { default: pino } = await import('pino');
    const { file, rotationSizeMb } = this.#options;
    const path = file === null ? null : /\.[^/.]+$/.test(file) ? file : `${file}.log`;
    const destination = pino.destination({ dest: path ?? 2, sync: true, mkdir: false });
    const options: LoggerOptions = {
      level: this.#level === 'off' ? 'silent' : this.#level,
      base: null,
      formatters: { level: (label: string) => ({ level: label }) },
      timestamp: pino.stdTimeFunctions.isoTime,
    };
    if (path === null || rotationSizeMb === 0) {
      this.#logger = pino(options, destination);
    } else {
      this.#logger = pino(options, rotating(destination, path, rotationSizeMb * 1024 * 1024));
    }
    for (const [level, fields, message] of this.#early.splice(0)) this.#write(level, fields, message);
  }

  /** Writes what still waits (to standard error when the log was never opened). */
  flush(): void {
    for (const [level, fields, message] of this.#early.splice(0)) {
      if (level === 'warn' || level === 'error') {
        process.stderr.write(`${this.#options.program}: ${level}: ${message} ${JSON.stringify(fields)}\n`);
      }
    }
  }

  #write(level: Level, fields: Fields, message: string): void {
    if (this.#logger === null) this.#early.push([level, fields, message]);
    else this.#logger[level](fields, message);
  }
}

interface Destination {
  write(line: string): boolean;
  reopen(): void;
}

/** Counts bytes and, beyond `limit`, moves the file to `<path>.1` and begins anew. */
function rotating(destination: Destination, path: string, limit: number): { write(line: string): void } {
  let size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  return {
    write(line: string): void {
      if (size > 0 && size + line.length > limit) {
        try {
          renameSync(path, `${path}.1`);
          destination.reopen();
        } catch {
          // The log must not end the daemon: go on in the old file.
        }
        size = 0;
      }
      size += Buffer.byteLength(line);
      destination.write(line);
    },
  };
}
