/** Text → `Config`, in version 1 or 2. Import this lazily: zod costs more than the rest of the program's start. */
import { open } from 'node:fs/promises';
import type { z } from 'zod';
import type { Config } from './config.ts';
import { parseDocument } from './documents.ts';
import { ConfigError } from './error.ts';
import { configV1, fromV1 } from './v1.ts';
import { configV2, filecache, fscache, noPrefetch } from './v2.ts';

/** Files beyond this are refused, as upstream does. */
const TEXT_BYTES_MAX: number = 1 << 20;

/** Reads and parses a file; errors name it. */
export async function loadConfig(path: string): Promise<Config> {
  try {
    return await parseConfig(await readText(path));
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const stage = error instanceof ConfigError ? error.stage : 'parsing';
    throw new ConfigError(stage, `config file ${path}: ${message}`, { cause: error });
  }
}

async function readText(path: string): Promise<string> {
  await using file = await open(path, 'r');
  // One byte more than allowed: the file may grow, and pipes have no size.
  const bytes = Buffer.alloc(TEXT_BYTES_MAX + 1);
  let size = 0;
  while (size < bytes.length) {
    const { bytesRead } = await file.read(bytes, size, bytes.length - size, null);
    if (bytesRead === 0) break;
    size += bytesRead;
  }
  if (size > TEXT_BYTES_MAX) throw new ConfigError('parsing', `is larger than ${TEXT_BYTES_MAX} bytes`);
  return bytes.toString('utf8', 0, size);
}

/** Parses the text of a configuration. Throws ConfigError. */
export async function parseConfig(text: string): Promise<Config> {
  if (text.length > TEXT_BYTES_MAX) {
    throw new ConfigError('parsing', `configuration is larger than ${TEXT_BYTES_MAX} characters`);
  }
  const document = await parseDocument(text);
  if (typeof document !== 'object' || document === null || Array.isArray(document)) {
    throw new ConfigError(
      'parsing',
      'the configuration must be an object with `device` (v1) or `version = 2`',
    );
  }
  return 'version' in document ? parseV2(document) : parseV1(document);
}

function parseV2(document: object): Config {
  const parsed = configV2.safeParse(document);
  if (!parsed.success) throw fromZod('checking', parsed.error, '');
  const { backend, cache, rafs, ...rest } = parsed.data;
  if (backend === undefined) {
    throw new ConfigError('checking', 'backend: is missing; say where the blobs are');
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
  if (!parsed.success) throw fromZod('parsing', parsed.error, '');
  const { cache } = parsed.data.device;
  const section = cache.type === 'fscache' ? fscache : filecache;
  const checked = section.safeParse(cache.config);
  if (!checked.success && cache.type !== '' && cache.type !== 'dummycache') {
    throw fromZod('parsing', checked.error, 'device.cache.config');
  }
  return fromV1(parsed.data);
}

function fromZod(stage: ConfigError['stage'], error: z.ZodError, prefix: string): ConfigError {
  const lines = error.issues.slice(0, 5).map((issue) => {
    const path = [prefix, ...issue.path.map(String)].filter((part) => part !== '').join('.');
    return `${path === '' ? 'configuration' : path}: ${issue.message}`;
  });
  const more = error.issues.length > 5 ? `; and ${error.issues.length - 5} more` : '';
  return new ConfigError(stage, lines.join('; ') + more, { cause: error });
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
