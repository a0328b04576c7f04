import { resolve } from 'node:path';
import type { ImageBlob } from '../blob.ts';
import { type Destination, OutputFile } from '../blob-writer.ts';
import type { StoredChunk } from '../chunker.ts';
import type { CreateOptions, CreateResult } from '../create.ts';
import { isRegular, type NumberedTree } from '../node.ts';
import { matchPrefetch } from '../prefetch.ts';
import { writeBootstrapV6 } from '../write-v6.ts';

/** The bootstrap of an image over an archive. `blobs`: one, or none if the tree has no data. */
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

/** Writes a file that appears whole or not at all; its absolute path. */
export function writeFile(destination: Destination, bytes: Uint8Array): string {
  const out = new OutputFile(destination);
  try {
    out.write(bytes);
    return resolve(out.finish().path);
  } finally {
    out.discard();
  }
}

/** Says what was built. */
export function refResult(
  tree: NumberedTree,
  blobs: readonly ImageBlob[],
  store: {
    readonly chunks: readonly StoredChunk[];
    readonly duplicates?: number;
    readonly duplicateBytes?: number;
  },
  bootstrap: { readonly path: string; readonly size: number },
): CreateResult {
  let dataSize = 0;
  for (const node of tree.byIndex) if (isRegular(node) && node.first === node) dataSize += node.size;
  return {
    bootstrapPath: bootstrap.path,
    bootstrapSize: bootstrap.size,
    blobIds: blobs.map((blob) => blob.id),
    blobId: blobs[0]?.id ?? null,
    blobSize: blobs[0]?.compressedSize ?? 0,
    entries: tree.byIndex.length,
    inodes: tree.inodesCount,
    chunks: store.chunks.length,
    duplicateChunks: store.duplicates ?? 0,
    duplicateBytes: store.duplicateBytes ?? 0,
    dataSize,
  };
}
