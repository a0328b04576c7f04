import { CHUNK_INFO_V2_SIZE, type ChunkInfoV2, encodeChunkInfoV2 } from '../../wire/rafs/encode-blob-meta.ts';
import { BlobFeature } from '../../wire/rafs/flags.ts';
import type { ChunkInfoBytes } from '../blob-sections.ts';
import type { StoredChunk } from '../chunker.ts';

/** What is known of an archive's chunks. */
export interface RefData {
  /** Distinct chunks, and the chunk-info entry of each. */
  readonly chunks: readonly StoredChunk[];
  readonly infos: readonly ChunkInfoV2[];
  /** Where a gzip archive can be inflated; null where each chunk stands for itself. */
  readonly slices: { readonly count: number; encode(): Buffer } | null;
  /** Bytes of the uncompressed image, padding included. */
  readonly uncompressedSize: number;
  /** Chunks met again, and their bytes. */
  readonly duplicates: number;
  readonly duplicateBytes: number;
}

/** Features of a blob whose data is an archive of its own and whose chunk info is another object. */
export function refFeatures(data: RefData): number {
  const { aligned, chunkInfoV2, separate, zran, capTarToc } = BlobFeature;
  return aligned | chunkInfoV2 | separate | capTarToc | (data.slices === null ? 0 : zran);
}

/** Chunk info of an archive: entries, then for gzip the slices with their dictionaries. */
export function refChunkInfo(data: RefData): ChunkInfoBytes {
  const entries = Buffer.alloc(data.chunks.length * CHUNK_INFO_V2_SIZE);
  const view = new DataView(entries.buffer, entries.byteOffset, entries.length);
  const infos = data.infos;
  for (const [i, info] of infos.entries()) encodeChunkInfoV2(view, i * CHUNK_INFO_V2_SIZE, info);
  const count = data.chunks.length;
  if (data.slices === null)
    return { bytes: entries, count, contextOffset: 0, contextSize: 0, contextCount: 0 };
  const contexts = data.slices.encode();
  return {
    bytes: Buffer.concat([entries, contexts]),
    count,
    contextOffset: entries.length,
    contextSize: contexts.length,
    contextCount: data.slices.count,
  };
}
