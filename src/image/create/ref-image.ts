import { resolve } from 'node:path';
import { BlobFeature } from '../../wire/rafs/flags.ts';
import { type RefData, refChunkInfo, refFeatures } from '../blob/archive/ref-data.ts';
import type { CacheFiles } from '../blob/cache-files.ts';
import { digestArray } from '../blob/chunk-info.ts';
import { type Destination, OutputFile, writeOutput } from '../blob/output-file.ts';
import { BlobSections } from '../blob/sections.ts';
import { type ImageBlob, PLAIN_BLOB } from '../model/blob.ts';
import { assignInodes, type ImageNode, type NumberedTree } from '../model/node.ts';
import { overlay, setLayer } from '../model/overlay.ts';
import type { LoadedImage } from '../read/load.ts';
import { encodeRefBootstrap, refResult } from './archive-bootstrap.ts';
import type { BlobTable } from './blob-table.ts';
import { type CreateOptions, type CreateResult, LAYER, loadEarlier } from './create.ts';

/** Where the parts of an image over an archive go, and what they are. Always v6 and SHA-256. */
export interface RefOutput
  extends Pick<
    CreateOptions,
    | 'chunkSize'
    | 'explicitUidGid'
    | 'prefetchPatterns'
    | 'whiteoutSpec'
    | 'parent'
    | 'chunkDict'
    | 'blobs'
    | 'cacheDir'
  > {
  /** Where the bootstrap goes; null: to the end of the meta blob. */
  readonly bootstrap: Destination | null;
  /** Where the meta blob goes: what nydusd needs beside archive and bootstrap. */
  readonly metaBlob: Destination;
  /** Ends the meta blob with a table of contents, and has the chunks' digests in it. */
  readonly blobToc: boolean;
}

/** The images which a build over an archive refers to. */
export function loadRefEarlier(options: RefOutput): ReturnType<typeof loadEarlier> {
  return loadEarlier({ ...options, fsVersion: 6, digester: 'sha256' });
}

/** Numbers the tree of an archive, laid over that of the image below. */
export function numberTree(
  root: ImageNode,
  parent: LoadedImage | null,
  { whiteoutSpec }: Pick<CreateOptions, 'whiteoutSpec'>,
): NumberedTree {
  setLayer(root, LAYER);
  return assignInodes(parent === null ? root : overlay(parent.root, root, whiteoutSpec));
}

/** An image over an archive, before it has files. */
interface RefImage {
  readonly tree: NumberedTree;
  readonly table: BlobTable;
  readonly data: RefData;
  /** Gets all of the data, so that nothing has to be fetched. */
  readonly cache?: CacheFiles | null;
}

/** Writes meta blob and bootstrap. `archive`: size and id of what the data is in. */
export async function writeRefImage(
  image: RefImage,
  archive: { readonly size: number; readonly digest: string },
  options: RefOutput,
): Promise<CreateResult> {
  const { data } = image;
  const out = new OutputFile(options.metaBlob);
  try {
    const features = featuresOf(data, options);
    const sections = new BlobSections(out, {
      features,
      compressor: 'zstd',
      cipher: null,
      onChunkInfo: (bytes, header) => image.cache?.addChunkInfo(bytes, header),
    });
    const isEmpty = data.chunks.length === 0;
    const chunkInfo = isEmpty ? {} : await sections.chunkInfo(refChunkInfo(data), digestArray(data.chunks));
    const blob: ImageBlob = {
      ...PLAIN_BLOB,
      ...chunkInfo,
      id: archive.digest,
      features,
      chunkCount: data.chunks.length,
      compressedSize: archive.size,
      uncompressedSize: data.uncompressedSize,
      compressor: 'gzip',
      digester: 'sha256',
    };
    if (!isEmpty) image.cache?.seal(data.uncompressedSize, data.chunks.length);
    const own = isEmpty ? null : blob;
    const write = options.bootstrap === null ? writeInlined : writeBeside;
    return await write(image, own, { out, sections, archiveId: archive.digest }, options);
  } finally {
    out.discard();
  }
}

/** A meta blob in the making. */
interface MetaBlob {
  readonly out: OutputFile;
  readonly sections: BlobSections;
  readonly archiveId: string;
}

/** The meta blob is there even if it has nothing but the bootstrap. */
async function writeInlined(
  image: RefImage,
  own: ImageBlob | null,
  { out, sections, archiveId }: MetaBlob,
  options: RefOutput,
): Promise<CreateResult> {
  const blobs = image.table.rows(own);
  const bytes = encodeRefBootstrap(image.tree, blobs, options, 'ref');
  await sections.bootstrap(bytes);
  sections.toc();
  const metaBlobPath = resolve(out.finish().path);
  const ids = blobs.map(({ id }) => id);
  const blobIds = own === null ? [...ids, archiveId] : ids;
  return { ...refResult(image, { blobIds, own }, { path: '', size: bytes.length }), metaBlobPath };
}

/**
 * The bootstrap names a meta blob that is an object of its own by its SHA-256. Both are complete
 * before either gets its name.
 */
async function writeBeside(
  image: RefImage,
  own: ImageBlob | null,
  { out, sections }: MetaBlob,
  options: RefOutput,
): Promise<CreateResult> {
  const meta = { ...sections.toc(), metaDigest: out.digestSoFar(), metaSize: out.size };
  const row = own === null ? null : { ...own, ...meta };
  const blobs = image.table.rows(row);
  const bytes = encodeRefBootstrap(image.tree, blobs, options, 'ref');
  let metaBlobPath: string | undefined;
  const path = writeOutput(options.bootstrap!, bytes, () => {
    if (row === null) return;
    const { path: metaPath } = out.finish();
    if (options.cacheDir === undefined) metaBlobPath = resolve(metaPath);
    image.cache?.finish(row.id);
  });
  const blobIds = blobs.map(({ id }) => id);
  return { ...refResult(image, { blobIds, own: row }, { path, size: bytes.length }), metaBlobPath };
}

function featuresOf(data: RefData, { bootstrap, blobToc }: RefOutput): number {
  const { inlinedFsMeta, hasTarHeader, hasToc, inlinedChunkDigest } = BlobFeature;
  let features = refFeatures(data);
  if (bootstrap === null) features |= inlinedFsMeta | hasTarHeader;
  if (blobToc) features |= hasTarHeader | hasToc;
  if (blobToc && data.chunks.length > 0) features |= inlinedChunkDigest;
  return features;
}
