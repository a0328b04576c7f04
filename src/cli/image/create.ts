import { readFileSync, writeFileSync } from 'node:fs';
import { Command, InvalidArgumentError, Option } from 'commander';
import type { Destination } from '../../image/blob-writer.ts';
import { type BuildCompressor, buildCompressors } from '../../image/compress.ts';
import { type CreateOptions, type CreateResult, create, type Progress } from '../../image/create.ts';
import { outputJson } from '../../image/output.ts';
import { parsePrefetchList } from '../../image/prefetch.ts';
import { tarSource } from '../../image/tar/tar-source.ts';
import type { TreeSource } from '../../image/tree-source.ts';
import { directorySource, type WhiteoutSpec } from '../../image/walk.ts';
import type { DigestAlgorithm } from '../../lib/digest.ts';
import { abortOnSignals, isTalkative, logLevelOption, mebibytes, version } from './common.ts';

const CHUNK_SIZE_MIN = 0x1000;
const CHUNK_SIZE_MAX = 0x1000000;
/** A build that takes longer says how far it is. */
const PROGRESS_AFTER_MS = 2000;
const PROGRESS_EVERY_MS = 200;

/** Kinds of sources. What a tar is compressed with is found out, as by the original. */
const sources: Readonly<Record<string, (path: Buffer) => TreeSource>> = {
  directory: directorySource,
  'dir-rafs': directorySource,
  'tar-rafs': tarSource,
  'targz-rafs': tarSource,
  'estargz-rafs': tarSource,
};
const STANDARD_INPUT: readonly string[] = ['-', '/dev/stdin', '/dev/fd/0', '/proc/self/fd/0'];

interface CreateFlags {
  readonly type: string;
  readonly sourceType?: string;
  readonly bootstrap?: string;
  readonly blob?: string;
  readonly blobDir?: string;
  readonly fsVersion: '5' | '6';
  readonly compressor: BuildCompressor;
  readonly digester: DigestAlgorithm;
  readonly chunkSize: number;
  readonly repeatable?: boolean;
  readonly whiteoutSpec: WhiteoutSpec;
  readonly prefetchPolicy: 'none' | 'fs';
  readonly outputJson?: string;
}

const EXAMPLES = `
Examples:
  Image of ./rootfs, its blob named by its SHA-256 in ./blobs:
    nydus-image create -B image.boot -D blobs ./rootfs
  The older format, lz4, without owners, and a summary for scripts:
    nydus-image create -v 5 --compressor lz4_block --repeatable -B image.boot -D blobs -J out.json ./rootfs
  Read /usr/bin ahead when the image is mounted:
    echo /usr/bin | nydus-image create --prefetch-policy fs -B image.boot -D blobs ./rootfs
  Image of a layer, which arrives as a stream (tar, tar.gz or eStargz: it is found out):
    curl -L REGISTRY/layer.tar.gz | nydus-image create -t targz-rafs -B image.boot -D blobs -
`;

function parseChunkSize(text: string): number {
  const size = /^(0x[0-9a-f]+|[0-9]+)$/i.test(text) ? Number(text) : Number.NaN;
  if (Number.isInteger(Math.log2(size)) && size >= CHUNK_SIZE_MIN && size <= CHUNK_SIZE_MAX) return size;
  throw new InvalidArgumentError(
    'must be a power of two from 0x1000 to 0x1000000, decimal or 0x hexadecimal.',
  );
}

/** `nydus-image create`. */
export function createCommand(): Command {
  return (
    new Command('create')
      .description('Build an image (bootstrap and data blob) of a directory or a tar.')
      .argument('<source>', 'directory; or a tar: a file, a named pipe, or - for standard input')
      .addOption(
        new Option('-t, --type <type>', 'kind of source').choices(Object.keys(sources)).default('dir-rafs'),
      )
      .option(
        '-B, --bootstrap <file>',
        'where the bootstrap goes; without it, into --blob-dir, named by its SHA-256',
      )
      .option('-b, --blob <file>', 'where the data blob goes (a file or a pipe)')
      .option('-D, --blob-dir <dir>', 'directory for the data blob, named by its id; made if missing')
      .addOption(
        new Option('-v, --fs-version <n>', 'format: 6 can be mounted by EROFS')
          .choices(['5', '6'])
          .default('6'),
      )
      .addOption(
        new Option('--compressor <name>', 'how chunks are packed').choices(buildCompressors).default('zstd'),
      )
      .addOption(
        new Option('--digester <name>', 'digest of chunks and inodes')
          .choices(['blake3', 'sha256'])
          .default('blake3'),
      )
      .addOption(
        new Option('--chunk-size <bytes>', 'power of two, 0x1000 to 0x1000000')
          .argParser(parseChunkSize)
          .default(0x100000, '0x100000'),
      )
      .option('--repeatable', 'leave out owners, so that builds by different users are the same')
      .addOption(
        new Option(
          '--whiteout-spec <spec>',
          "how files say that a lower layer's are gone; such files are left out",
        )
          .choices(['oci', 'overlayfs', 'none'])
          .default('oci'),
      )
      .addOption(
        new Option('--prefetch-policy <policy>', 'fs: read ahead the paths on standard input, one a line')
          .choices(['none', 'fs'])
          .default('none'),
      )
      .option('-J, --output-json <file>', 'write what was built as JSON')
      .addOption(logLevelOption())
      // Spellings which callers of the original use.
      .addOption(new Option('--source-type <type>').choices(Object.keys(sources)).hideHelp())
      .addOption(new Option('--disable-check').hideHelp())
      .addHelpText('after', EXAMPLES)
      .action(runCreate)
  );
}

