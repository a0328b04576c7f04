import type { RefData } from '../blob/archive/ref-data.ts';
import { writeBootstrapV6 } from '../bootstrap/write-v6.ts';
import type { ImageBlob } from '../model/blob.ts';
import type { NumberedTree } from '../model/node.ts';
import { matchPrefetch } from '../model/prefetch.ts';
import { type CreateOptions, type CreateResult, dataSize } from './create.ts';

/** The bootstrap of an image over an archive. `blobs`: its blob table. */
export function encodeRefBootstrap(
  tree: NumberedTree,
  blobs: readonly ImageBlob[],
  options: Pick<CreateOptions, 'chunkSize' | 'explicitUidGid' | 'prefetchPatterns'>,
  kind: 'ref' | 'tarfs',
): Buffer {
  const { chunkSize, explicitUidGid, prefetchPatterns } = options;
  const prefetch = matchPrefetch(tree, prefetchPatterns).nodes;
  return writeBootstrapV6(tree, {
    chunkSize,
    explicitUidGid,
    compressor: kind === 'ref' ? 'gzip' : 'none',
    tarfs: kind === 'tarfs',
    digester: 'sha256',
    blobs,
    prefetch,
  });
}

/** Says what was built. */
export function refResult(
  image: {
    readonly tree: NumberedTree;
    readonly data: Pick<RefData, 'chunks'> & Partial<Pick<RefData, 'duplicates' | 'duplicateBytes'>>;
  },
  blobs: { readonly blobIds: readonly string[]; readonly own: ImageBlob | null },
  bootstrap: { readonly path: string; readonly size: number },
): CreateResult {
  const { tree, data } = image;
  return {
    bootstrapPath: bootstrap.path,
    bootstrapSize: bootstrap.size,
    blobIds: blobs.blobIds,
    blobId: blobs.own?.id ?? null,
    blobSize: blobs.own?.compressedSize ?? 0,
    entries: tree.byIndex.length,
    inodes: tree.inodesCount,
    chunks: data.chunks.length,
    duplicateChunks: data.duplicates ?? 0,
    duplicateBytes: data.duplicateBytes ?? 0,
    dataSize: dataSize(tree),
  };
}
