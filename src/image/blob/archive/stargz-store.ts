import { ChunkInfoFlag } from '../../../wire/blob-meta.ts';
import { ChunkFlag } from '../../../wire/rafs/chunk.ts';
import { CHUNK_INFO_V2_COMPRESSED_MAX, type ChunkInfoV2 } from '../../../wire/rafs/encode-blob-meta.ts';
import {
  CHUNK_INDEX_MAX,
  COMPRESSED_LIMIT,
  type StoredChunk,
  UNCOMPRESSED_LIMIT,
} from '../../model/chunk.ts';
import { ImageError } from '../../model/error.ts';
import type { ImageNode } from '../../model/node.ts';
import type { StargzEntry } from '../../source/archive/stargz-index.ts';
import type { EarlierChunks } from '../earlier-chunks.ts';
import type { RefData } from './ref-data.ts';

const BLOCK = 4096;

/** A file in the making. */
interface OpenFile {
  readonly entry: StargzEntry;
  /** The node's, and its aliases': they get what is added later, too. */
  readonly chunks: StoredChunk[];
  size: number;
}

/**
 * Chunks of an eStargz layer by its index alone: each is a gzip member of its own, of which only the start is known.
 */
export class StargzStore implements RefData {
  readonly #archive: string;
  readonly #layerSize: number;
  readonly #chunkSize: number;
  readonly #earlier: EarlierChunks;
  readonly #known = new Map<string, StoredChunk>();
  #file: OpenFile | null = null;
  readonly chunks: StoredChunk[] = [];
  readonly slices = null;
  uncompressedSize = 0;
  duplicates = 0;
  duplicateBytes = 0;

  /** `archive` for messages; `layerSize` in bytes. */
  constructor(archive: string, layerSize: number, chunkSize: number, earlier: EarlierChunks) {
    this.#earlier = earlier;
    this.#archive = archive;
    this.#layerSize = layerSize;
    this.#chunkSize = chunkSize;
    if (layerSize > COMPRESSED_LIMIT)
      throw new ImageError('IMAGE_TOO_LARGE', `${archive}: a layer of ${layerSize} bytes: more than 1 TiB`);
  }

  /** Begins a regular file; its node's list of chunks grows with `chunk` entries. */
  addFile(entry: StargzEntry, node: ImageNode): void {
    this.#endFile();
    this.#file = { entry, chunks: [], size: 0 };
    node.chunks = this.#file.chunks;
    if (entry.size > 0) this.#addChunk(this.#file, entry);
  }

  /** Goes on with the file begun last. */
  addChunk(entry: StargzEntry): void {
    if (this.#file === null || this.#file.entry.name !== entry.name)
      throw this.#bad(entry, 'a chunk that does not follow its file');
    this.#addChunk(this.#file, entry);
  }

  /** Ends the last file, and gives each chunk what it can need of the bytes up to the next one. */
  finish(): void {
    this.#endFile();
    const order = [...this.chunks].sort((a, b) => a.compressedOffset - b.compressedOffset);
    for (const [i, chunk] of order.entries()) {
      const room = (order[i + 1]?.compressedOffset ?? this.#layerSize) - chunk.compressedOffset;
      if (room === 0) {
        const rule = `two chunks at byte ${chunk.compressedOffset} of the layer`;
        throw new ImageError('IMAGE_BAD_SOURCE', `${this.#archive}: ${rule}`);
      }
      chunk.compressedSize = Math.min(
        memberBytesMax(chunk.uncompressedSize),
        room,
        CHUNK_INFO_V2_COMPRESSED_MAX,
      );
    }
  }

  get infos(): readonly ChunkInfoV2[] {
    const flags = ChunkInfoFlag.compressed;
    return this.chunks.map((chunk) => ({ ...chunk, flags, dataLow: 0, dataHigh: 0 }));
  }

  #endFile(): void {
    const file = this.#file;
    if (file !== null && file.size !== file.entry.size)
      throw this.#bad(file.entry, `chunks have ${file.size} bytes, the file ${file.entry.size}`);
    this.#file = null;
  }

  #addChunk(file: OpenFile, entry: StargzEntry): void {
    const left = file.entry.size - file.size;
    const size = entry.chunkSize === 0 ? left : entry.chunkSize;
    const hex = `0x${this.#chunkSize.toString(16)}`;
    if (entry.chunkOffset !== file.size)
      throw this.#bad(entry, `chunkOffset ${entry.chunkOffset}, where ${file.size} is next`);
    if (size > left) throw this.#bad(entry, `chunkSize ${size}, where ${left} bytes are left of the file`);
    if (size > this.#chunkSize || (size < this.#chunkSize && size < left)) {
      const rule = `a chunk of 0x${size.toString(16)} bytes in an image with chunks of ${hex}`;
      throw this.#bad(entry, `${rule}: give --chunk-size as the layer was made with`);
    }
    if (entry.chunkDigest === '') throw this.#bad(entry, 'no chunkDigest');
    if (entry.innerOffset !== 0)
      throw this.#bad(
        entry,
        'innerOffset: several files in one gzip member are not supported: use --type targz-ref',
      );
    file.size += size;
    file.chunks.push(this.#chunk(entry, size));
  }

  #chunk(entry: StargzEntry, size: number): StoredChunk {
    const digest = Buffer.from(entry.chunkDigest.slice('sha256:'.length), 'hex');
    const key = `${size}:${entry.chunkDigest}`;
    const known = this.#earlier.find(digest, size) ?? this.#known.get(key);
    if (known !== undefined) {
      this.duplicates++;
      this.duplicateBytes += size;
      return known;
    }
    if (this.chunks.length > CHUNK_INDEX_MAX)
      throw this.#bad(entry, `more than ${CHUNK_INDEX_MAX + 1} chunks`);
    if (this.uncompressedSize >= UNCOMPRESSED_LIMIT) throw this.#bad(entry, 'more than 16 TiB of file data');
    if (entry.offset >= this.#layerSize)
      throw this.#bad(entry, `offset ${entry.offset}: behind the layer's ${this.#layerSize} bytes`);
    const chunk: StoredChunk = {
      blobIndex: this.#earlier.ownIndex(),
      index: this.chunks.length,
      digest,
      crc32c: 0,
      uncompressedOffset: this.uncompressedSize,
      uncompressedSize: size,
      compressedOffset: entry.offset,
      compressedSize: 0,
      flags: ChunkFlag.compressed,
    };
    this.chunks.push(chunk);
    this.#known.set(key, chunk);
    this.uncompressedSize += Math.ceil(size / BLOCK) * BLOCK;
    return chunk;
  }

  #bad(entry: StargzEntry, rule: string): ImageError {
    return new ImageError('IMAGE_BAD_SOURCE', `${this.#archive}: ${entry.name}: ${rule}`);
  }
}

/**
 * Bytes of a member within which `size` bytes of plain data are: deflate codes have at most 15 bits. Behind them come
 * headers of the next files, which nobody needs; upstream's bound forgets that they share the code.
 */
function memberBytesMax(size: number): number {
  return 2 * size + BLOCK;
}
