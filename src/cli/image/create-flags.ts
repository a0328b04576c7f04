/** Flags of `nydus-image create`: what they are, which go together, and what they mean. */
import { devNull } from 'node:os';
import { type Command, Option } from 'commander';
import { type BuildCompressor, buildCompressors } from '../../image/blob/compress.ts';
import type { Destination } from '../../image/blob/output-file.ts';
import type { CreateOptions } from '../../image/create/create.ts';
import { isBlobName } from '../../image/model/blob-id.ts';
import type { WhiteoutSpec } from '../../image/model/overlay.ts';
import type { DigestAlgorithm } from '../../lib/content-hash.ts';
import { type BootstrapFlags, blobSource, configOption } from './bootstrap-options.ts';
import { parseChunkDict } from './chunk-dict-option.ts';

const CHUNK_SIZE_DEFAULT = 0x100000;
const CHUNK_SIZE_MIN = 0x1000;
const CHUNK_SIZE_MAX = 0x1000000;
const BLOB_ID_BYTES_MAX = { 5: 255, 6: 64 } as const;

/** Flags as the command line has them. */
export interface CreateFlags {
  readonly type: string;
  readonly sourceType?: string;
  readonly bootstrap?: string;
  readonly blob?: string;
  readonly blobDir?: string;
  readonly blobCacheDir?: string;
  readonly blobInlineMeta?: boolean;
  readonly inlineBootstrap?: boolean;
  readonly blobId?: string;
  readonly blobDataSize?: string;
  readonly blobOffset: string;
  readonly fsVersion: '5' | '6';
  readonly features?: 'blob-toc';
  readonly compressor: BuildCompressor;
  readonly digester: DigestAlgorithm;
  readonly chunkSize?: string;
  readonly batchSize: string;
  readonly alignedChunk?: boolean;
  readonly encrypt?: boolean;
  readonly repeatable?: boolean;
  readonly whiteoutSpec: WhiteoutSpec;
  readonly prefetchPolicy: 'none' | 'fs' | 'blob';
  readonly parentBootstrap?: string;
  readonly chunkDict?: string;
  readonly outputJson?: string;
  readonly config?: string;
  readonly attributes?: string;
  readonly externalBlob?: string;
}

/** Adds the flags that say where the source is and where the parts of the image go. */
export function addPlaceOptions(command: Command, types: readonly string[]): Command {
  return command
    .addOption(new Option('-t, --type <type>', 'kind of source').choices(types).default('dir-rafs'))
    .option(
      '-B, --bootstrap <file>',
      'where the bootstrap goes; without it, into --blob-dir, named by its SHA-256',
    )
    .option('-D, --blob-dir <dir>', 'directory for the data blob, named by its id; made if missing')
    .option('-b, --blob <file>', 'where the data blob goes instead (a file or a named pipe)')
    .option('--blob-inline-meta', 'put the bootstrap at the end of the data blob: one file is the image')
    .option('--blob-id <id>', "name of the data blob, instead of its content's SHA-256")
    .option(
      '--blob-cache-dir <dir>',
      "instead of a data blob, make the files nydusd would fill its cache with; its back end needs an object of the blob's size, which is not read",
    )
    .option('-J, --output-json <file>', 'write what was built as JSON')
    .addOption(new Option('--source-type <type>').choices(types).hideHelp())
    .addOption(new Option('--inline-bootstrap').hideHelp())
    .addOption(new Option('--blob-offset <bytes>').default('0').hideHelp())
    .option('--blob-data-size <hex>', 'size of the layer in bytes, hexadecimal; for --type estargztoc-ref')
    .addOption(configOption())
    .addOption(new Option('--attributes <file>').hideHelp())
    .addOption(new Option('--external-blob <file>').hideHelp());
}

