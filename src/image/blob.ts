import { encodeChunkInfoHeader } from '../wire/blob-meta.ts';
import { CHUNK_INFO_V1_SIZE, encodeChunkInfoV1 } from '../wire/rafs/encode-blob-meta.ts';
import { BlobFeature, type Compressor, compressors } from '../wire/rafs/flags.ts';
import type { OutputFile } from './blob-writer.ts';
import type { Chunker } from './chunker.ts';
import { type BuildCompressor, compressIfSmaller } from './compress.ts';

/** A finished blob as the tables of a bootstrap describe it. */
export interface BuiltBlob {
  readonly id: string;
  readonly features: number;
  readonly chunkCount: number;
  /** Bytes of the whole blob file. */
  readonly compressedSize: number;
  readonly uncompressedSize: number;
  readonly chunkInfo: ChunkInfoSection | null;
}

/** Where the chunk info ("CI") is in the blob. */
export interface ChunkInfoSection {
  readonly compressor: Compressor;
  readonly offset: number;
  readonly compressedSize: number;
  readonly uncompressedSize: number;
}

/** Features of every blob of a v6 build without options. */
export const FEATURES_V6: number = BlobFeature.capTarToc | BlobFeature.aligned;
export const FEATURES_V5: number = BlobFeature.capTarToc;

/** Appends the chunk info and its header, the end of a v6 blob. */
export async function writeChunkInfo(
  out: OutputFile,
  chunker: Chunker,
  compressor: BuildCompressor,
): Promise<ChunkInfoSection> {
  const plain = Buffer.alloc(chunker.chunks.length * CHUNK_INFO_V1_SIZE);
  const view = new DataView(plain.buffer, plain.byteOffset, plain.length);
  for (const [i, chunk] of chunker.chunks.entries()) encodeChunkInfoV1(view, i * CHUNK_INFO_V1_SIZE, chunk);
  const packed = await compressIfSmaller(plain, compressor);
  const section: ChunkInfoSection = {
    compressor: packed === plain ? 'none' : compressor,
    offset: out.size,
    compressedSize: packed.length,
    uncompressedSize: plain.length,
  };
  out.write(packed);
  const header = encodeChunkInfoHeader({
    ...section,
    features: FEATURES_V6,
    compressor: compressors.indexOf(section.compressor),
    count: chunker.chunks.length,
    contextOffset: 0,
    contextSize: 0,
    contextCount: 0,
  });
  out.write(Buffer.from(header.buffer));
  return section;
}
