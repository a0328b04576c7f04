import { createHash } from 'node:crypto';
import { pipeline } from 'node:stream/promises';
import { createZstdDecompress } from 'node:zlib';
import { decrypt } from '../../blob/decode.ts';
import { type BlobSource, readAt, SourceError } from '../../blob/source.ts';
import { DIGEST_BYTES, digest } from '../../lib/content-hash.ts';
import { BlobError, checkBlob } from '../../wire/blob-error.ts';
import { CHUNK_INFO_BYTES_MAX, ChunkInfoHeader } from '../../wire/blob-meta.ts';
import {
  decodeToc,
  decodeTrailingTarHeader,
  Section,
  TAR_HEADER_BYTES,
  TOC_BYTES_MAX,
  type TocEntry,
} from '../../wire/blob-toc.ts';
import { decodeChunk } from '../../wire/rafs/chunk.ts';
import { BlobFeature } from '../../wire/rafs/flags.ts';
import { ImageError, throwIfInterrupted } from '../model/error.ts';
import type { BlobCheckOptions, CheckedBlob } from './contract.ts';

const WINDOW_BYTES = 1 << 20;

/** A part of an object, in bytes. */
export interface Range {
  readonly offset: number;
  readonly size: number;
}

/** SHA-256 of parts of an object, one behind the other. Rejects with SourceError, or ImageError IMAGE_ABORTED. */
async function hashRanges(
  source: BlobSource,
  objectId: string,
  ranges: readonly Range[],
  signal?: AbortSignal,
): Promise<Buffer> {
  const hash = createHash('sha256');
  const window = Buffer.allocUnsafeSlow(WINDOW_BYTES);
  for await (const part of windows(source, objectId, ranges, signal, window)) hash.update(part);
  return hash.digest();
}

/** The bytes of the ranges, in order; each part in `window` if it is given, or else in a buffer of its own. */
async function* windows(
  source: BlobSource,
  objectId: string,
  ranges: readonly Range[],
  signal: AbortSignal | undefined,
  window?: Buffer,
): AsyncGenerator<Uint8Array> {
  for (const { offset, size } of ranges) {
    for (let done = 0; done < size; ) {
      throwIfInterrupted(signal);
      const length = Math.min(WINDOW_BYTES, size - done);
      const part = window?.subarray(0, length) ?? Buffer.allocUnsafeSlow(length);
      await source.read(objectId, offset + done, part);
      yield part;
      done += part.length;
    }
  }
}

/**
 * Whether an object's SHA-256 is `wanted`, as ids are made: over all bytes, or all but the digest array, whose place is
 * `digests`. Null if it is, otherwise what it is.
 */
export async function idMismatch(
  source: BlobSource,
  objectId: string,
  digests: Range | null,
  wanted: Uint8Array,
  signal?: AbortSignal,
): Promise<string | null> {
  const size = await source.size(objectId);
  const variants: Range[][] = [[{ offset: 0, size }]];
  if (digests !== null) {
    const end = digests.offset + digests.size;
    variants.unshift([
      { offset: 0, size: digests.offset },
      { offset: end, size: size - end },
    ]);
  }
  let first: string | null = null;
  for (const ranges of variants) {
    const actual = await hashRanges(source, objectId, ranges, signal);
    if (actual.compare(wanted) === 0) return null;
    first ??= actual.toString('hex');
  }
  return first;
}

/** The meta blob of an OCI layer: the bootstrap has its id and size, unless it is at the end of that very blob. */
export async function checkMetaBlob(
  { row, spec }: CheckedBlob,
  digests: Range | null,
  options: BlobCheckOptions,
): Promise<void> {
  const { source, faults, signal } = options;
  const size = await source.size(spec.metaObjectId);
  const place = `meta blob ${spec.metaObjectId} of blob ${row.index} (${spec.id})`;
  const wanted = row.metaDigest;
  if (wanted === null || isZero(wanted)) return;
  if (row.metaSize > 0 && size !== row.metaSize)
    faults.add(place, `has ${size} bytes, the bootstrap says ${row.metaSize}`);
  const actual = await idMismatch(source, spec.metaObjectId, digests, wanted, signal);
  if (actual !== null) faults.add(place, `sha256 is ${actual}, must be ${hex(wanted)}`);
}