/** Adds the flags that say how data is cut and packed. */
export function addFormatOptions(command: Command): Command {
  return command
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
    .option('--chunk-size <bytes>', 'power of two, 0x1000 to 0x1000000 (default: 0x100000)')
    .addOption(
      new Option(
        '--batch-size <bytes>',
        'pack files below half of this together; a power of two, 0x1000 to the chunk size, or 0; v6 only',
      ).default('0'),
    )
    .addOption(
      new Option(
        '--features <name>',
        'blob-toc: table of contents and digests of all chunks in the blob; v6 only',
      ).choices(['blob-toc']),
    )
    .option('-E, --encrypt', 'encrypt data with AES-128-XTS; the key is in the bootstrap; v6 only')
    .option('--aligned-chunk', 'align chunks to 4 KiB in the uncompressed image, as v6 always does')
    .addOption(new Option('--disable-check').hideHelp());
}

/** Adds the flags that say what of the source is taken. */
export function addTreeOptions(command: Command): Command {
  return command
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
      new Option(
        '--prefetch-policy <policy>',
        'read ahead at mount the paths on standard input, one a line; fs: as a list; blob: as the head of a v5 blob',
      )
        .choices(['none', 'fs', 'blob'])
        .default('none'),
    )
    .option('--parent-bootstrap <file>', 'bootstrap of the image on which the source is a layer')
    .addOption(
      new Option(
        '--chunk-dict <image>',
        '[bootstrap=]FILE: an image whose chunks are referred to instead of being stored again',
      ).argParser(parseChunkDict),
    );
}

/** Whether the bootstrap goes to the end of the blob. */
export function isInline(flags: CreateFlags): boolean {
  return flags.blobInlineMeta === true || flags.inlineBootstrap === true;
}

/** Where the parts go. Flags that contradict each other or lack one end the program as usage errors do. */
export function destinations(
  flags: CreateFlags,
  command: Command,
): { bootstrap: Destination | null; blob: Destination } {
  const { bootstrap, blob, blobDir, blobCacheDir } = flags;
  checkPlaces(flags, command);
  const directory: Destination | null = blobDir === undefined ? null : { kind: 'directory', path: blobDir };
  return {
    bootstrap: isInline(flags)
      ? null
      : bootstrap === undefined
        ? directory
        : { kind: 'file', path: bootstrap },
    blob:
      blobCacheDir !== undefined
        ? { kind: 'file', path: devNull }
        : blob === undefined
          ? directory!
          : { kind: 'file', path: blob },
  };
}

function checkPlaces(flags: CreateFlags, command: Command): void {
  const { bootstrap, blob, blobDir, blobId, blobCacheDir } = flags;
  const refuse = (first: string, second: string): never =>
    command.error(`error: ${first} cannot be used with ${second}`);
  if (isInline(flags) && bootstrap !== undefined) refuse('--blob-inline-meta', '--bootstrap');
  if (isInline(flags) && blobId) refuse('--blob-inline-meta', '--blob-id');
  if (blobCacheDir !== undefined) {
    if (isInline(flags)) refuse('--blob-cache-dir', '--blob-inline-meta');
    if (blob !== undefined) refuse('--blob-cache-dir', '--blob');
    if (blobDir !== undefined) refuse('--blob-cache-dir', '--blob-dir');
    if (command.getOptionValueSource('compressor') === 'cli') refuse('--blob-cache-dir', '--compressor');
  }
  if (blob === undefined && blobDir === undefined && blobCacheDir === undefined)
    command.error('error: where does the blob go? Give --blob-dir or --blob');
  if (bootstrap === undefined && blobDir === undefined && !isInline(flags))
    command.error('error: where does the bootstrap go? Give --bootstrap');
}

/** Where blobs of the images that a build refers to are; null if nothing was said of it, or there are none. */
export async function earlierBlobs(flags: CreateFlags): Promise<NonNullable<CreateOptions['blobs']> | null> {
  const places: BootstrapFlags =
    flags.config === undefined
      ? flags.blobDir === undefined
        ? {}
        : { blobDir: flags.blobDir }
      : { config: flags.config };
  const source = await blobSource(places);
  if (flags.parentBootstrap || flags.chunkDict !== undefined) return source;
  await source?.close();
  return null;
}

