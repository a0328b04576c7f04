/**
 * Text → `Config`. Version 2 in JSON, version 2 in TOML and version 1 in JSON are told apart by content. Import this
 * lazily: zod and the TOML parser cost more than the rest of the program's start.
 */
import { open } from 'node:fs/promises';
import type { z } from 'zod';
import type { Config } from './config.ts';
import { blankComments, dropNulls } from './json.ts';
import { configV1, fromV1 } from './v1.ts';
import { configV2, filecache, fscache, noPrefetch } from './v2.ts';

/** Files beyond this are refused, as upstream does. */
const CONFIG_BYTES_MAX: number = 1 << 20;

/**
 * A configuration that cannot be used. `original` is what upstream says in this case; `message` names field, rule and
 * remedy.
 */
export class ConfigError extends Error {
  readonly code = 'CONFIG_INVALID';
  readonly original: 'failed to parse configuration information' | 'invalid configuration';
  constructor(original: ConfigError['original'], message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'ConfigError';
    this.original = original;
  }
}

const UNPARSED = 'failed to parse configuration information';

/** Reads and parses a file; errors name it. */
export async function loadConfig(path: string): Promise<Config> {
  try {
    return await parseConfig(await readText(path));
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const original = error instanceof ConfigError ? error.original : UNPARSED;
    throw new ConfigError(original, `config file ${path}: ${message}`, { cause: error });
  }
}

async function readText(path: string): Promise<string> {
  await using file = await open(path, 'r');
  // One byte more than allowed: the file may grow, and pipes have no size.
  const bytes = Buffer.alloc(CONFIG_BYTES_MAX + 1);
  let size = 0;
  while (size < bytes.length) {
    const { bytesRead } = await file.read(bytes, size, bytes.length - size, null);
    if (bytesRead === 0) break;
    size += bytesRead;
  }
  if (size > CONFIG_BYTES_MAX) throw new ConfigError(UNPARSED, `is larger than ${CONFIG_BYTES_MAX} bytes`);
  return bytes.toString('utf8', 0, size);
}

/** Parses the text of a configuration. Throws ConfigError. */
export async function parseConfig(text: string): Promise<Config> {
  if (text.length > CONFIG_BYTES_MAX) {
    throw new ConfigError(UNPARSED, `configuration is larger than ${CONFIG_BYTES_MAX} characters`);
  }
  const document = dropNulls(await parseDocument(text));
  if (typeof document !== 'object' || document === null || Array.isArray(document)) {
    throw new ConfigError(
      UNPARSED,
      'the configuration must be an object with `device` (v1) or `version = 2`',
    );
  }
  return 'version' in document ? parseV2(document) : parseV1(document);
}

async function parseDocument(text: string): Promise<unknown> {
  const start = text.trimStart()[0];
  if (start === '{' || start === '/') {
    try {
      return JSON.parse(blankComments(text));
    } catch (error) {
      throw new ConfigError(UNPARSED, `not valid JSON: ${(error as Error).message}`, { cause: error });
    }
  }
  const { parse } = await import('smol-toml');
  try {
    return parse(text);
  } catch (error) {
    const reason = (error as Error).message.split('\n')[0];
    throw new ConfigError(UNPARSED, `neither JSON (it does not begin with '{') nor valid TOML: ${reason}`, {
      cause: error,
    });
  }
}

function parseV2(document: object): Config {
  const parsed = configV2.safeParse(document);
  if (!parsed.success) throw fromZod('invalid configuration', parsed.error, '');
  const { backend, cache, rafs, ...rest } = parsed.data;
  if (backend === undefined) {
    throw new ConfigError('invalid configuration', 'backend: is missing; say where the blobs are');
  }
  return {
    ...rest,
    backend,
    cache: cache ?? {
      type: '',
      compressed: false,
      validate: false,
      prefetch: noPrefetch,
      filecache: null,
      fscache: null,
    },
    rafs: rafs ?? {
      mode: 'direct',
      batch_size: 1 << 20,
      validate: false,
      enable_xattr: false,
      iostats_files: false,
      access_pattern: false,
      latest_read_files: false,
      prefetch: noPrefetch,
    },
  };
}

function parseV1(document: object): Config {
  const parsed = configV1.safeParse(document);
  if (!parsed.success) throw fromZod(UNPARSED, parsed.error, '');
  const { cache } = parsed.data.device;
  const section = cache.type === 'fscache' ? fscache : filecache;
  const checked = section.safeParse(cache.config);
  if (!checked.success && cache.type !== '' && cache.type !== 'dummycache') {
    throw fromZod(UNPARSED, checked.error, 'device.cache.config');
  }
  return fromV1(parsed.data);
}

function fromZod(original: ConfigError['original'], error: z.ZodError, prefix: string): ConfigError {
  const lines = error.issues.slice(0, 5).map((issue) => {
    const path = [prefix, ...issue.path.map(String)].filter((part) => part !== '').join('.');
    return `${path === '' ? 'configuration' : path}: ${issue.message}`;
  });
  const more = error.issues.length > 5 ? `; and ${error.issues.length - 5} more` : '';
  return new ConfigError(original, lines.join('; ') + more, { cause: error });
}

/**
 * The configuration of `--localfs-dir DIR`: blobs and cache both in `directory`, as upstream does it.
 */
export function localfsConfig(directory: string): Config {
  return fromV1(
    configV1.parse({
      device: {
        backend: { type: 'localfs', config: { dir: directory } },
        cache: { type: 'blobcache', config: { work_dir: directory } },
      },
      mode: 'direct',
      enable_xattr: true,
    }),
  );
}

/** The configuration as GET /api/v1/daemon shows it: secrets left out. */
export function withoutSecrets(config: Config): Config {
  const { registry, oss, s3 } = config.backend;
  const blank = <T extends { access_key_id: string; access_key_secret: string }>(
    value: T | null,
  ): T | null => (value === null ? null : { ...value, access_key_id: '', access_key_secret: '' });
  return {
    ...config,
    backend: {
      ...config.backend,
      oss: blank(oss),
      s3: blank(s3),
      registry: registry === null ? null : { ...registry, auth: undefined, registry_token: undefined },
    },
    cache: {
      ...config.cache,
      filecache: config.cache.filecache === null ? null : { ...config.cache.filecache, encryption_key: '' },
    },
  };
}
