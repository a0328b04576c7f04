import { readFileSync, writeFileSync } from 'node:fs';
import { Command } from 'commander';
import { type CreateOptions, type CreateResult, create } from '../../image/create/create.ts';
import type { Progress } from '../../image/create/progress.ts';
import { parsePrefetchList } from '../../image/model/prefetch.ts';
import { directorySource } from '../../image/source/directory.ts';
import { isStandardInput } from '../../image/source/tar/byte-source.ts';
import { tarSource } from '../../image/source/tar/tar-source.ts';
import type { TreeSource } from '../../image/source/tree-source.ts';
import { packageVersion } from '../../programs/common/version.ts';
import { abortOnSignals, logFileOption, logLevelOption, mebibytes, say } from './common.ts';
import { archiveFormat, archiveTypes, createOfArchive, isArchiveType } from './create-archive.ts';
import {
  addFormatOptions,
  addPlaceOptions,
  addTreeOptions,
  type CreateFlags,
  destinations,
  earlierBlobs,
  type FormatOptions,
  formatOptions,
} from './create-flags.ts';
import { outputJson } from './output-json.ts';
import { bytesDone, endProgress, progressLine } from './progress.ts';

/** Kinds of sources. What a tar is compressed with is found out, as by the original. */
const sources: Readonly<Record<string, (path: Buffer) => TreeSource>> = {
  directory: directorySource,
  'dir-rafs': directorySource,
  'tar-rafs': tarSource,
  'targz-rafs': tarSource,
  'estargz-rafs': tarSource,
};

const EXAMPLES = `
Examples:
  Image of ./rootfs, its blob named by its SHA-256 in ./blobs:
    nydus-image create -B image.boot -D blobs ./rootfs
  The older format, lz4, without owners, and a summary for scripts:
    nydus-image create -v 5 --compressor lz4_block --repeatable -B image.boot -D blobs -J out.json ./rootfs
  Read /usr/bin ahead when the image is mounted:
    echo /usr/bin | nydus-image create --prefetch-policy fs -B image.boot -D blobs ./rootfs
  A layer on top of an image; what that has already is not stored again:
    nydus-image create --parent-bootstrap base.boot -B image.boot -D blobs ./layer
  One file that is the whole image, with a table of contents for registries:
    nydus-image create --blob-inline-meta --features blob-toc -D blobs ./rootfs
  Image of a layer, which arrives as a stream (tar, tar.gz or eStargz: it is found out):
    curl -L REGISTRY/layer.tar.gz | nydus-image create -t targz-rafs -B image.boot -D blobs -
  Image that reads the registry's layer.tar.gz as it is; only a small meta blob is made beside the bootstrap:
    nydus-image create -t targz-ref -B image.boot -D blobs layer.tar.gz
  Of an eStargz layer only its index:
    nydus-image create -t estargztoc-ref --blob-id SHA256 --blob-data-size HEX -B image.boot -D blobs stargz.index.json
  Bootstrap over a plain tar, which nydusd or the kernel's EROFS mounts with it:
    nydus-image create -t tar-tarfs -B image.boot -D blobs layer.tar
`;

/** `nydus-image create`. */
export function createCommand(): Command {
  const command = new Command('create')
    .description('Build an image (bootstrap and data blob) of a directory or a tar.')
    .argument('<source>', 'directory; or a tar: a file, a named pipe, or - for standard input');
  addPlaceOptions(command, [...Object.keys(sources), ...archiveTypes]);
  addTreeOptions(command);
  addFormatOptions(command);
  return command
    .addOption(logLevelOption())
    .addOption(logFileOption())
    .addHelpText('after', EXAMPLES)
    .action(runCreate);
}

function checkStandardInput(path: string, flags: CreateFlags, command: Command): void {
  if (flags.prefetchPolicy !== 'none' && isStandardInput(path))
    command.error('error: standard input cannot be both the source and the list of --prefetch-policy');
}

async function runCreate(source: string, flags: CreateFlags, command: Command): Promise<void> {
  const started = performance.now();
  const { prefetchPolicy } = flags;
  const blobs = await earlierBlobs(flags);
  checkStandardInput(source, flags, command);
  const options: Omit<CreateOptions, 'source'> & FormatOptions = {
    ...destinations(flags, command),
    ...formatOptions(flags),
    // A cache has nothing to unpack.
    compressor: flags.blobCacheDir === undefined ? flags.compressor : 'none',
    digester: flags.digester,
    cacheDir: flags.blobCacheDir,
    explicitUidGid: flags.repeatable !== true,
    whiteoutSpec: flags.whiteoutSpec,
    parent: flags.parentBootstrap || undefined,
    chunkDict: flags.chunkDict,
    blobs,
    prefetchPatterns: prefetchPolicy === 'none' ? [] : parsePrefetchList(readFileSync(0, 'utf8')),
    prefetchPolicy: prefetchPolicy === 'none' ? 'fs' : prefetchPolicy,
    signal: abortOnSignals(),
    onProgress: progressLine(howFar),
  };
  const type = flags.sourceType ?? flags.type;
  const built = isArchiveType(type)
    ? createOfArchive(type, source, options, flags, command)
    : create({ ...options, source: sources[type]!(Buffer.from(source)) });
  const result = await built.finally(() => blobs?.close());
  const seconds = (performance.now() - started) / 1000;
  endProgress();
  if (flags.outputJson !== undefined) {
    const format = isArchiveType(type) ? archiveFormat(type) : options;
    const json = outputJson(packageVersion, flags.bootstrap ?? result.bootstrapPath, format, result, seconds);
    writeFileSync(flags.outputJson, `${JSON.stringify(json, null, 2)}\n`);
  }
  say(command, summary(result, seconds));
}

function howFar({ entries, bytes, bytesTotal }: Progress, seconds: number): string {
  const found = `${entries} files found`;
  if (bytes === 0) return found;
  // How large a tar is shows when it ends.
  const done =
    bytesTotal === 0
      ? `${mebibytes(bytes)}, ${mebibytes(bytes / seconds)}/s`
      : bytesDone({ bytes, bytesTotal }, seconds);
  return `${found}, ${done}`;
}

function summary(result: CreateResult, seconds: number): string {
  const { entries, inodes, chunks, duplicateChunks, duplicateBytes, dataSize, blobSize } = result;
  const blob = result.blobId ?? 'none: no data had to be stored';
  const others = result.blobIds.filter((id) => id !== result.blobId);
  const bootstrap = result.bootstrapPath || 'at the end of the blob';
  const ratio = dataSize === 0 ? '' : `, ${((100 * blobSize) / dataSize).toFixed(1)} %`;
  return [
    `bootstrap  ${bootstrap} (${mebibytes(result.bootstrapSize)})`,
    `blob       ${blob} (${mebibytes(blobSize)} for ${mebibytes(dataSize)}${ratio})`,
    ...(result.metaBlobPath === undefined ? [] : [`meta blob  ${result.metaBlobPath}`]),
    ...others.map((id) => `also       ${id}`),
    `files      ${entries} (${inodes} inodes)`,
    `chunks     ${chunks}, and ${duplicateChunks} more stored already (${mebibytes(duplicateBytes)})`,
    `time       ${seconds.toFixed(1)} s, ${mebibytes(dataSize / seconds)}/s`,
    '',
  ].join('\n');
}
