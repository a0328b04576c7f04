import { DIGEST_BYTES, digest } from '../../lib/content-hash.ts';
import { encodeChunkInfoHeader } from '../../wire/blob-meta.ts';
import {
  encodeToc,
  encodeTrailingTarHeader,
  Section,
  TAR_HEADER_BYTES,
  type TocEntry,
} from '../../wire/blob-toc.ts';
import { BlobFeature, compressors } from '../../wire/rafs/flags.ts';
import type { ChunkInfoSection } from '../model/blob.ts';
import type { ChunkInfoBytes } from './chunk-info.ts';
import { type BlobCipher, encrypt } from './cipher.ts';
import { type BuildCompressor, compressIfSmaller } from './compress.ts';
import type { OutputFile } from './output-file.ts';

/** What a blob is made of. */
interface SectionOptions {
  /** BlobFeature bits, as its row has them: tar headers behind the sections, a table of contents, a digest array. */
  readonly features: number;
  /** Of the chunk info. */
  readonly compressor: BuildCompressor;
  readonly cipher: BlobCipher | null;
  /** Gets the uncompressed chunk info and its header in clear. */
  readonly onChunkInfo?: ((bytes: Buffer, header: Uint8Array) => void) | undefined;
}

/**
 * Writes what stands behind the chunk data of a blob, in the order of the format: chunk info and its header, digest
 * array, bootstrap, table of contents, each followed by a tar header where the features say so.
 * builder/src/core/blob.rs, storage/src/meta/toc.rs.
 */
export class BlobSections {
  readonly #out: OutputFile;
  readonly #options: SectionOptions;
  readonly #entries: TocEntry[] = [];

  constructor(out: OutputFile, options: SectionOptions) {
    this.#out = out;
    this.#options = options;
  }

  /** Ends the chunk data, which must be all that has been written. `uncompressedSize`: of the image of all chunks. */
  data(uncompressedSize: number): void {
    const out = this.#out;
    const size = out.size - out.base;
    this.#header(Section.data, size);
    // Unlike the other digests this one covers the tar header, too.
    const place = { compressedOffset: out.base, compressedSize: size, uncompressedSize };
    this.#entries.push({ name: Section.data, compressor: 'none', digest: out.digestSoFar(), ...place });
  }

  /** Writes the chunk info, and with INLINED_CHUNK_DIGEST `digests`, 32 bytes a chunk. */
  async chunkInfo(info: ChunkInfoBytes, digests: Buffer): Promise<ChunkInfoSection> {
    const { compressor, cipher, features } = this.#options;
    const out = this.#out;
    const packed = await compressIfSmaller(info.bytes, compressor);
    const stored = cipher === null ? packed : encrypt(cipher, packed);
    const section: ChunkInfoSection = {
      ciCompressor: packed === info.bytes ? 'none' : compressor,
      ciOffset: out.size,
      ciCompressedSize: stored.length,
      ciUncompressedSize: info.bytes.length,
    };
    const header = encodeChunkInfoHeader({
      features,
      compressor: compressors.indexOf(section.ciCompressor),
      count: info.count,
      offset: section.ciOffset,
      compressedSize: section.ciCompressedSize,
      uncompressedSize: section.ciUncompressedSize,
      contextOffset: info.contextOffset,
      contextSize: info.contextSize,
      contextCount: info.contextCount,
    });
    this.#options.onChunkInfo?.(info.bytes, header);
    out.write(stored);
    out.write(cipher === null ? header : encrypt(cipher, header));
    this.#header(Section.chunkInfo, stored.length + header.length);
    this.#entry(
      Section.chunkInfo,
      info.bytes,
      section.ciCompressor as BuildCompressor,
      section.ciOffset,
      stored.length,
    );
    this.#entry(Section.chunkInfoHeader, header, 'none', section.ciOffset + stored.length, header.length);
    if (features & BlobFeature.inlinedChunkDigest) this.#digests(digests);
    return section;
  }

  /** Writes the bootstrap of the image: packed where a table of contents can say so, otherwise as it is. */
  async bootstrap(bytes: Buffer): Promise<void> {
    const offset = this.#out.size;
    const packed = this.#hasToc ? await compressIfSmaller(bytes, 'zstd') : bytes;
    this.#out.write(packed);
    this.#header(Section.bootstrap, packed.length);
    this.#entry(Section.bootstrap, bytes, packed === bytes ? 'none' : 'zstd', offset, packed.length);
  }

  /**
   * Writes the table of contents, the end of the blob. Size and SHA-256 with its tar header; zeros where there is none.
   */
  toc(): { readonly tocSize: number; readonly tocDigest: Buffer } {
    if (!this.#hasToc) return { tocSize: 0, tocDigest: Buffer.alloc(DIGEST_BYTES) };
    const toc = encodeToc(this.#entries);
    const header = encodeTrailingTarHeader(Section.toc, toc.length);
    this.#out.write(toc);
    this.#out.write(header);
    return { tocSize: toc.length + TAR_HEADER_BYTES, tocDigest: digest('sha256', toc, header) };
  }

  /** The array is not part of what the blob's id is the digest of. */
  #digests(digests: Buffer): void {
    const offset = this.#out.size;
    this.#out.writeUnhashed(digests);
    this.#header(Section.digests, digests.length);
    this.#entry(Section.digests, digests, 'none', offset, digests.length);
  }

  get #hasToc(): boolean {
    return (this.#options.features & BlobFeature.hasToc) !== 0;
  }

  #header(name: string, size: number): void {
    if (this.#options.features & BlobFeature.hasTarHeader)
      this.#out.write(encodeTrailingTarHeader(name, size));
  }

  #entry(
    name: string,
    plain: Uint8Array,
    compressor: BuildCompressor,
    compressedOffset: number,
    compressedSize: number,
  ): void {
    if (!this.#hasToc) return;
    const place = { compressedOffset, compressedSize, uncompressedSize: plain.length };
    this.#entries.push({ name, compressor, digest: digest('sha256', plain), ...place });
  }
}
