/** The API of a real nydusd process against the answers recorded of the original. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { configText, fixtures, Nydusd } from '../support/nydusd.ts';

interface Recorded {
  readonly note: string;
  readonly request?: string;
  readonly body: string | null;
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly answer: string;
  readonly only?: string;
}

const recorded = JSON.parse(readFileSync(join(fixtures, 'api/nydusd.json'), 'utf8')) as Recorded[];

/**
 * Where ours differs on purpose (and after a remount the original goes on showing the superblock of the image before).
 */
const different: Readonly<Record<string, string>> = {
  'GET /api/v1/metrics/backend?id=/a/b/five':
    'the original counts a shared back end under its first mountpoint; ours under each',
};

let daemon: Nydusd;

beforeAll(async () => {
  daemon = new Nydusd();
  await daemon.ready();
  writeFileSync(join(daemon.directory, 'c.json'), configText(join(daemon.directory, 'c')));
});

afterAll(async () => {
  await daemon[Symbol.asyncDispose]();
});

/** The recorded images where they are, otherwise others of the small ones. */
const all = process.env.NYDUS_FIXTURES;

function local(text: string): string {
  const local = text.replaceAll('$FIXTURES', all ?? fixtures).replaceAll('$TMP', daemon.directory);
  if (all !== undefined) return local;
  return local
    .replaceAll('/v6-lower/', '/v6-lz4_block-sha256/')
    .replaceAll('/v5-zstd-blake3/', '/v5-zstd-sha256/')
    .replaceAll(/[0-9a-f]{64}\.blob\.data/g, 'BLOB');
}

/** Types instead of values; an array is told by its first element. */
function shape(value: unknown): unknown {
  if (Array.isArray(value)) return value.length === 0 ? [] : [shape(value[0])];
  if (typeof value !== 'object' || value === null) return typeof value;
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, shape(member)]));
}

/** The recorded mounts, less the kinds that ours does not have. */
function collection(answer: string): Record<string, { config: unknown }> {
  const mounts = (JSON.parse(answer) as { backend_collection: Record<string, { config: unknown }> })
    .backend_collection;
  return Object.fromEntries(Object.entries(mounts ?? {}).filter(([, { config }]) => config !== null));
}

function compareBodies(entry: Recorded, text: string): void {
  const want = local(entry.answer);
  if (entry.status >= 400) {
    if (want === '') return;
    let message = (JSON.parse(want) as { message: string }).message;
    // The column is where the body ends, and paths differ in length.
    if (message.includes('missing field')) {
      message = message.replace(/column: \d+/, `column: ${Buffer.byteLength(local(entry.body!))}`);
    }
    const got = JSON.parse(text) as { code: string; message: string };
    expect(got.code).toBe('UNDEFINED');
    expect(got.message.slice(0, message.length)).toBe(message);
    return;
  }
  if (want === '') {
    expect(text).toBe('');
    return;
  }
  const [wanted, got] = [JSON.parse(want), JSON.parse(text)] as [unknown, unknown];
  if (entry.request!.startsWith('GET /api/v1/daemon?') || entry.request === 'GET /api/v1/daemon') {
    const configs = (answer: string) =>
      Object.fromEntries(Object.entries(collection(answer)).map(([key, { config }]) => [key, config]));
    expect(configs(text)).toEqual(configs(want));
    expect({ ...(got as object), backend_collection: null, version: 0 }).toEqual({
      ...(wanted as object),
      backend_collection: null,
      version: 0,
    });
  } else if (/\/metrics\/(files|pattern)/.test(entry.request!)) {
    // Nothing has been read: no guest is there.
    expect(Array.isArray(got)).toBe(Array.isArray(wanted));
  } else if (
    entry.request!.includes('/daemon/backend') &&
    (all === undefined || entry.request!.endsWith('/six'))
  ) {
    expect(shape(got)).toEqual(shape(wanted));
  } else if (/\/metrics|\/daemon$/.test(entry.request!.split('?')[0]!)) {
    expect(shape(got)).toEqual(shape(wanted));
  } else {
    expect(got).toEqual(wanted);
  }
}

describe('recorded requests, in order', () => {
  for (const entry of recorded) {
    if (entry.request === undefined || entry.only !== undefined) continue;
    const reason = different[entry.request];
    test.skipIf(reason !== undefined)(
      `${entry.request}: ${entry.note}${reason ? ` (${reason})` : ''}`,
      async () => {
        const [method, path] = entry.request!.split(' ') as [string, string];
        const { status, headers, text } = await daemon.call(
          method,
          path,
          entry.body === null ? undefined : local(entry.body),
        );
        expect({ status, text: status === entry.status ? '' : text }).toEqual({
          status: entry.status,
          text: '',
        });
        expect(headers.server).toBe(entry.headers.Server);
        expect(headers['content-type']).toBe(entry.headers['Content-Type']);
        compareBodies(entry, text);
      },
    );
  }

  test('the process ends with 0 after exit and its sockets are gone', async () => {
    expect(await daemon.exit(2000)).toEqual({ code: 0, signal: null });
  });
});
