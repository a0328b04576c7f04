import type { BlobRow, Bootstrap, BootstrapV5, BootstrapV6 } from '../../rafs/bootstrap.ts';
import { ChunkRecordLayout, decodeChunk } from '../../wire/rafs/chunk.ts';
import { BlobFeature, CHUNK_SIZE_MAX } from '../../wire/rafs/flags.ts';
import { INODE_OFFSET_UNIT_V5, InodeV5 } from '../../wire/rafs/inode-v5.ts';
import type { StoredChunk } from '../model/chunk.ts';
import { ImageError } from '../model/error.ts';
import { FileType, newNode } from '../model/node.ts';
import { type LoadedImage, loadImage, readBootstrap } from './load.ts';
import { chunkRecordsV5 } from './tree-walk.ts';

const BLOCK_SIZE = 4096;

/** Whether the bootstrap is, or has all its data from, a dictionary which `chunkdict generate` made. */
export function isDictionary({ blobs }: Bootstrap): boolean {
  return blobs.length > 0 && blobs.every(({ features }) => (features & BlobFeature.chunkDictGenerated) !== 0);
}

/**
 * Reads an image as a chunk dictionary. The file in a generated one is not like others (its chunks have any size,
 * and the original gives it a name that cannot be): the chunks are read from its records or its chunk table
 * alone. Rejects as `loadImage`.
 */
export async function loadDictionary(path: string): Promise<LoadedImage> {
  const bootstrap = await readBootstrap(path);
  if (!isDictionary(bootstrap)) return await loadImage(path);
  const chunks = bootstrap.version === 5 ? recordsOf(bootstrap, path) : tableOf(bootstrap, path);
  const root = newNode({
    name: Buffer.from('/'),
    sourcePath: Buffer.from('/'),
    mode: FileType.directory,
    linkKey: '/',
  });
  const file = newNode({
    name: Buffer.from('chunkdict'),
    sourcePath: Buffer.from('/chunkdict'),
    mode: FileType.regular,
    linkKey: 'chunkdict',
    chunks,
  });
  root.children.push(file);
  const blobs = completed(bootstrap.blobs, chunks);
  return { path, bootstrap: { ...bootstrap, blobs }, inlined: false, root, chunks };
}

function recordsOf(bootstrap: BootstrapV5, path: string): StoredChunk[] {
  const { view, superblock } = bootstrap;
  const reader = new ChunkRecords(bootstrap, path);
  for (let i = 0; i < superblock.inodeTableEntries; i++) {
    const at = view.getUint32(superblock.inodeTableOffset + i * 4, true) * INODE_OFFSET_UNIT_V5;
    if (at + InodeV5.size > view.byteLength) reader.damaged(`inode_table[${i}]`, at, 'inside the bootstrap');
    const isRegular = (view.getUint32(at + InodeV5.mode, true) & FileType.mask) === FileType.regular;
    if (!isRegular) continue;
    const { chunks, count } = chunkRecordsV5(view, at);
    reader.read(chunks, count);
  }
  return reader.chunks;
}

function tableOf(bootstrap: BootstrapV6, path: string): StoredChunk[] {
  const { chunkTableOffset, chunkTableSize } = bootstrap.superblock;
  const reader = new ChunkRecords(bootstrap, path);
  reader.read(chunkTableOffset, Math.floor(chunkTableSize / ChunkRecordLayout.size));
  return reader.chunks;
}

/** Takes chunk records out of a bootstrap, each chunk of a blob once. */
class ChunkRecords {
  readonly #bootstrap: Bootstrap;
  readonly #path: string;
  readonly #known = new Set<string>();
  /** Bytes of all records so far: files that share theirs could make reading endless. */
  #bytes = 0;
  readonly chunks: StoredChunk[] = [];

  constructor(bootstrap: Bootstrap, path: string) {
    this.#bootstrap = bootstrap;
    this.#path = path;
  }

  read(start: number, count: number): void {
    const { view, blobs } = this.#bootstrap;
    const end = start + count * ChunkRecordLayout.size;
    if (end > view.byteLength) this.damaged('chunk records', end, 'inside the bootstrap');
    this.#bytes += end - start;
    if (this.#bytes > view.byteLength) this.damaged('chunk records', this.#bytes, 'each of one file');
    for (let at = start; at < end; at += ChunkRecordLayout.size) {
      const chunk = decodeChunk(view, at);
      const { blobIndex, index, uncompressedSize } = chunk;
      if (blobIndex >= blobs.length)
        this.damaged(`chunk@${at}.blob_index`, blobIndex, `below ${blobs.length}`);
      if (uncompressedSize === 0 || uncompressedSize > CHUNK_SIZE_MAX)
        this.damaged(`chunk@${at}.uncompressed_size`, uncompressedSize, `1 to ${CHUNK_SIZE_MAX}`);
      const key = `${blobIndex}:${index}`;
      if (this.#known.has(key)) continue;
      this.#known.add(key);
      this.chunks.push({ ...chunk, digest: Buffer.from(chunk.digest) });
    }
  }

  damaged(field: string, value: number, rule: string): never {
    throw new ImageError('IMAGE_DAMAGED', `${this.#path}: ${field} = ${value}: must be ${rule}`);
  }
}

/**
 * The original leaves sizes at 0, or without the padding of chunks, and says of all chunk info that it is compressed
 * with zstd: readers of an image that takes the rows over need what is true.
 */
function completed(rows: readonly BlobRow[], chunks: readonly StoredChunk[]): BlobRow[] {
  const compressed = rows.map((row) =>
    Math.max(
      row.compressedSize,
      row.ciUncompressedSize === 0 ? 0 : row.ciOffset + row.ciCompressedSize + BLOCK_SIZE,
    ),
  );
  const uncompressed = rows.map(({ uncompressedSize }) => uncompressedSize);
  for (const chunk of chunks) {
    const i = chunk.blobIndex;
    const unit = rows[i]!.features & BlobFeature.aligned ? BLOCK_SIZE : 1;
    const end = Math.ceil((chunk.uncompressedOffset + chunk.uncompressedSize) / unit) * unit;
    uncompressed[i] = Math.max(uncompressed[i]!, end);
    compressed[i] = Math.max(compressed[i]!, chunk.compressedOffset + chunk.compressedSize);
  }
  return rows.map((row, i) => ({
    ...row,
    compressedSize: compressed[i]!,
    uncompressedSize: uncompressed[i]!,
    ciCompressor: chunkInfoCompressor(row),
  }));
}

/** Builders compress the chunk info as the chunks, gzip aside, unless it does not become smaller. */
function chunkInfoCompressor(row: BlobRow): BlobRow['ciCompressor'] {
  if (row.ciCompressedSize === row.ciUncompressedSize) return 'none';
  return row.compressor === 'lz4_block' ? row.compressor : row.ciCompressor;
}
