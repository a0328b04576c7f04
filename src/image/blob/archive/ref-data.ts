import {
  CHUNK_INFO_V2_SIZE,
  type ChunkInfoV2,
  encodeChunkInfoV2,
} from '../../../wire/rafs/encode-blob-meta.ts';
import { BlobFeature } from '../../../wire/rafs/flags.ts';
import type { StoredChunk } from '../../model/chunk.ts';
import type { ChunkInfoBytes } from '../chunk-info.ts';
import type { ZranSlices } from './zran.ts';

/** What is known of an archive's chunks. */
export interface RefData {
  /** Distinct chunks, and the chunk-info entry of each. */
  readonly chunks: readonly StoredChunk[];
  readonly infos: readonly ChunkInfoV2[];
  /** Where a gzip archive can be inflated; null where each chunk stands for itself. */
  readonly slices: Pick<ZranSlices, 'count' | 'size' | 'encode'> | null;
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
  const { slices, infos } = data;
  const count = data.chunks.length;
  const entries = count * CHUNK_INFO_V2_SIZE;
  const bytes = Buffer.alloc(entries + (slices?.size ?? 0));
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (const [i, info] of infos.entries()) encodeChunkInfoV2(view, i * CHUNK_INFO_V2_SIZE, info);
  if (slices === null) return { bytes, count, contextOffset: 0, contextSize: 0, contextCount: 0 };
  slices.encode(bytes, entries);
  return {
    bytes,
    count,
    contextOffset: entries,
    contextSize: slices.size,
    contextCount: slices.count,
  };
}
