import { ahead } from '../../lib/ahead.ts';
import { type DigestAlgorithm, digest } from '../../lib/content-hash.ts';
import type { Turns } from '../../lib/turns.ts';
import { encodeTrailingTarHeader, Section } from '../../wire/blob-toc.ts';
import { ChunkFlag } from '../../wire/rafs/chunk.ts';
import { BlobFeature, type Compressor, compressorOf, digesterOf } from '../../wire/rafs/flags.ts';
import { chunkInfoV1, chunkInfoV2 } from '../blob/chunk-info.ts';
import { type BlobCipher, encrypt } from '../blob/cipher.ts';
import { type BuildCompressor, compressIfSmaller } from '../blob/compress.ts';
import { OutputFile } from '../blob/output-file.ts';
import { BlobSections } from '../blob/sections.ts';
import {
  type ChunkInfoSection,
  FEATURES_V5,
  FEATURES_V6,
  type ImageBlob,
  PLAIN_BLOB,
} from '../model/blob.ts';
import { CHUNK_INDEX_MAX, COMPRESSED_LIMIT, type StoredChunk, UNCOMPRESSED_LIMIT } from '../model/chunk.ts';
import { ImageError } from '../model/error.ts';
import type { BlobReader, PackedChunk } from '../read/blob-reader.ts';
import type { LoadedImage } from '../read/load.ts';

/** A blob that is made of chunks of other blobs. */
interface CopiedBlobOptions {
  /** Which the chunks are of, and the new blob will be. */
  readonly image: LoadedImage;
  /** Its place in the blob table. */
  readonly blobIndex: number;
  /** Where it goes, named by its SHA-256. */
  readonly blobDir: string;
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

/** Chunks of v6 start at whole blocks of the uncompressed image. */
const ALIGNMENT = { 5: 1, 6: 4096 } as const;
/** Chunks read, verified and packed at a time. */
const AHEAD = { countMax: 8, sizeMax: Number.POSITIVE_INFINITY, sizeOf: () => 0 } as const;
const NO_DIGESTS = Buffer.alloc(0);

/**
 * Stores `chunks` (each once) in a new blob in the given order, as they are compressed already. Each is
 * verified before. The file appears complete under its SHA-256, or not at all. Rejects with ImageError,
 * BlobError or SourceError.
 */
export async function copyBlob(
  chunks: readonly StoredChunk[],
  reader: BlobReader,
  options: CopiedBlobOptions,
): Promise<CopiedBlob> {
  if (chunks.length > CHUNK_INDEX_MAX + 1) {
    throw new ImageError(
      'IMAGE_TOO_LARGE',
      `${chunks.length} chunks in one blob: at most ${CHUNK_INDEX_MAX + 1}`,
    );
  }
  const copier = new Copier(chunks, reader, options);
  try {
    await copier.copy(chunks);
    return await copier.finish();
  } finally {
    copier.discard();
  }
}

/** A chunk that is ready to be appended. */
interface ReadyChunk {
  readonly digest: Buffer;
  readonly uncompressedSize: number;
  readonly isCompressed: boolean;
  readonly stored: Uint8Array;
}

class Copier {
  /** Made with the first chunk: what cannot be read leaves no trace. */
  #opened: OutputFile | null = null;
  readonly #reader: BlobReader;
  readonly #options: CopiedBlobOptions;
  readonly #version: 5 | 6;
  readonly #compressor: Compressor;
  readonly #digester: DigestAlgorithm;
  /** Of the blobs that the chunks come from: they are encrypted again. */
  readonly #cipher: BlobCipher | null;
  readonly #moved = new Map<StoredChunk, StoredChunk>();
  #uncompressedSize = 0;

  constructor(chunks: readonly StoredChunk[], reader: BlobReader, options: CopiedBlobOptions) {
    const { image } = options;
    this.#reader = reader;
    this.#options = options;
    this.#version = image.bootstrap.version;
    this.#compressor = compressorFor(image);
    this.#digester = digesterOf(image.bootstrap.flags);
    this.#cipher = cipherOf(image, chunks);
  }

  async copy(chunks: readonly StoredChunk[]): Promise<void> {
    const bytesTotal = chunks.reduce((sum, chunk) => sum + chunk.uncompressedSize, 0);
    let bytes = 0;
    const ready = ahead(chunks, (chunk) => this.#prepare(chunk), AHEAD);
    for (const chunk of chunks) {
      this.#append(chunk, (await ready.next()).value!);
      bytes += chunk.uncompressedSize;
      this.#options.onProgress?.({ bytes, bytesTotal });
      const turn = this.#options.turns.next();
      if (turn !== undefined) await turn;
    }
    this.#options.turns.throwIfAborted();
  }

  /** Removes what has no name yet. */
  discard(): void {
    this.#opened?.discard();
  }

  get #out(): OutputFile {
    this.#opened ??= new OutputFile({ kind: 'directory', path: this.#options.blobDir });
    return this.#opened;
  }

