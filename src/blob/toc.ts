import { createHash } from 'node:crypto';
import { checkBlob } from '../wire/blob-error.ts';
import {
  decodeToc,
  decodeTrailingTarHeader,
  Section,
  TAR_HEADER_BYTES,
  TOC_BYTES_MAX,
  type TocEntry,
} from '../wire/blob-toc.ts';
import type { Codecs } from './codecs.ts';
import { type BlobSource, readAt } from './source.ts';

/** Upstream's limit of a bootstrap is 2 GiB; one of 1 GiB describes some ten million files. */
const BOOTSTRAP_BYTES_MAX = 2 ** 30;

/**
 * The bootstrap at the end of a blob: found through the table of contents, or as the section before a trailing
 * `image.boot` tar header. Rejects with BlobError BLOB_BAD_TOC when there is none, or when a digest that is recorded
 * does not match. storage/src/meta/toc.rs.
 */
export async function extractBootstrap(
  source: BlobSource,
  objectId: string,
  codecs: Codecs,
): Promise<Uint8Array> {
  const bad = 'BLOB_BAD_TOC';
  const size = await source.size(objectId);
  checkBlob(size >= TAR_HEADER_BYTES, bad, `blob ${objectId} size`, size, 'at least 512, a tar header');
  const last = await readAt(source, objectId, size - TAR_HEADER_BYTES, TAR_HEADER_BYTES);
  const header = decodeTrailingTarHeader(last);
  const end = size - TAR_HEADER_BYTES;
  const known = header?.name === Section.toc || header?.name === Section.bootstrap;
  const names = `a tar header named ${Section.toc} or ${Section.bootstrap}`;
  checkBlob(
    known,
    bad,
    `blob ${objectId} last 512 bytes`,
    header ? JSON.stringify(header.name) : 'data',
    names,
  );
  checkBlob(header!.size <= end, bad, `${header!.name} size`, header!.size, `at most ${end}`);
  if (header!.name === Section.bootstrap) {
    checkBlob(
      header!.size <= BOOTSTRAP_BYTES_MAX,
      bad,
      'image.boot size',
      header!.size,
      `at most ${BOOTSTRAP_BYTES_MAX}`,
    );
    return readAt(source, objectId, end - header!.size, header!.size);
  }
  const entries = await readToc(source, objectId, end, header!.size);
  const entry = entries.find(({ name }) => name === Section.bootstrap);
  checkBlob(
    entry !== undefined,
    bad,
    `blob ${objectId} toc`,
    entries.map(({ name }) => name).join(' '),
    'must have image.boot',
  );
  return readSection(source, objectId, entry!, codecs);
}

/**
 * SHA-256 of a blob's table of contents with its tar header, and their size, as blob rows have them; null if the blob
 * does not end with one. Rejects with SourceError, or BlobError when the header claims more than there is.
 */
export async function readTocDigest(
  source: BlobSource,
  objectId: string,
): Promise<{ digest: Uint8Array; size: number } | null> {
  const blobSize = await source.size(objectId);
  if (blobSize < TAR_HEADER_BYTES) return null;
  const end = blobSize - TAR_HEADER_BYTES;
  const header = decodeTrailingTarHeader(await readAt(source, objectId, end, TAR_HEADER_BYTES));
  if (header?.name !== Section.toc) return null;
  const most = Math.min(end, TOC_BYTES_MAX - TAR_HEADER_BYTES);
  checkBlob(header.size <= most, 'BLOB_BAD_TOC', `${header.name} size`, header.size, `at most ${most}`);
  const size = header.size + TAR_HEADER_BYTES;
  const bytes = await readAt(source, objectId, blobSize - size, size);
  return { digest: createHash('sha256').update(bytes).digest(), size };
}

/** Rows of the table that ends at `end`. */
async function readToc(source: BlobSource, objectId: string, end: number, size: number): Promise<TocEntry[]> {
  checkBlob(
    size <= TOC_BYTES_MAX - TAR_HEADER_BYTES,
    'BLOB_BAD_TOC',
    'toc size',
    size,
    `at most ${TOC_BYTES_MAX - TAR_HEADER_BYTES}`,
  );
  return decodeToc(await readAt(source, objectId, end - size, size), end - size);
}

async function readSection(
  source: BlobSource,
  objectId: string,
  entry: TocEntry,
  codecs: Codecs,
): Promise<Uint8Array> {
  const bad = 'BLOB_BAD_TOC';
  for (const field of ['compressedSize', 'uncompressedSize'] as const) {
    checkBlob(
      entry[field] <= BOOTSTRAP_BYTES_MAX,
      bad,
      `${entry.name} ${field}`,
      entry[field],
      `at most ${BOOTSTRAP_BYTES_MAX}`,
    );
  }
  const stored = await readAt(source, objectId, entry.compressedOffset, entry.compressedSize);
  const bytes = await codecs.decompress(entry.compressor, stored, entry.uncompressedSize);
  if (entry.digest.every((byte) => byte === 0)) return bytes;
  const actual = createHash('sha256').update(bytes).digest();
  const wanted = Buffer.from(entry.digest).toString('hex');
  checkBlob(
    actual.compare(entry.digest) === 0,
    bad,
    `${entry.name} sha256`,
    actual.toString('hex'),
    `the toc says ${wanted}`,
  );
  return bytes;
}
