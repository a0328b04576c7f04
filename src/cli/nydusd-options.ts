/**
 * argv of nydusd → options: today's `nydusd virtiofs …` and the flat flags of 2020. Parsing only; nothing is opened.
 */
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import type { NydusdOptions } from '../programs/nydusd/options.ts';

/** argv cannot be used; the message says what is wrong and what to write instead. */
export class UsageError extends Error {
  override readonly name: string = 'UsageError';
}

/** As long as it takes to wake a sleeping driver: its next request comes before we sleep ourselves. */
const POLL_US = 50;

const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error'];

const known = {
  sock: { type: 'string' },
  apisock: { type: 'string', short: 'A' },
  config: { type: 'string', short: 'C' },
  bootstrap: { type: 'string', short: 'B' },
  'localfs-dir': { type: 'string', short: 'D' },
  'virtual-mountpoint': { type: 'string', short: 'm' },
  id: { type: 'string' },
  'log-level': { type: 'string', short: 'l' },
  'log-file': { type: 'string', short: 'L' },
  'log-rotation-size': { type: 'string' },
  'rlimit-nofile': { type: 'string' },
  'prefetch-files': { type: 'string', multiple: true },
  'thread-num': { type: 'string' },
  'fuse-threads': { type: 'string' },
  'hybrid-mode': { type: 'boolean' },
  'num-request-queues': { type: 'string' },
  tag: { type: 'string' },
  'poll-us': { type: 'string' },
  'exit-on-disconnect': { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
  version: { type: 'boolean', short: 'V' },
  mountpoint: { type: 'string', short: 'M' },
  'failover-policy': { type: 'string' },
  writable: { type: 'boolean' },
  'shared-dir': { type: 'string', short: 's' },
  supervisor: { type: 'string' },
  upgrade: { type: 'boolean' },
  'dedup-db': { type: 'string' },
} as const;

type Values = Partial<Record<keyof typeof known, string | boolean | (string | boolean)[]>>;

/** Options of upstream which this version refuses, and what to do instead. */
const unsupported: Readonly<Partial<Record<keyof typeof known, string>>> = {
  mountpoint: 'serve a guest with `nydusd virtiofs --sock PATH`; the host cannot mount yet',
  'failover-policy': 'it belongs to the host mount, which is not there yet',
  writable: 'mounts are read-only',
  'shared-dir':
    'share images with --bootstrap or through the API; for a directory run virtiofsd beside this daemon',
  supervisor: 'restart the daemon and mount again through the API',
  upgrade: 'restart the daemon and mount again through the API',
  'dedup-db': 'leave it out; chunks are deduplicated within a cache directory only',
};

const unsupportedCommands: Readonly<Record<string, string>> = {
  fuse: 'the host cannot mount yet; use `nydusd virtiofs --sock PATH`',
  singleton: 'run one `nydusd virtiofs` per guest',
  uffd: 'use `nydusd virtiofs --sock PATH`',
  nbd: 'use `nydusd virtiofs --sock PATH`',
};

/** `arguments_` without node and script. Throws UsageError. */
export function parseOptions(arguments_: readonly string[]): NydusdOptions | 'help' | 'version' {
  const { values, words } = split(arguments_);
  if (values.help === true) return 'help';
  if (values.version === true) return 'version';
  const command = words[0];
  if (command !== undefined && Object.hasOwn(unsupportedCommands, command)) {
    throw new UsageError(`\`nydusd ${command}\` is not supported yet: ${unsupportedCommands[command]}`);
  }
  for (const [name, instead] of Object.entries(unsupported)) {
    const value = values[name as keyof Values];
    // 2020 scripts pass empty strings for what they do not use.
    if (value !== undefined && value !== '') {
      throw new UsageError(`--${name} is not supported yet: ${instead}`);
    }
  }
  checkWords(words, values);
  return build(values, words);
}

function split(arguments_: readonly string[]): { values: Values; words: string[] } {
  try {
    const parsed = parseArgs({
      args: [...arguments_],
      options: known,
      allowPositionals: true,
      strict: true,
    });
    return { values: parsed.values, words: parsed.positionals };
  } catch (error) {
    const reason = (error as Error).message.split('. To specify')[0];
    throw new UsageError(`${reason}; see \`nydusd --help\``);
  }
}

/** Words are the subcommand, and (2020) further paths behind --prefetch-files. */
function checkWords(words: string[], values: Values): void {
  if (words[0] === 'virtiofs') words.shift();
  for (const word of words) {
    if (values['prefetch-files'] !== undefined && word.startsWith('/')) continue;
    throw new UsageError(`unknown subcommand or argument '${word}'; use \`nydusd virtiofs --sock PATH …\``);
  }
}

function build(values: Values, paths: readonly string[]): NydusdOptions {
  const text = (name: keyof Values): string | null => {
    const value = values[name];
    return typeof value === 'string' && value !== '' ? value : null;
  };
  const sock = text('sock');
  if (sock === null) throw new UsageError('--sock PATH is required: the socket which the VMM connects to');
  const bootstrap = text('bootstrap');
  if (text('config') !== null && text('localfs-dir') !== null) {
    throw new UsageError(
      '--config and --localfs-dir exclude each other; the latter writes a configuration itself',
    );
  }
  if (bootstrap !== null && text('config') === null && text('localfs-dir') === null) {
    throw new UsageError(
      '--bootstrap needs --config FILE or --localfs-dir DIR, which say where the blobs are',
    );
  }
  const virtualMountpoint = text('virtual-mountpoint') ?? '/';
  if (!virtualMountpoint.startsWith('/')) throw new UsageError('--virtual-mountpoint must begin with /');
  const logLevel = (text('log-level') ?? 'info').toLowerCase();
  if (!LOG_LEVELS.includes(logLevel)) {
    throw new UsageError(`--log-level must be one of ${LOG_LEVELS.join(', ')}`);
  }
  number(values, 'thread-num', 1, 1024, 4);
  return {
    sock,
    apisock: text('apisock'),
    bootstrap,
    config: text('config'),
    localfsDir: text('localfs-dir'),
    virtualMountpoint,
    id: text('id'),
    logLevel,
    logFile: text('log-file'),
    logRotationSizeMb: number(values, 'log-rotation-size', 0, 1 << 20, 0),
    rlimitNofile: number(values, 'rlimit-nofile', 0, 0x7fff_ffff, 1_000_000),
    prefetchFiles: [...((values['prefetch-files'] ?? []) as string[]), ...paths],
    requestQueues: number(values, 'num-request-queues', 1, 63, 4),
    tag: checkTag(text('tag')),
    pollUs: number(values, 'poll-us', 0, 10_000, availableParallelism() > 1 ? POLL_US : 0),
    exitOnDisconnect: values['exit-on-disconnect'] === true,
  };
}

/** The tag is a field of 36 bytes in virtio-fs configuration space. */
function checkTag(tag: string | null): string | null {
  if (tag !== null && Buffer.byteLength(tag) > 36) throw new UsageError('--tag must be at most 36 bytes');
  return tag;
}

function number(values: Values, name: keyof Values, min: number, max: number, otherwise: number): number {
  const value = values[name];
  if (value === undefined) return otherwise;
  const parsed = typeof value === 'string' && /^\d{1,10}$/.test(value) ? Number(value) : Number.NaN;
  if (!(parsed >= min && parsed <= max)) {
    throw new UsageError(`--${name} must be a number from ${min} to ${max}, is '${value}'`);
  }
  return parsed;
}
