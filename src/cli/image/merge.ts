import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import { Command, Option } from 'commander';
import type { Destination } from '../../image/blob/output-file.ts';
import { type LayerSource, type MergeResult, merge } from '../../image/merge/merge.ts';
import { ImageError } from '../../image/model/error.ts';
import { parsePrefetchList } from '../../image/model/prefetch.ts';
import { packageVersion } from '../../programs/common/version.ts';
import { blobSource, configOption } from './bootstrap-options.ts';
import { parseChunkDict } from './chunk-dict-option.ts';
import { abortOnSignals, logFileOption, logLevelOption, mebibytes, say } from './common.ts';
import { outputJson } from './output-json.ts';
import { endProgress, progressLine } from './progress.ts';

/** Says that the layers do not go together; callers of the original then convert them anew. */
const EXIT_INCOMPATIBLE = 2;
/** Readers refuse larger ones. */
const BLOB_BYTES_MAX = 2 ** 40;
const TOC_BYTES_MAX = 2 ** 32 - 1;

interface MergeFlags {
  readonly bootstrap?: string;
  readonly blobDir?: string;
  readonly parentBootstrap?: string;
  readonly chunkDict?: string;
  readonly prefetchPolicy: 'none' | 'fs' | 'blob';
  readonly blobDigests?: readonly string[];
  readonly originalBlobIds?: readonly string[];
  readonly blobSizes?: readonly number[];
  readonly blobTocDigests?: readonly string[];
  readonly blobTocSizes?: readonly number[];
  readonly config?: string;
  readonly outputJson?: string;
}

const EXAMPLES = `
Sources are bootstraps, lowest layer first, or blobs with a bootstrap at their ends. The name of each file, without extensions, is taken
for the id of its layer's blob. The lists have one item for each source, separated by commas.

Examples:
  The image of three layers:
    nydus-image merge -B image.boot <id1>.boot <id2>.boot <id3>.boot
  Bootstraps with names of their own:
    nydus-image merge -B image.boot --original-blob-ids <id1>,<id2> lower.boot upper.boot
  Layers built with --chunk-dict refer to its blobs, too:
    nydus-image merge -B image.boot --chunk-dict bootstrap=dict.boot <id1> <id2>

Exit status: 0 done, 1 failed, 2 the layers do not go together (format, chunk size, owners, digester).
`;

/** `nydus-image merge`. */
export function mergeCommand(): Command {
  return new Command('merge')
    .description('Merge the bootstraps of layers into one of the whole image.')
    .argument('<sources...>', 'bootstraps of the layers, lowest first')
    .option(
      '-B, --bootstrap <file>',
      'where the merged bootstrap goes; without it, into --blob-dir, named by its SHA-256',
    )
    .option('-D, --blob-dir <dir>', 'directory for the merged bootstrap')
    .option('--parent-bootstrap <file>', 'bootstrap of the image below the lowest layer')
    .addOption(
      new Option(
        '--chunk-dict <image>',
        '[bootstrap=]FILE: the image which the layers were built with',
      ).argParser(parseChunkDict),
    )
    .addOption(
      new Option('--prefetch-policy <policy>', 'fs: read ahead the paths on standard input, one a line')
        .choices(['fs', 'blob', 'none'])
        .default('none'),
    )
    .addOption(
      new Option('--blob-digests <list>', "SHA-256 of the layers' blobs: their ids").argParser(texts),
    )
    .addOption(
      new Option(
        '--original-blob-ids <list>',
        "ids of the layers' blobs, instead of their files' names",
      ).argParser(texts),
    )
    .addOption(
      new Option('--blob-sizes <list>', "bytes of the layers' blobs").argParser(
        numbers('--blob-sizes', BLOB_BYTES_MAX),
      ),
    )
    .addOption(
      new Option('--blob-toc-digests <list>', "SHA-256 of the blobs' tables of contents").argParser(texts),
    )
    .addOption(
      new Option('--blob-toc-sizes <list>', 'bytes of these, tar header included').argParser(
        numbers('--blob-toc-sizes', TOC_BYTES_MAX),
      ),
    )
    .addOption(configOption())
    .option('-J, --output-json <file>', 'write what was merged as JSON')
    .addOption(logLevelOption())
    .addOption(logFileOption())
    .addHelpText('after', EXAMPLES)
    .action(runMerge);
}

