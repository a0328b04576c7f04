import { CHUNK_INFO_V2_SIZE, encodeChunkInfoV2 } from '../../wire/rafs/encode-blob-meta.ts';
import { BlobFeature } from '../../wire/rafs/flags.ts';
import type { ChunkInfoBytes } from '../blob-sections.ts';
import type { RefStore } from './ref-store.ts';

/** Features of a blob whose data is an archive of its own and whose chunk info is another object. */
export function refFeatures(store: RefStore): number {
  const { aligned, chunkInfoV2, separate, zran, capTarToc } = BlobFeature;
  return aligned | chunkInfoV2 | separate | capTarToc | (store.slices === null ? 0 : zran);
}

/** Chunk info of an archive: entries, then for gzip the slices with their dictionaries. */
export function refChunkInfo(store: RefStore): ChunkInfoBytes {
  const entries = Buffer.alloc(store.infos.length * CHUNK_INFO_V2_SIZE);
  const view = new DataView(entries.buffer, entries.byteOffset, entries.length);
  for (const [i, info] of store.infos.entries()) encodeChunkInfoV2(view, i * CHUNK_INFO_V2_SIZE, info);
  const count = store.infos.length;
  if (store.slices === null)
    return { bytes: entries, count, contextOffset: 0, contextSize: 0, contextCount: 0 };
  const contexts = store.slices.encode();
  return {
    bytes: Buffer.concat([entries, contexts]),
    count,
    contextOffset: entries.length,
    contextSize: contexts.length,
    contextCount: store.slices.count,
  };
}
