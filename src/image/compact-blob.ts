import { type DigestAlgorithm, digest } from '../lib/digest.ts';
import { encodeTrailingTarHeader, Section } from '../wire/blob-toc.ts';
import { ChunkFlag } from '../wire/rafs/chunk.ts';
import type { Compressor } from '../wire/rafs/flags.ts';
import {
  type ChunkInfoSection,
  FEATURES_V5,
  FEATURES_V6,
  type ImageBlob,
  PLAIN_BLOB,
  writeChunkInfo,
} from './blob.ts';
import { type Destination, OutputFile } from './blob-writer.ts';
import type { StoredChunk } from './chunker.ts';
import type { CheckedChunk, ImageChunks } from './compact-chunks.ts';
import { type BuildCompressor, compressIfSmaller } from './compress.ts';
import { ImageError } from './error.ts';
import type { Turns } from './turns.ts';

/** A blob that is made of chunks of other blobs. */
export interface CopiedBlobOptions {
  readonly version: 5 | 6;
  /** Its place in the blob table. */
  readonly blobIndex: number;
  /** A compressor of v5 that no build has (gzip) is only copied. */
  readonly compressor: Compressor;
  readonly digester: DigestAlgorithm;
  readonly destination: Destination;
  /** Whether a tar header stands behind each section. */
  readonly tarHeaders: boolean;
  readonly turns: Turns;
  readonly onProgress?: ((progress: CopyProgress) => void) | undefined;
}

/** Uncompressed bytes stored so far, of how many. */
export interface CopyProgress {
  readonly bytes: number;
  readonly bytesTotal: number;
}

/** The blob's row, and where each chunk went. */
export interface CopiedBlob {
  readonly blob: ImageBlob;
  readonly moved: ReadonlyMap<StoredChunk, StoredChunk>;
}

/** Numbers of chunks and offsets which the format has room for, as in a build. */
const CHUNKS_MAX = 0xffffff;
const COMPRESSED_MAX = 2 ** 40;
const UNCOMPRESSED_MAX = 2 ** 44;
/** Chunks of v6 start at whole blocks of the uncompressed image. */
const ALIGNMENT = { 5: 1, 6: 4096 } as const;
/** Chunks read, verified and packed at a time. */
const IN_FLIGHT_MAX = 8;

/**
 * Stores `chunks` (each once) in a new blob in the given order, as they are compressed already. Each is verified before. The file
 * appears complete under its SHA-256, or not at all. Rejects with ImageError, BlobError or SourceError.
 */
export async function copyBlob(
  chunks: readonly StoredChunk[],
  source: ImageChunks,
  options: CopiedBlobOptions,
): Promise<CopiedBlob> {
  if (chunks.length > CHUNKS_MAX) {
    throw new ImageError('IMAGE_TOO_LARGE', `${chunks.length} chunks in one blob: at most ${CHUNKS_MAX}`);
  }
  const out = new OutputFile(options.destination);
  try {
    const copier = new Copier(out, source, options);
    await copier.copy(chunks);
    return await copier.finish();
  } finally {
    out.discard();
  }
}

class Copier {
  readonly #out: OutputFile;
  readonly #source: ImageChunks;
  readonly #options: CopiedBlobOptions;
  readonly #moved = new Map<StoredChunk, StoredChunk>();
  #uncompressedSize = 0;

  constructor(out: OutputFile, source: ImageChunks, options: CopiedBlobOptions) {
    this.#out = out;
    this.#source = source;
    this.#options = options;
  }

  async copy(chunks: readonly StoredChunk[]): Promise<void> {
    const ahead: Promise<{ checked: CheckedChunk; packed: Uint8Array }>[] = [];
    const bytesTotal = chunks.reduce((sum, chunk) => sum + chunk.uncompressedSize, 0);
    let bytes = 0;
    let next = 0;
    for (const chunk of chunks) {
      while (next < chunks.length && ahead.length < IN_FLIGHT_MAX) {
        const packed = this.#pack(chunks[next++]!);
        // Awaited in order; without this a failure before then would be reported as unhandled.
        packed.catch(() => {});
        ahead.push(packed);
      }
      const { checked, packed } = await ahead.shift()!;
      this.#append(chunk, checked, packed);
      bytes += chunk.uncompressedSize;
      this.#options.onProgress?.({ bytes, bytesTotal });
      const turn = this.#options.turns.next();
      if (turn !== undefined) await turn;
    }
    this.#options.turns.check();
  }

  /** Everything behind the chunks, and the name. */
  async finish(): Promise<CopiedBlob> {
    const { version, compressor, digester, tarHeaders } = this.#options;
    const dataSize = this.#out.size;
    if (tarHeaders) this.#writeHeader(Section.data, dataSize);
    const chunks = [...this.#moved.values()];
    const section: Partial<ChunkInfoSection> =
      version === 6 ? await writeChunkInfo(this.#out, { chunks }, this.#packer()) : {};
    if (tarHeaders && section.ciOffset !== undefined) {
      this.#writeHeader(Section.chunkInfo, this.#out.size - section.ciOffset);
    }
    // A v5 blob is its chunks: what follows them is not counted.
    const compressedSize = version === 6 ? this.#out.size : dataSize;
    const { digest: id } = this.#out.finish();
    const blob: ImageBlob = {
      ...PLAIN_BLOB,
      ...section,
      id,
      features: version === 6 ? FEATURES_V6 : FEATURES_V5,
      chunkCount: chunks.length,
      compressedSize,
      uncompressedSize: this.#uncompressedSize,
      compressor,
      digester,
    };
    return { blob, moved: this.#moved };
  }

  async #pack(chunk: StoredChunk): Promise<{ checked: CheckedChunk; packed: Uint8Array }> {
    const checked = await this.#source.read(chunk);
    const { stored, plain, compressor } = checked;
    const fits =
      stored !== null &&
      (compressor === 'none' || (compressor === this.#options.compressor && stored.length < plain.length));
    if (fits) return { checked, packed: stored };
    const bytes = Buffer.from(plain.buffer, plain.byteOffset, plain.length);
    return { checked, packed: await compressIfSmaller(bytes, this.#packer()) };
  }

  #packer(): BuildCompressor {
    const { compressor } = this.#options;
    if (compressor !== 'gzip') return compressor;
    throw new ImageError('IMAGE_BAD_SOURCE', 'chunks that are compressed with gzip cannot be stored anew');
  }

  #append(chunk: StoredChunk, checked: CheckedChunk, packed: Uint8Array): void {
    const { plain } = checked;
    const { blobIndex, version, digester } = this.#options;
    const compressed = packed.length === plain.length ? 0 : ChunkFlag.compressed;
    this.#moved.set(chunk, {
      blobIndex,
      index: this.#moved.size,
      digest: checked.digester === digester ? chunk.digest : digest(digester, plain),
      crc32c: chunk.crc32c,
      uncompressedOffset: this.#uncompressedSize,
      uncompressedSize: plain.length,
      compressedOffset: this.#out.size,
      compressedSize: packed.length,
      flags: compressed | (chunk.flags & ChunkFlag.hasCrc32c),
    });
    this.#uncompressedSize += Math.ceil(plain.length / ALIGNMENT[version]) * ALIGNMENT[version];
    this.#out.write(packed);
    if (this.#out.size > COMPRESSED_MAX || this.#uncompressedSize > UNCOMPRESSED_MAX) {
      throw new ImageError('IMAGE_TOO_LARGE', 'blob larger than 1 TiB, or 16 TiB uncompressed');
    }
  }

  #writeHeader(name: string, size: number): void {
    this.#out.write(encodeTrailingTarHeader(name, size));
  }
}