  /** Everything behind the chunks, and the name. */
  async finish(): Promise<CopiedBlob> {
    const { tarHeaders } = this.#options;
    const version = this.#version;
    const cipher = this.#cipher;
    const out = this.#out;
    const dataSize = out.size;
    if (tarHeaders) out.write(encodeTrailingTarHeader(Section.data, dataSize));
    const chunks = [...this.#moved.values()];
    let features = version === 6 ? FEATURES_V6 : FEATURES_V5;
    if (cipher !== null) features |= BlobFeature.encrypted | BlobFeature.chunkInfoV2;
    const section = version === 6 ? await this.#writeChunkInfo(chunks, features) : null;
    if (tarHeaders && section !== null) {
      out.write(encodeTrailingTarHeader(Section.chunkInfo, out.size - section.ciOffset));
    }
    // A v5 blob is its chunks: what follows them is not counted.
    const compressedSize = version === 6 ? out.size : dataSize;
    const { digest: id } = out.finish();
    const blob: ImageBlob = {
      ...PLAIN_BLOB,
      ...section,
      id,
      features,
      chunkCount: chunks.length,
      compressedSize,
      uncompressedSize: this.#uncompressedSize,
      compressor: this.#compressor,
      digester: this.#digester,
      cipherKey: cipher?.key ?? null,
      cipherIv: cipher?.iv ?? null,
    };
    return { blob, moved: this.#moved };
  }

  #writeChunkInfo(chunks: readonly StoredChunk[], features: number): Promise<ChunkInfoSection> {
    const cipher = this.#cipher;
    const info = cipher === null ? chunkInfoV1(chunks) : chunkInfoV2(chunks, null);
    const sections = new BlobSections(this.#out, { features, compressor: this.#packer(), cipher });
    return sections.chunkInfo(info, NO_DIGESTS);
  }

  /** Reads, verifies and packs a chunk. */
  async #prepare(chunk: StoredChunk): Promise<ReadyChunk> {
    const cipher = this.#cipher;
    const digester = this.#digester;
    const found = await this.#reader.readPacked(chunk);
    if (found.cipher !== null && cipher === null) {
      // What was encrypted must not become readable.
      throw new ImageError(
        'IMAGE_BAD_SOURCE',
        'chunks of an encrypted blob can only go into an encrypted one',
      );
    }
    const packed = await this.#pack(found);
    return {
      digest: found.digester === digester ? chunk.digest : digest(digester, found.plain),
      uncompressedSize: found.plain.length,
      isCompressed: packed.length !== found.plain.length,
      stored: cipher === null ? packed : encrypt(cipher, packed),
    };
  }

  #pack({ plain, packed, compressor }: PackedChunk): Uint8Array | Promise<Uint8Array> {
    const isUsable =
      packed !== null &&
      (compressor === 'none' || (compressor === this.#compressor && packed.length < plain.length));
    if (isUsable) return packed;
    return compressIfSmaller(Buffer.from(plain.buffer, plain.byteOffset, plain.length), this.#packer());
  }

  #packer(): BuildCompressor {
    if (this.#compressor !== 'gzip') return this.#compressor;
    throw new ImageError('IMAGE_BAD_SOURCE', 'chunks that are compressed with gzip cannot be stored anew');
  }

  #append(chunk: StoredChunk, ready: ReadyChunk): void {
    const { blobIndex } = this.#options;
    const alignment = ALIGNMENT[this.#version];
    const compressed = ready.isCompressed ? ChunkFlag.compressed : 0;
    const encrypted = this.#cipher === null ? 0 : ChunkFlag.encrypted;
    this.#moved.set(chunk, {
      blobIndex,
      index: this.#moved.size,
      digest: ready.digest,
      crc32c: chunk.crc32c,
      uncompressedOffset: this.#uncompressedSize,
      uncompressedSize: ready.uncompressedSize,
      compressedOffset: this.#out.size,
      compressedSize: ready.stored.length,
      flags: compressed | encrypted | (chunk.flags & ChunkFlag.hasCrc32c),
    });
    this.#uncompressedSize += Math.ceil(ready.uncompressedSize / alignment) * alignment;
    this.#out.write(ready.stored);
    if (this.#out.size > COMPRESSED_LIMIT || this.#uncompressedSize > UNCOMPRESSED_LIMIT) {
      throw new ImageError('IMAGE_TOO_LARGE', 'blob larger than 1 TiB, or 16 TiB uncompressed');
    }
  }
}

/** The cipher of the blobs that `chunks` are in, the first of several; null where none is encrypted. */
function cipherOf(image: LoadedImage, chunks: Iterable<StoredChunk>): BlobCipher | null {
  for (const { blobIndex } of chunks) {
    const { cipherKey: key, cipherIv: iv } = image.bootstrap.blobs[blobIndex]!;
    if (key !== null && iv !== null) return { key: Buffer.from(key), iv: Buffer.from(iv) };
  }
  return null;
}

/**
 * Compressor of a blob that is added: the image's, or zstd where that is gzip, for v6 names one per blob. In v5 gzip
 * stays: such chunks are only copied.
 */
function compressorFor({ bootstrap }: LoadedImage): Compressor {
  const compressor = compressorOf(bootstrap.flags);
  return bootstrap.version === 6 && compressor === 'gzip' ? 'zstd' : compressor;
}
