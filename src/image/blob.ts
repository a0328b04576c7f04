import type { BlobRow } from '../rafs/bootstrap.ts';
import { encodeChunkInfoHeader } from '../wire/blob-meta.ts';
import { CHUNK_INFO_V1_SIZE, encodeChunkInfoV1 } from '../wire/rafs/encode-blob-meta.ts';
import { BlobFeature, compressors } from '../wire/rafs/flags.ts';
import type { OutputFile } from './blob-writer.ts';
import type { StoredChunk } from './chunker.ts';
import { type BuildCompressor, compressIfSmaller } from './compress.ts';

/** A blob as the tables of a bootstrap describe it, built here or read from another bootstrap. */
export type ImageBlob = Omit<BlobRow, 'index'>;

/** Where the chunk info ("CI") is in the blob. */
export type ChunkInfoSection = Pick<
  ImageBlob,
  'ciCompressor' | 'ciOffset' | 'ciCompressedSize' | 'ciUncompressedSize'
>;

/** What a blob has not, unless said otherwise. */
export const PLAIN_BLOB: Omit<
  ImageBlob,
  'id' | 'features' | 'compressor' | 'digester' | 'chunkCount' | 'compressedSize' | 'uncompressedSize'
> = {
  readaheadSize: 0,
  ciCompressor: 'none',
  ciOffset: 0,
  ciCompressedSize: 0,
  ciUncompressedSize: 0,
  tocSize: 0,
  tocDigest: new Uint8Array(32),
  metaDigest: null,
  metaSize: 0,
  cipherKey: null,
  cipherIv: null,
};

/** Features of every blob of a v6 build without options. */
export const FEATURES_V6: number = BlobFeature.capTarToc | BlobFeature.aligned;
export const FEATURES_V5: number = BlobFeature.capTarToc;

/** Appends the chunk info and its header, the end of a v6 blob. */
export async function writeChunkInfo(
  out: OutputFile,
  chunker: { readonly chunks: readonly StoredChunk[] },
  compressor: BuildCompressor,
): Promise<ChunkInfoSection> {
  const plain = Buffer.alloc(chunker.chunks.length * CHUNK_INFO_V1_SIZE);
  const view = new DataView(plain.buffer, plain.byteOffset, plain.length);
  for (const [i, chunk] of chunker.chunks.entries()) encodeChunkInfoV1(view, i * CHUNK_INFO_V1_SIZE, chunk);
  const packed = await compressIfSmaller(plain, compressor);
  const section: ChunkInfoSection = {
    ciCompressor: packed === plain ? 'none' : compressor,
    ciOffset: out.size,
    ciCompressedSize: packed.length,
    ciUncompressedSize: plain.length,
  };
  out.write(packed);
  const header = encodeChunkInfoHeader({
    features: FEATURES_V6,
    compressor: compressors.indexOf(section.ciCompressor),
    offset: section.ciOffset,
    compressedSize: section.ciCompressedSize,
    uncompressedSize: section.ciUncompressedSize,
    count: chunker.chunks.length,
    contextOffset: 0,
    contextSize: 0,
    contextCount: 0,
  });
  out.write(Buffer.from(header.buffer));
  return section;
}
