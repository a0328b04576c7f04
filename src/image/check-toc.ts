import { createHash } from 'node:crypto';
import { decrypt } from '../blob/decode.ts';
import type { BlobSource } from '../blob/source.ts';
import { checkBlob } from '../wire/blob-error.ts';
import { ChunkInfoHeader } from '../wire/blob-meta.ts';
import {
  decodeToc,
  decodeTrailingTarHeader,
  Section,
  TAR_HEADER_BYTES,
  TOC_BYTES_MAX,
  type TocEntry,
} from '../wire/blob-toc.ts';
import { decodeChunk } from '../wire/rafs/chunk.ts';
import { BlobFeature } from '../wire/rafs/flags.ts';
import type { BlobCheckOptions, CheckedBlob } from './check-blobs.ts';
import { ImageError } from './error.ts';

const WINDOW_BYTES = 1 << 20;
const DIGEST_BYTES = 32;
/** A section that must be decompressed as a whole. */
const SECTION_BYTES_MAX = 2 ** 30;

/** SHA-256 of `size` bytes of an object from `offset`. Rejects with SourceError, or ImageError IMAGE_ABORTED. */
export async function hashRange(
  source: BlobSource,
  objectId: string,
  offset: number,
  size: number,
  signal?: AbortSignal,
): Promise<Buffer> {
  const hash = createHash('sha256');
  const window = Buffer.allocUnsafeSlow(Math.min(WINDOW_BYTES, size));
  for (let done = 0; done < size; ) {
    if (signal?.aborted) throw new ImageError('IMAGE_ABORTED', 'interrupted');
    const part = window.subarray(0, Math.min(window.length, size - done));
    await source.read(objectId, offset + done, part);
    hash.update(part);
    done += part.length;
  }
  return hash.digest();
}

/** The meta blob of an OCI layer: the bootstrap has its SHA-256 and size, unless it is at the end of that very blob. */
export async function checkMetaBlob({ row, spec }: CheckedBlob, options: BlobCheckOptions): Promise<void> {
  const { source, faults, signal } = options;
  const size = await source.size(spec.metaObjectId);
  const place = `meta blob ${spec.metaObjectId} of blob ${row.index} (${spec.id})`;
  const wanted = row.metaDigest;
  if (wanted === null || isZero(wanted)) return;
  if (row.metaSize > 0 && size !== row.metaSize)
    faults.add(place, `has ${size} bytes, the bootstrap says ${row.metaSize}`);
  const actual = await hashRange(source, spec.metaObjectId, 0, size, signal);
  if (actual.compare(wanted) !== 0)
    faults.add(place, `sha256 is ${actual.toString('hex')}, must be ${hex(wanted)}`);
}

/** A blob's table of contents: its own digest, and those of its sections. storage/src/meta/toc.rs. Rejects with BlobError or SourceError. */
export async function checkToc(blob: CheckedBlob, options: BlobCheckOptions): Promise<void> {
  const { row, spec } = blob;
  if ((row.features & BlobFeature.hasToc) === 0 && row.tocSize === 0) return;
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
  const actual = createHash('sha256').update(toc).update(header).digest();
  if (!isZero(row.tocDigest) && actual.compare(row.tocDigest) !== 0)
    faults.add(place, `sha256 is ${actual.toString('hex')}, must be ${hex(row.tocDigest)}`);
  for (const entry of decodeToc(toc, start)) await checkSection(blob, entry, place, options);
}

async function checkSection(
  blob: CheckedBlob,
  entry: TocEntry,
  place: string,
  options: BlobCheckOptions,
): Promise<void> {
  const { source, faults, signal } = options;
  const object = blob.spec.metaObjectId;
  let actual: Buffer;
  if (entry.name === Section.data) {
    // Its digest covers the tar header behind it, and old writers give it a wrong offset: it is the first section.
    const size = entry.compressedSize + TAR_HEADER_BYTES;
    checkBlob(
      size <= (await source.size(object)),
      'BLOB_BAD_TOC',
      `${entry.name} compressed_size`,
      entry.compressedSize,
      'inside the blob',
    );
    actual = await hashRange(source, object, 0, size, signal);
  } else {
    const bytes = await readSection(blob, entry, options);
    if (entry.name === Section.digests) compareDigests(blob, bytes, options);
    actual = createHash('sha256').update(bytes).digest();
  }
  if (!isZero(entry.digest) && actual.compare(entry.digest) !== 0)
    faults.add(
      `${place}: ${entry.name}`,
      `sha256 is ${actual.toString('hex')}, must be ${hex(entry.digest)}`,
    );
}

async function readSection(
  { row, spec }: CheckedBlob,
  entry: TocEntry,
  { source, codecs }: BlobCheckOptions,
): Promise<Uint8Array> {
  for (const field of ['compressedSize', 'uncompressedSize'] as const)
    checkBlob(
      entry[field] <= SECTION_BYTES_MAX,
      'BLOB_BAD_TOC',
      `${entry.name} ${field}`,
      entry[field],
      `at most ${SECTION_BYTES_MAX}`,
    );
  const isHeader = entry.name === Section.chunkInfoHeader;
  if (entry.name === Section.chunkInfo || isHeader) {
    const wanted = isHeader ? row.ciOffset + row.ciCompressedSize : row.ciOffset;
    checkBlob(
      entry.compressedOffset === wanted,
      'BLOB_BAD_TOC',
      `${entry.name} compressed_offset`,
      entry.compressedOffset,
      `the bootstrap says ${wanted}`,
    );
    if (isHeader)
      checkBlob(
        entry.compressedSize === ChunkInfoHeader.size,
        'BLOB_BAD_TOC',
        `${entry.name} compressed_size`,
        entry.compressedSize,
        `${ChunkInfoHeader.size}`,
      );
  }
  const stored = await readAt(source, spec.metaObjectId, entry.compressedOffset, entry.compressedSize);
  const isEncrypted = spec.cipher !== null && (entry.name === Section.chunkInfo || isHeader);
  const packed = isEncrypted ? decrypt(spec.cipher!, stored) : stored;
  return codecs.decompress(entry.compressor, packed, entry.uncompressedSize);
}

/** The blob's own array of chunk digests against the bootstrap's. */
function compareDigests({ row, spec }: CheckedBlob, bytes: Uint8Array, options: BlobCheckOptions): void {
  const { bootstrap, chunks, faults } = options;
  const place = `${Section.digests} of blob ${row.index} (${spec.id})`;
  if (bytes.length !== row.chunkCount * DIGEST_BYTES) {
    faults.add(place, `${bytes.length} bytes: must be 32 for each of ${row.chunkCount} chunks`);
    return;
  }
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

async function readAt(
  source: BlobSource,
  objectId: string,
  offset: number,
  size: number,
): Promise<Uint8Array> {
  const bytes = Buffer.allocUnsafeSlow(size);
  await source.read(objectId, offset, bytes);
  return bytes;
}