function texts(list: string): string[] {
  return list.split(',').map((item) => item.trim());
}

/** Errors here end the program with 1: to callers of `merge` 2 has a meaning. */
function numbers(flag: string, most: number): (list: string) => number[] {
  return (list) =>
    texts(list).map((item) => {
      const value = /^\+?[0-9]+$/.test(item) ? Number(item) : Number.NaN;
      if (value <= most) return value;
      throw new Error(`${flag}: ${JSON.stringify(item)} must be a decimal number of bytes, at most ${most}`);
    });
}

async function runMerge(sources: readonly string[], flags: MergeFlags, command: Command): Promise<void> {
  const started = performance.now();
  const bootstrap = destination(flags);
  const blobs = flags.config === undefined ? null : await blobSource({ config: flags.config });
  try {
    const result = await merge({
      layers: layersOf(sources, flags),
      parent: flags.parentBootstrap || undefined,
      chunkDict: flags.chunkDict,
      bootstrap,
      prefetchPatterns: patterns(flags),
      blobs: blobs ?? undefined,
      signal: abortOnSignals(),
      onLayer: progressLine(({ done, total }) => `${done} of ${total} layers merged`),
    });
    endProgress();
    report(result, flags, command, (performance.now() - started) / 1000);
  } catch (error) {
    if (error instanceof ImageError && error.code === 'IMAGE_INCOMPATIBLE')
      process.exitCode = EXIT_INCOMPATIBLE;
    throw error;
  } finally {
    await blobs?.close();
  }
}

function destination({ bootstrap, blobDir }: MergeFlags): Destination {
  if (bootstrap !== undefined) return { kind: 'file', path: bootstrap };
  if (blobDir === undefined) throw new Error('where does the bootstrap go? Give --bootstrap or --blob-dir');
  if (!statSync(blobDir, { throwIfNoEntry: false })?.isDirectory())
    throw new Error(`--blob-dir ${blobDir}: no such directory: make it first`);
  return { kind: 'directory', path: blobDir };
}

/** With policy `blob` the list is read and unused, as by the original: blobs are not written here. */
function patterns({ prefetchPolicy }: MergeFlags): string[] {
  if (prefetchPolicy === 'none') return [];
  const list = parsePrefetchList(readFileSync(0, 'utf8'));
  return prefetchPolicy === 'fs' ? list : [];
}

function layersOf(sources: readonly string[], flags: MergeFlags): LayerSource[] {
  const lists = {
    originalId: listOf('--original-blob-ids', flags.originalBlobIds, sources),
    digest: listOf('--blob-digests', flags.blobDigests, sources),
    size: listOf('--blob-sizes', flags.blobSizes, sources),
    tocDigest: listOf('--blob-toc-digests', flags.blobTocDigests, sources),
    tocSize: listOf('--blob-toc-sizes', flags.blobTocSizes, sources),
  };
  return sources.map((path, i) => ({
    path,
    blob: {
      originalId: lists.originalId?.[i],
      digest: lists.digest?.[i],
      size: lists.size?.[i],
      tocDigest: lists.tocDigest?.[i],
      tocSize: lists.tocSize?.[i],
    },
  }));
}

function listOf<T>(
  flag: string,
  list: readonly T[] | undefined,
  sources: readonly string[],
): readonly T[] | undefined {
  if (list === undefined || list.length === sources.length) return list;
  throw new Error(
    `${flag} has ${list.length} items for ${sources.length} sources: give one for each, separated by commas`,
  );
}

function report(result: MergeResult, flags: MergeFlags, command: Command, seconds: number): void {
  if (flags.outputJson !== undefined) {
    const path = flags.bootstrap ?? result.bootstrapPath;
    const json = outputJson(packageVersion, path, result, result, seconds);
    writeFileSync(flags.outputJson, `${JSON.stringify(json, null, 2)}\n`);
  }
  const { bootstrapPath, bootstrapSize, blobIds, entries, inodes } = result;
  const text = [
    `bootstrap  ${bootstrapPath} (${mebibytes(bootstrapSize)})`,
    `blobs      ${blobIds.join('\n           ') || 'none: no file has data'}`,
    `files      ${entries} (${inodes} inodes)`,
    `time       ${seconds.toFixed(1)} s`,
    '',
  ];
  say(command, text.join('\n'));
}