/**
 * A blob's table of contents: its own digest, and those of its sections. storage/src/meta/toc.rs. Resolves with
 * the place of the digest array, which is not part of the blob's id; null if there is none. Rejects with
 * BlobError or SourceError.
 */
export async function checkToc(blob: CheckedBlob, options: BlobCheckOptions): Promise<Range | null> {
  const { row, spec } = blob;
  if ((row.features & BlobFeature.hasToc) === 0 && row.tocSize === 0) return null;
  const { source, faults } = options;
  const bad = 'BLOB_BAD_TOC';
  const size = await source.size(spec.metaObjectId);
  checkBlob(size >= TAR_HEADER_BYTES, bad, 'size', size, 'at least 512, a tar header');
  const header = await readAt(source, spec.metaObjectId, size - TAR_HEADER_BYTES, TAR_HEADER_BYTES);
  const decoded = decodeTrailingTarHeader(header);
  checkBlob(
    decoded?.name === Section.toc,
    bad,
    'last 512 bytes',
    decoded?.name ?? 'data',
    `a tar header named ${Section.toc}`,
  );
  const tocSize = decoded!.size;
  const limit = Math.min(TOC_BYTES_MAX, size) - TAR_HEADER_BYTES;
  checkBlob(tocSize <= limit, bad, 'toc size', tocSize, `at most ${limit}`);
  const start = size - TAR_HEADER_BYTES - tocSize;
  const toc = await readAt(source, spec.metaObjectId, start, tocSize);
  const place = `table of contents of blob ${row.index} (${spec.metaObjectId})`;
  if (row.tocSize > 0 && row.tocSize !== tocSize + TAR_HEADER_BYTES)
    faults.add(place, `has ${tocSize + TAR_HEADER_BYTES} bytes, the bootstrap says ${row.tocSize}`);
  const actual = digest('sha256', toc, header);
  if (!isZero(row.tocDigest) && actual.compare(row.tocDigest) !== 0)
    faults.add(place, `sha256 is ${actual.toString('hex')}, must be ${hex(row.tocDigest)}`);
  const entries = decodeToc(toc, start);
  checkNames(entries);
  for (const entry of entries) await checkSection(blob, entry, place, options);
  const digests = entries.find(({ name }) => name === Section.digests);
  return digests === undefined ? null : { offset: digests.compressedOffset, size: digests.compressedSize };
}

/** Section names in the order of the file, each at most once. */
const SECTIONS: ReadonlySet<string> = new Set([
  Section.data,
  Section.chunkInfo,
  Section.chunkInfoHeader,
  Section.digests,
  Section.bootstrap,
]);

function checkNames(entries: readonly TocEntry[]): void {
  const seen = new Set<string>();
  for (const [i, { name }] of entries.entries()) {
    const known = SECTIONS.has(name) && !seen.has(name);
    checkBlob(known, 'BLOB_BAD_TOC', `toc[${i}].name`, JSON.stringify(name), 'a known section, once');
    seen.add(name);
  }
}

async function checkSection(
  blob: CheckedBlob,
  entry: TocEntry,
  place: string,
  options: BlobCheckOptions,
): Promise<void> {
  const actual = await sectionDigest(blob, entry, options);
  if (!isZero(entry.digest) && actual.compare(entry.digest) !== 0)
    options.faults.add(
      `${place}: ${entry.name}`,
      `sha256 is ${actual.toString('hex')}, must be ${hex(entry.digest)}`,
    );
}

async function sectionDigest(blob: CheckedBlob, entry: TocEntry, options: BlobCheckOptions): Promise<Buffer> {
  const { source, signal } = options;
  const object = blob.spec.metaObjectId;
  const { name, compressor, compressedOffset: offset, compressedSize: size } = entry;
  if (name === Section.data) {
    // Its digest covers the tar header behind it, and old writers give it a wrong offset: it is the first section.
    const whole = size + TAR_HEADER_BYTES;
    const limit = await source.size(object);
    checkBlob(whole <= limit, 'BLOB_BAD_TOC', `${name} compressed_size+512`, whole, `at most ${limit}`);
    return hashRanges(source, object, [{ offset: 0, size: whole }], signal);
  }
  if (name === Section.bootstrap) {
    const ranges = [{ offset, size }];
    if (compressor === 'none') return hashRanges(source, object, ranges, signal);
    checkBlob(compressor === 'zstd', 'BLOB_BAD_TOC', `${name} flags`, compressor, 'none or zstd');
    return hashUnpacked(windows(source, object, ranges, signal), entry);
  }
  const bytes = await readSection(blob, entry, options);
  if (name === Section.digests) compareDigests(blob, bytes, options);
  return digest('sha256', bytes);
}

