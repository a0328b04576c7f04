import { Turns } from '../../lib/turns.ts';
import { BlobFeature } from '../../wire/rafs/flags.ts';
import { TarfsStore } from '../blob/archive/tarfs-store.ts';
import { type Destination, writeOutput } from '../blob/output-file.ts';
import { type ImageBlob, PLAIN_BLOB } from '../model/blob.ts';
import { ImageError, interrupted } from '../model/error.ts';
import { assignInodes } from '../model/node.ts';
import { setLayer } from '../model/overlay.ts';
import { openArchive } from '../source/archive/archive.ts';
import { GzipSource } from '../source/archive/gzip-source.ts';
import { openByteSource } from '../source/tar/byte-source.ts';
import { readTar } from '../source/tar/tar-source.ts';
import { encodeRefBootstrap, refResult } from './archive-bootstrap.ts';
import { type CreateOptions, type CreateResult, LAYER } from './create.ts';
import { BuildProgress } from './progress.ts';

/** An image whose data is a tar as it is, which a kernel can mount. Always v6. */
interface TarfsOptions
  extends Pick<CreateOptions, 'chunkSize' | 'explicitUidGid' | 'prefetchPatterns' | 'signal' | 'onProgress'> {
  /** The tar; `-` for standard input. */
  readonly archive: Buffer;
  readonly bootstrap: Destination;
  /** Id of the tar; null: its SHA-256. */
  readonly blobId: string | null;
}

/**
 * Builds the bootstrap of a tarfs image, all there is to build. Throws ImageError; aborting the signal
 * ends it with IMAGE_ABORTED.
 */
export async function createTarfs(options: TarfsOptions): Promise<CreateResult> {
  const turns = new Turns(options.signal, interrupted);
  const progress = new BuildProgress(options.onProgress, turns);
  const source = await openArchive(openByteSource(options.archive, options.signal), turns);
  try {
    if (source instanceof GzipSource) {
      const rule = 'compressed by gzip: an image of type tar-tarfs is mounted from the plain tar';
      throw new ImageError('IMAGE_BAD_SOURCE', `${source.name}: ${rule}; gunzip it, or use --type targz-ref`);
    }
    const store = new TarfsStore(source, options.chunkSize, turns, progress.onChunk);
    const root = await readTar(source, {
      explicitUidGid: options.explicitUidGid,
      store: () => store,
      onEntry: progress.onEntry,
    });
    turns.throwIfAborted();
    setLayer(root, LAYER);
    const tree = assignInodes(root);
    const { size, digest } = source.finish();
    const blob: ImageBlob = {
      ...PLAIN_BLOB,
      id: options.blobId ?? digest,
      features: BlobFeature.tarfs | BlobFeature.capTarToc,
      chunkCount: store.chunks.length,
      compressedSize: size,
      uncompressedSize: size,
      compressor: 'none',
      digester: 'sha256',
      // There is no chunk info; this is what the original has in the field.
      ciCompressor: 'lz4_block',
    };
    const own = store.chunks.length === 0 ? null : blob;
    const bytes = encodeRefBootstrap(tree, own === null ? [] : [own], options, 'tarfs');
    const path = writeOutput(options.bootstrap, bytes);
    const blobIds = own === null ? [] : [own.id];
    return refResult({ tree, data: store }, { blobIds, own }, { path, size: bytes.length });
  } finally {
    source.close();
  }
}