/** Numbers and names that flags give, checked. */
export interface FormatOptions {
  readonly fsVersion: 5 | 6;
  readonly chunkSize: number;
  readonly batchSize: number;
  readonly blobOffset: number;
  readonly blobId: string | undefined;
  readonly blobToc: boolean;
  readonly encrypt: boolean;
  readonly alignedChunk: boolean;
}

/** What the flags mean. Throws an Error naming flag and rule. */
export function formatOptions(flags: CreateFlags): FormatOptions {
  checkSupported(flags);
  const fsVersion = flags.fsVersion === '5' ? 5 : 6;
  const chunkSize = flags.chunkSize === undefined ? CHUNK_SIZE_DEFAULT : powerOfTwo('chunk', flags.chunkSize);
  const batchSize = parseSize(flags.batchSize) === 0 ? 0 : powerOfTwo('batch', flags.batchSize);
  const options: FormatOptions = {
    fsVersion,
    chunkSize,
    batchSize,
    blobOffset: parseOffset(flags.blobOffset),
    blobId: parseBlobId(flags.blobId, fsVersion),
    blobToc: flags.features === 'blob-toc',
    encrypt: flags.encrypt === true,
    alignedChunk: flags.alignedChunk === true,
  };
  if (batchSize > chunkSize)
    throw new Error(`--batch-size ${hex(batchSize)} is larger than --chunk-size ${hex(chunkSize)}`);
  if (fsVersion === 5) {
    const reason = 'conflicts with --fs-version 5: only version 6 has a place for it';
    if (batchSize > 0) throw new Error(`--batch-size ${reason}`);
    if (options.blobToc) throw new Error(`--features blob-toc ${reason}`);
    // The original builds such images, and cannot read them.
    if (options.encrypt) throw new Error(`--encrypt ${reason}`);
  }
  return options;
}

function checkSupported({ attributes, externalBlob }: CreateFlags): void {
  const reason = 'images of which a part is in a store of its own cannot be built or mounted';
  if (attributes !== undefined) throw new Error(`--attributes is not supported yet: ${reason}`);
  if (externalBlob !== undefined) throw new Error(`--external-blob is not supported yet: ${reason}`);
}

/** NaN for what is no number. */
function parseSize(text: string): number {
  return /^(0x[0-9a-f]+|[0-9]+)$/i.test(text) ? Number(text) : Number.NaN;
}

function powerOfTwo(what: 'chunk' | 'batch', text: string): number {
  const size = parseSize(text);
  if (Number.isInteger(Math.log2(size)) && size >= CHUNK_SIZE_MIN && size <= CHUNK_SIZE_MAX) return size;
  const zero = what === 'batch' ? ', or 0' : '';
  throw new Error(
    `invalid ${what} size ${text}: must be a power of two from 0x1000 to 0x1000000, decimal or 0x hexadecimal${zero}`,
  );
}

function parseOffset(text: string): number {
  const offset = /^[0-9]+$/.test(text) ? Number(text) : Number.NaN;
  if (offset <= 2 ** 40) return offset;
  throw new Error(`invalid blob offset ${text}: must be a decimal number, at most 2^40`);
}

function parseBlobId(id: string | undefined, fsVersion: 5 | 6): string | undefined {
  if (id === undefined || id === '') return undefined;
  const most = BLOB_ID_BYTES_MAX[fsVersion];
  if (Buffer.byteLength(id) > most)
    throw new Error(`--blob-id is longer than ${most} bytes, for which version ${fsVersion} has no room`);
  if (!isBlobName(id))
    throw new Error(`--blob-id ${JSON.stringify(id)}: must be a plain file name without control characters`);
  return id;
}

function hex(size: number): string {
  return `0x${size.toString(16)}`;
}