/** SHA-256 of what zstd data unpack to, as a stream: a bootstrap may be large. */
async function hashUnpacked(
  packed: AsyncIterable<Uint8Array>,
  { name, uncompressedSize }: TocEntry,
): Promise<Buffer> {
  const hash = createHash('sha256');
  let size = 0;
  try {
    await pipeline(packed, createZstdDecompress(), async (plain: AsyncIterable<Buffer>) => {
      for await (const part of plain) {
        size += part.length;
        if (size > uncompressedSize) break;
        hash.update(part);
      }
    });
  } catch (cause) {
    if (cause instanceof SourceError || cause instanceof ImageError) throw cause;
    throw new BlobError('BLOB_BAD_TOC', `${name}: zstd data: ${(cause as Error).message}`, { cause });
  }
  checkBlob(
    size === uncompressedSize,
    'BLOB_BAD_TOC',
    `${name} uncompressed_size`,
    uncompressedSize,
    `unpacks to ${size}`,
  );
  return hash.digest();
}

/** Chunk info, its header or the digest array: their places and sizes follow from the blob's row. */
async function readSection(
  { row, spec }: CheckedBlob,
  entry: TocEntry,
  { source, codecs }: BlobCheckOptions,
): Promise<Uint8Array> {
  const { name, compressedOffset, compressedSize, uncompressedSize } = entry;
  const rule = (field: string, value: number, wanted: number): void =>
    checkBlob(value === wanted, 'BLOB_BAD_TOC', `${name} ${field}`, value, `the bootstrap says ${wanted}`);
  if (name === Section.chunkInfo) {
    rule('compressed_offset', compressedOffset, row.ciOffset);
    rule('compressed_size', compressedSize, row.ciCompressedSize);
    rule('uncompressed_size', uncompressedSize, row.ciUncompressedSize);
  } else if (name === Section.chunkInfoHeader) {
    rule('compressed_offset', compressedOffset, row.ciOffset + row.ciCompressedSize);
    rule('compressed_size', compressedSize, ChunkInfoHeader.size);
    rule('uncompressed_size', uncompressedSize, ChunkInfoHeader.size);
  } else rule('uncompressed_size', uncompressedSize, row.chunkCount * DIGEST_BYTES);
  checkBlob(
    uncompressedSize <= CHUNK_INFO_BYTES_MAX && compressedSize <= uncompressedSize,
    'BLOB_BAD_TOC',
    `${name} compressed_size`,
    compressedSize,
    `at most its uncompressed_size, and that at most ${CHUNK_INFO_BYTES_MAX}`,
  );
  const stored = await readAt(source, spec.metaObjectId, compressedOffset, compressedSize);
  const isEncrypted = spec.cipher !== null && name !== Section.digests;
  const packed = isEncrypted ? decrypt(spec.cipher!, stored) : stored;
  return codecs.decompress(entry.compressor, packed, uncompressedSize);
}

/** The blob's own array of chunk digests against the bootstrap's. */
function compareDigests({ row, spec }: CheckedBlob, bytes: Uint8Array, options: BlobCheckOptions): void {
  const { bootstrap, chunks, faults } = options;
  const place = `${Section.digests} of blob ${row.index} (${spec.id})`;
  for (const [index, at] of chunks[row.index]!) {
    const own = bytes.subarray(index * DIGEST_BYTES, (index + 1) * DIGEST_BYTES);
    const { digest } = decodeChunk(bootstrap.view, at);
    if (Buffer.compare(own, digest) !== 0)
      faults.add(place, `chunk ${index}: ${hex(own)}, the chunk table says ${hex(digest)}`);
  }
}

function isZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
