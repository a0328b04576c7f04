import { BlobFeature } from '../../wire/rafs/flags.ts';
import { digestArray, type ImageBlob, PLAIN_BLOB } from '../blob.ts';
import { BlobSections } from '../blob-sections.ts';
import { type Destination, OutputFile } from '../blob-writer.ts';
import type { CreateOptions, CreateResult, Progress } from '../create.ts';
import { assignInodes, type NumberedTree } from '../node.ts';
import { openByteSource } from '../tar/byte-source.ts';
import { Turns } from '../turns.ts';
import { openArchive, readArchive } from './archive.ts';
import { encodeRefBootstrap, refResult, writeFile } from './bootstrap.ts';
import { type RefData, refChunkInfo, refFeatures } from './meta-blob.ts';
import { RefStore } from './ref-store.ts';

/** Where the parts of an image over an archive go, and what they are. Always v6 and SHA-256. */
export interface RefOutput extends Pick<CreateOptions, 'chunkSize' | 'explicitUidGid' | 'prefetchPatterns'> {
  /** Where the bootstrap goes; null: to the end of the meta blob. */
  readonly bootstrap: Destination | null;
  /** Where the meta blob goes: what nydusd needs beside archive and bootstrap. */
  readonly metaBlob: Destination;
  /** Ends the meta blob with a table of contents, and has the chunks' digests in it. */
  readonly blobToc: boolean;
}

/** An image over an archive that stays as it is. */
export interface RefOptions extends RefOutput, Pick<CreateOptions, 'signal' | 'onProgress'> {
  /** The tar or tar.gz; `-` for standard input. */
  readonly archive: Buffer;
}

/**
 * Builds a v6 image whose data is the archive itself: a tar.gz with places where inflating can begin ("zran"), or a plain
 * tar. Beside the bootstrap it makes a meta blob, named by its SHA-256. Throws ImageError; aborting the signal ends the
 * build with IMAGE_ABORTED.
 */
export async function createRef(options: RefOptions): Promise<CreateResult> {
  const progress: Progress = { entries: 0, bytes: 0, bytesTotal: 0 };
  const turns = new Turns(options.signal);
  const source = await openArchive(openByteSource(options.archive, options.signal));
  try {
    const store = new RefStore(source, {
      chunkSize: options.chunkSize,
      turns,
      onChunk: (bytes) => {
        progress.bytes += bytes;
        options.onProgress?.(progress);
      },
    });
    const tree = assignInodes(await readArchive(source, store, options, progress, turns));
    return await writeRefImage(tree, store, source.finish(), options);
  } finally {
    source.close();
  }
}

/** Writes meta blob and bootstrap of a tree over `archive`. */
export async function writeRefImage(
  tree: NumberedTree,
  data: RefData,
  archive: { readonly size: number; readonly digest: string },
  options: RefOutput,
): Promise<CreateResult> {
  const out = new OutputFile(options.metaBlob);
  try {
    const features = featuresOf(data, options);
    const sections = new BlobSections(out, { features, compressor: 'zstd', cipher: null });
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
    const encode = (row: ImageBlob): Buffer => encodeRefBootstrap(tree, isEmpty ? [] : [row], options, 'ref');
    if (options.bootstrap === null) {
      const bootstrap = encode(blob);
      await sections.bootstrap(bootstrap);
      sections.toc();
      out.finish();
      return refResult(tree, isEmpty ? [] : [blob], data, { path: '', size: bootstrap.length });
    }
    const named = isEmpty ? blob : finishMetaBlob(out, sections, blob);
    const bytes = encode(named);
    const path = writeFile(options.bootstrap, bytes);
    return refResult(tree, isEmpty ? [] : [named], data, { path, size: bytes.length });
  } finally {
    out.discard();
  }
}

/** The bootstrap names a meta blob that is an object of its own by its SHA-256. */
function finishMetaBlob(out: OutputFile, sections: BlobSections, blob: ImageBlob): ImageBlob {
  const toc = sections.toc();
  const metaSize = out.size;
  const { digest } = out.finish();
  return { ...blob, ...toc, metaSize, metaDigest: Buffer.from(digest, 'hex') };
}

function featuresOf(data: RefData, { bootstrap, blobToc }: RefOutput): number {
  const { inlinedFsMeta, hasTarHeader, hasToc, inlinedChunkDigest } = BlobFeature;
  let features = refFeatures(data);
  if (bootstrap === null) features |= inlinedFsMeta | hasTarHeader;
  if (blobToc) features |= hasTarHeader | hasToc;
  if (blobToc && data.chunks.length > 0) features |= inlinedChunkDigest;
  return features;
}
