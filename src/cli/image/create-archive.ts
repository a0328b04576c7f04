/** Types of `nydus-image create` whose images have their data in the source itself, a tar, tar.gz or eStargz layer. */
import type { Command } from 'commander';
import type { CreateOptions, CreateResult } from '../../image/create/create.ts';
import { createRef } from '../../image/create/create-ref.ts';
import { createStargz } from '../../image/create/create-stargz.ts';
import { createTarfs } from '../../image/create/create-tarfs.ts';
import { say } from './common.ts';
import { type CreateFlags, type FormatOptions, isInline } from './create-flags.ts';

/** Each with the compressor that its image says it has. */
const COMPRESSORS = {
  'targz-ref': 'gzip',
  'estargz-ref': 'gzip',
  'estargztoc-ref': 'gzip',
  stargz_index: 'gzip',
  'tar-tarfs': 'none',
} as const;

type ArchiveType = keyof typeof COMPRESSORS;
export const archiveTypes: readonly string[] = Object.keys(COMPRESSORS);

export function isArchiveType(type: string): type is ArchiveType {
  return archiveTypes.includes(type);
}

/** What images of the type are made with, whatever the flags say. */
export function archiveFormat(type: ArchiveType): {
  readonly fsVersion: 6;
  readonly compressor: 'gzip' | 'none';
} {
  return { fsVersion: 6, compressor: COMPRESSORS[type] };
}

const STARGZ_CHUNK_SIZE = 0x400000;
const LAYER_BYTES_MAX = 2 ** 40;

/** Options of a build, but for its source. */
type Common = Omit<CreateOptions, 'source'> & FormatOptions;

/** Builds an image over the archive (or index) at `source`. Throws an Error for flags that do not go with the type. */
export async function createOfArchive(
  type: ArchiveType,
  source: string,
  common: Common,
  flags: CreateFlags,
  command: Command,
): Promise<CreateResult> {
  const isIndex = type === 'estargztoc-ref' || type === 'stargz_index';
  checkFlags(type, flags, common);
  sayWhatIsIgnored(type, command);
  const archive = Buffer.from(source);
  if (type === 'tar-tarfs')
    return createTarfs({ ...common, archive, bootstrap: common.bootstrap!, blobId: common.blobId ?? null });
  const output = { ...common, metaBlob: common.blob, blobToc: common.blobToc };
  if (!isIndex) return createRef({ ...output, archive });
  if (common.blobId === undefined)
    throw new Error(`--blob-id is missing for type ${type}: the id of the layer`);
  return createStargz({
    ...output,
    chunkSize: flags.chunkSize === undefined ? STARGZ_CHUNK_SIZE : common.chunkSize,
    index: archive,
    blobId: common.blobId,
    blobSize: layerSize(type, flags.blobDataSize),
  });
}

/** The same combinations are refused as by the original. */
function checkFlags(type: ArchiveType, flags: CreateFlags, common: Common): void {
  const isTarfs = type === 'tar-tarfs';
  const isRef = type === 'targz-ref' || type === 'estargz-ref';
  const conflicts: readonly (readonly [boolean, string])[] = [
    [flags.fsVersion === '5', '--fs-version 5'],
    [flags.prefetchPolicy === 'blob', '--prefetch-policy blob'],
    [common.encrypt, '--encrypt'],
    [common.batchSize > 0, '--batch-size'],
    [common.blobOffset > 0, '--blob-offset'],
    [flags.blobCacheDir !== undefined && type !== 'targz-ref', '--blob-cache-dir'],
    [isRef && common.blobId !== undefined, '--blob-id'],
    [isTarfs && flags.blob !== undefined, '--blob'],
    [isTarfs && isInline(flags), '--blob-inline-meta'],
    [isTarfs && common.blobToc, '--features blob-toc'],
    [isTarfs && common.alignedChunk, '--aligned-chunk'],
    [isTarfs && common.parent !== undefined, '--parent-bootstrap'],
    [isTarfs && common.chunkDict !== undefined, '--chunk-dict'],
  ];
  for (const [given, flag] of conflicts) if (given) throw new Error(`--type ${type} conflicts with ${flag}`);
}

function sayWhatIsIgnored(type: ArchiveType, command: Command): void {
  const fixed: readonly (readonly [string, string])[] = [
    ['compressor', COMPRESSORS[type]],
    ['digester', 'sha256'],
  ];
  for (const [name, value] of fixed) {
    const isGiven = command.getOptionValueSource(name) === 'cli' && command.getOptionValue(name) !== value;
    if (isGiven) say(command, `--${name} is always ${value} for --type ${type}\n`);
  }
}

function layerSize(type: string, hex: string | undefined): number {
  if (hex === undefined)
    throw new Error(`--blob-data-size is missing for --type ${type}: size of the layer, hexadecimal`);
  const digits = hex.replace(/^0x/i, '');
  const size = /^[0-9a-f]{1,13}$/i.test(digits) ? Number.parseInt(digits, 16) : Number.NaN;
  if (size >= 1 && size <= LAYER_BYTES_MAX) return size;
  throw new Error(`invalid --blob-data-size ${hex}: must be a hexadecimal number of bytes, at most 1 TiB`);
}
