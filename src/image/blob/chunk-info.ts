import { BatchContext, ChunkInfoFlag } from '../../wire/blob-meta.ts';
import { ChunkFlag } from '../../wire/rafs/chunk.ts';
import {
  CHUNK_INFO_V1_SIZE,
  CHUNK_INFO_V2_COMPRESSED_MAX,
  CHUNK_INFO_V2_SIZE,
  type ChunkInfoV2,
  encodeBatchContext,
  encodeChunkInfoV1,
  encodeChunkInfoV2,
} from '../../wire/rafs/encode-blob-meta.ts';
import type { StoredChunk } from '../model/chunk.ts';
import { ImageError } from '../model/error.ts';
import type { Batcher } from './batch.ts';

/** Uncompressed chunk info: entries, then contexts and what belongs to them. */
export interface ChunkInfoBytes {
  readonly bytes: Buffer;
  readonly count: number;
  /** Where the entries end; 0 where the kind of blob has no contexts. */
  readonly contextOffset: number;
  /** Bytes of contexts and dictionaries. */
  readonly contextSize: number;
  readonly contextCount: number;
}

/** Digests of all chunks, one behind the other. */
export function digestArray(chunks: readonly StoredChunk[]): Buffer {
  return Buffer.concat(chunks.map((chunk) => chunk.digest));
}

/** Chunk info of 16 bytes an entry: sizes and offsets only. */
export function chunkInfoV1(chunks: readonly StoredChunk[]): ChunkInfoBytes {
  const bytes = Buffer.alloc(chunks.length * CHUNK_INFO_V1_SIZE);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (const [i, chunk] of chunks.entries()) encodeChunkInfoV1(view, i * CHUNK_INFO_V1_SIZE, chunk);
  return { bytes, count: chunks.length, contextOffset: 0, contextSize: 0, contextCount: 0 };
}

/**
 * Chunk info of 24 bytes an entry, and behind it the contexts of batches. Throws ImageError for
 * a chunk that does not fit.
 */
export function chunkInfoV2(chunks: readonly StoredChunk[], batcher: Batcher | null): ChunkInfoBytes {
  const entries = chunks.length * CHUNK_INFO_V2_SIZE;
  const batches = batcher?.batches ?? [];
  const contextSize = batches.length * BatchContext.size;
  const bytes = Buffer.alloc(entries + contextSize);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (const [i, chunk] of chunks.entries())
    encodeChunkInfoV2(view, i * CHUNK_INFO_V2_SIZE, entryV2(chunk, batcher));
  for (const [i, batch] of batches.entries())
    encodeBatchContext(view, entries + i * BatchContext.size, batch);
  return {
    bytes,
    count: chunks.length,
    contextOffset: batcher === null ? 0 : entries,
    contextSize,
    contextCount: batches.length,
  };
}

function entryV2(chunk: StoredChunk, batcher: Batcher | null): ChunkInfoV2 {
  const encrypted = chunk.flags & ChunkFlag.encrypted ? ChunkInfoFlag.encrypted : 0;
  const member = batcher?.members.get(chunk);
  if (member !== undefined) {
    const { compressedOffset } = batcher!.batches[member.context]!;
    const flags = ChunkInfoFlag.batch | ChunkInfoFlag.compressed | encrypted;
    const data = { dataLow: member.position, dataHigh: member.context };
    return { ...chunk, compressedOffset, compressedSize: 0, flags, ...data };
  }
  if (chunk.compressedSize > CHUNK_INFO_V2_COMPRESSED_MAX) {
    const rule = 'encrypted or batched images have no room for chunks of 16 MiB that do not compress';
    throw new ImageError('IMAGE_TOO_LARGE', `chunk ${chunk.index}: ${rule}: use a smaller --chunk-size`);
  }
  // Readers of the original refuse the flag where the CRC happens to be 0.
  const crc = chunk.crc32c === 0 ? 0 : ChunkInfoFlag.hasCrc32c;
  const compressed = chunk.flags & ChunkFlag.compressed ? ChunkInfoFlag.compressed : 0;
  return { ...chunk, flags: compressed | encrypted | crc, dataLow: chunk.crc32c, dataHigh: 0 };
}
