import { readU64 } from '../wire/rafs/bytes.ts';
import { ChunkRecordLayout } from '../wire/rafs/chunk.ts';
import { checkRafs } from '../wire/rafs/error.ts';
import { BlobFeature, CHUNKS_PER_BLOB_MAX } from '../wire/rafs/flags.ts';
import type { BlobRow, BootstrapV5 } from './bootstrap.ts';
import { ImageV5 } from './image-v5.ts';

/**
 * Images of 2020 have no extended blob table and no chunk indices. Numbers each blob's chunks by their
 * uncompressed offset, and derives the counts and sizes which the table lacks. Reads all inodes; damaged ones,
 * which answer EIO later, are left out.
 */
export function withLegacyChunks(bootstrap: BootstrapV5): BootstrapV5 {
  if (bootstrap.blobs.every(({ features }) => (features & BlobFeature.v5NoExtBlobTable) === 0))
    return bootstrap;
  const chunks = bootstrap.blobs.map(() => new Map<number, { end: number; compressedEnd: number }>());
  const image = new ImageV5(bootstrap, false);
  // Inodes that overlap could claim the same records again and again.
  const most = Math.floor(bootstrap.bytes.length / ChunkRecordLayout.size);
  let count = 0;
  for (let lo = 1; lo <= bootstrap.superblock.inodeTableEntries; lo++) {
    image.eachChunkRecord(lo, (at) => {
      if (++count > most) checkRafs(false, 'RAFS_BAD_TABLE', 'chunk records', count, `room for ${most}`);
      collect(bootstrap.view, at, chunks);
    });
  }
  return {
    ...bootstrap,
    blobs: bootstrap.blobs.map((blob, i) => withSizes(blob, [...chunks[i]!.values()])),
    legacyOffsets: chunks.map((ofBlob) => Float64Array.from(ofBlob.keys()).sort()),
  };
}

function collect(
  view: DataView,
  at: number,
  chunks: readonly Map<number, { end: number; compressedEnd: number }>[],
): void {
  const ofBlob = chunks[view.getUint32(at + ChunkRecordLayout.blobIndex, true)];
  const offset = readU64(view, at + ChunkRecordLayout.uncompressedOffset);
  if (ofBlob === undefined || ofBlob.size === CHUNKS_PER_BLOB_MAX || ofBlob.has(offset)) return;
  ofBlob.set(offset, {
    end: offset + view.getUint32(at + ChunkRecordLayout.uncompressedSize, true),
    compressedEnd:
      readU64(view, at + ChunkRecordLayout.compressedOffset) +
      view.getUint32(at + ChunkRecordLayout.compressedSize, true),
  });
}

function withSizes(blob: BlobRow, chunks: readonly { end: number; compressedEnd: number }[]): BlobRow {
  const most = (size: number, end: number) => Math.max(size, end);
  return {
    ...blob,
    chunkCount: chunks.length,
    uncompressedSize: chunks.map(({ end }) => end).reduce(most, 0),
    compressedSize: chunks.map(({ compressedEnd }) => compressedEnd).reduce(most, 0),
  };
}