function destinations(flags: CreateFlags, command: Command): { bootstrap: Destination; blob: Destination } {
  const { bootstrap, blob, blobDir } = flags;
  if (blob !== undefined && blobDir !== undefined)
    command.error('error: give --blob or --blob-dir, not both');
  if (blob === undefined && blobDir === undefined)
    command.error('error: where does the blob go? Give --blob-dir or --blob');
  if (bootstrap === undefined && blobDir === undefined) command.error('error: --blob needs --bootstrap');
  return {
    bootstrap:
      bootstrap === undefined ? { kind: 'directory', path: blobDir! } : { kind: 'file', path: bootstrap },
    blob: blob === undefined ? { kind: 'directory', path: blobDir! } : { kind: 'file', path: blob },
  };
}

function sourceOf(path: string, flags: CreateFlags, command: Command): TreeSource {
  if (flags.prefetchPolicy !== 'none' && STANDARD_INPUT.includes(path))
    command.error('error: standard input cannot be both the source and the list of --prefetch-policy');
  return sources[flags.sourceType ?? flags.type]!(Buffer.from(path));
}

async function runCreate(source: string, flags: CreateFlags, command: Command): Promise<void> {
  const started = performance.now();
  const options: CreateOptions = {
    ...destinations(flags, command),
    source: sourceOf(source, flags, command),
    fsVersion: flags.fsVersion === '5' ? 5 : 6,
    compressor: flags.compressor,
    digester: flags.digester,
    chunkSize: flags.chunkSize,
    explicitUidGid: flags.repeatable !== true,
    whiteoutSpec: flags.whiteoutSpec,
    prefetchPatterns: flags.prefetchPolicy === 'fs' ? parsePrefetchList(readFileSync(0, 'utf8')) : [],
    signal: abortOnSignals(),
    onProgress: process.stderr.isTTY ? progressLine(started) : undefined,
  };
  const result = await create(options);
  const seconds = (performance.now() - started) / 1000;
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
  if (flags.outputJson !== undefined) {
    const json = outputJson(version(), flags.bootstrap ?? result.bootstrapPath, options, result, seconds);
    writeFileSync(flags.outputJson, `${JSON.stringify(json, null, 2)}\n`);
  }
  if (isTalkative(command)) process.stdout.write(summary(result, seconds));
}

/** One line, rewritten in place, once the build has taken a while. */
function progressLine(started: number): (progress: Progress) => void {
  let next = started + PROGRESS_AFTER_MS;
  return ({ entries, bytes, bytesTotal }) => {
    const now = performance.now();
    if (now < next) return;
    next = now + PROGRESS_EVERY_MS;
    const found = `${entries} files found`;
    const rate = `${mebibytes((bytes * 1000) / (now - started))}/s`;
    // How large a tar is shows when it ends.
    const stored = bytesTotal === 0 ? mebibytes(bytes) : `${mebibytes(bytes)} of ${mebibytes(bytesTotal)}`;
    process.stderr.write(`\r\x1b[K${bytes === 0 ? found : `${found}, ${stored}, ${rate}`}`);
  };
}

function summary(result: CreateResult, seconds: number): string {
  const { entries, inodes, chunks, duplicateChunks, duplicateBytes, dataSize, blobSize } = result;
  const blob = result.blobIds[0] ?? 'none: the tree has no data';
  return [
    `bootstrap  ${result.bootstrapPath} (${mebibytes(result.bootstrapSize)})`,
    `blob       ${blob} (${mebibytes(blobSize)} for ${mebibytes(dataSize)})`,
    `files      ${entries} (${inodes} inodes)`,
    `chunks     ${chunks}, and ${duplicateChunks} more stored already (${mebibytes(duplicateBytes)})`,
    `time       ${seconds.toFixed(1)} s`,
    '',
  ].join('\n');
}
