import { digest } from '../../../lib/content-hash.ts';
import type { Turns } from '../../../lib/turns.ts';
import { addon } from '../../../native/index.ts';
import { ChunkInfoFlag, CONTEXT_BYTES_MAX } from '../../../wire/blob-meta.ts';
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
import { GzipSource } from '../../source/archive/gzip-source.ts';
import type { ArchiveSource } from '../../source/archive/plain-source.ts';
import type { FileStore, FileStream } from '../../source/tree-source.ts';
import type { EarlierChunks } from '../earlier-chunks.ts';
import type { RefData } from './ref-data.ts';
import { ZranSlices } from './zran.ts';

/** How the files of an archive are cut into chunks. */
interface RefStoreOptions {
  readonly chunkSize: number;
  readonly turns: Turns;
  readonly onChunk?: (bytes: number) => void;
  readonly earlier: EarlierChunks;
  /** Called for each distinct chunk. */
  readonly onStore?: (chunk: StoredChunk, bytes: Buffer) => void;
}

const BLOCK = 4096;
type Place = Pick<ChunkInfoV2, 'compressedOffset' | 'compressedSize' | 'flags' | 'dataLow' | 'dataHigh'>;

/** Chunks of a tar or tar.gz that stays as it is: notes where each is instead of storing it. SHA-256 only. */
export class RefStore implements FileStore, RefData {
  readonly #source: ArchiveSource;
  readonly #options: RefStoreOptions;
  readonly #known = new Map<string, StoredChunk>();
  readonly #scratch: Buffer;
  /** Of a gzip archive; null for a plain one. */
  readonly slices: ZranSlices | null;
  /** Distinct chunks in the order of the archive, and the chunk-info entry of each. */
  readonly chunks: StoredChunk[] = [];
  readonly infos: ChunkInfoV2[] = [];
  /** Bytes of the uncompressed image, padding included. */
  uncompressedSize = 0;
  /** Chunks met again, and their bytes. */
  duplicates = 0;
  duplicateBytes = 0;

  constructor(source: ArchiveSource, options: RefStoreOptions) {
    this.#source = source;
    this.#options = options;
    this.#scratch = Buffer.allocUnsafeSlow(options.chunkSize);
    this.slices = source instanceof GzipSource ? new ZranSlices(source) : null;
  }

  async addStream(node: ImageNode, stream: FileStream): Promise<void> {
    const { chunkSize, turns } = this.#options;
    const chunks: StoredChunk[] = [];
    for (let offset = 0; offset < node.size; offset += chunkSize) {
      const bytes = this.#scratch.subarray(0, Math.min(chunkSize, node.size - offset));
      const place = await readPlaced(this.#source, this.slices, stream, bytes, chunkSize, node);
      chunks.push(this.#chunk(bytes, place, node));
      const turn = turns.next();
      if (turn !== undefined) await turn;
    }
    node.chunks = chunks;
  }

  #chunk(bytes: Buffer, place: Place, node: ImageNode): StoredChunk {
    this.#options.onChunk?.(bytes.length);
    const id = digest('sha256', bytes);
    const key = `${bytes.length}:${id.toString('latin1')}`;
    const known = this.#options.earlier.find(id, bytes.length) ?? this.#known.get(key);
    if (known !== undefined) {
      this.duplicates++;
      this.duplicateBytes += bytes.length;
      return known;
    }
    this.#checkRoom(place, node);
    const crc = addon.crc32c(bytes);
    // Readers take a checksum of 0 for a missing one.
    const hasCrc32c = crc === 0 ? 0 : ChunkFlag.hasCrc32c;
    const isCompressed = (place.flags & ChunkInfoFlag.compressed) !== 0;
    const chunk: StoredChunk = {
      blobIndex: this.#options.earlier.ownIndex(),
      index: this.chunks.length,
      digest: id,
      crc32c: crc,
      uncompressedOffset: this.uncompressedSize,
      uncompressedSize: bytes.length,
      compressedOffset: place.compressedOffset,
      compressedSize: place.compressedSize,
      flags: hasCrc32c | (isCompressed ? ChunkFlag.compressed : 0),
    };
    const sizes = { uncompressedOffset: chunk.uncompressedOffset, uncompressedSize: bytes.length };
    const withCrc = !isCompressed && crc !== 0 ? { flags: ChunkInfoFlag.hasCrc32c, dataLow: crc } : {};
    this.infos.push({ ...sizes, ...place, ...withCrc });
    this.chunks.push(chunk);
    this.#options.onStore?.(chunk, bytes);
    this.#known.set(key, chunk);
    this.uncompressedSize += Math.ceil(bytes.length / BLOCK) * BLOCK;
    return chunk;
  }

  #checkRoom({ compressedOffset, compressedSize }: Place, node: ImageNode): void {
    const rules: readonly (readonly [boolean, string])[] = [
      [this.chunks.length <= CHUNK_INDEX_MAX, `chunk ${CHUNK_INDEX_MAX + 2}: use a larger --chunk-size`],
      [compressedOffset < COMPRESSED_LIMIT, 'data behind the first TiB of the archive'],
      [compressedSize <= CHUNK_INFO_V2_COMPRESSED_MAX, 'a chunk of 16 MiB: use a smaller --chunk-size'],
      [this.uncompressedSize < UNCOMPRESSED_LIMIT, 'more than 16 TiB of file data'],
    ];
    for (const [holds, rule] of rules)
      if (!holds)
        throw new ImageError('IMAGE_TOO_LARGE', `${this.#source.name}: ${node.sourcePath}: ${rule}`);
  }
}

/** Fills `bytes` with the next chunk of a file and says where in the archive it is. */
async function readPlaced(
  source: ArchiveSource,
  slices: ZranSlices | null,
  stream: FileStream,
  bytes: Buffer,
  chunkSize: number,
  node: ImageNode,
): Promise<Place> {
  const start = source.position;
  slices?.begin(chunkSize);
  await stream.read(bytes);
  checkStored(source, start, bytes.length, node);
  if (slices === null) {
    return { compressedOffset: start, compressedSize: bytes.length, flags: 0, dataLow: 0, dataHigh: 0 };
  }
  const chunk = slices.end();
  checkSlice(slices, source, node);
  return {
    compressedOffset: chunk.compressedOffset,
    compressedSize: chunk.compressedSize,
    flags: ChunkInfoFlag.compressed | ChunkInfoFlag.zran,
    dataLow: chunk.contextPosition,
    dataHigh: chunk.context,
  };
}

/** A slice begins with a deflate block and cannot be smaller. */
function checkSlice(slices: ZranSlices, source: ArchiveSource, node: ImageNode): void {
  const { inLength, outLength } = slices.current;
  if (Math.max(inLength, outLength) <= CONTEXT_BYTES_MAX) return;
  const rule = `a deflate block of more than ${CONTEXT_BYTES_MAX} bytes, too large for random access: recompress the archive with gzip`;
  throw new ImageError('IMAGE_TOO_LARGE', `${source.name}: ${node.sourcePath}: ${rule}`);
}

/** An image that points into an archive has no bytes for the holes of a sparse file. */
export function checkStored(source: ArchiveSource, start: number, length: number, node: ImageNode): void {
  if (source.position - start === length) return;
  const rule =
    'a sparse file, whose holes are not in the archive: use --type tar-rafs or targz-rafs, or an archive made without --sparse';
  throw new ImageError('IMAGE_BAD_SOURCE', `${source.name}: ${node.sourcePath}: ${rule}`);
}
