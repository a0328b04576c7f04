import { readFile, stat } from 'node:fs/promises';
import { replaceFile } from '../lib/file/replace.ts';
import { checkBlob } from '../wire/blob-error.ts';
import {
  CHUNK_INFO_BYTES_MAX,
  ChunkInfoHeader,
  type ChunkInfoTable,
  type DecodedChunkInfoHeader,
  decodeChunkInfo,
  decodeChunkInfoHeader,
} from '../wire/blob-meta.ts';
import { type BlobSpec, dataRegionSize } from '../wire/rafs/blob-spec.ts';
import { BlobFeature, compressors } from '../wire/rafs/flags.ts';
import type { Codecs } from './codecs.ts';
import { decrypt } from './decode.ts';
import { type BlobSource, type ReadOptions, UNHURRIED } from './source.ts';

/**
 * The blob's chunk info: from `path` (`*.blob.meta`) if that file is of the right size and agrees with the bootstrap,
 * otherwise from the back end, and then kept in `path`. `path` null: nothing is kept. Rejects with BlobError or
 * SourceError.
 *
 * The file holds the uncompressed chunk info, zeros to the next 4 KiB, and the header in clear.
 * storage/src/meta/mod.rs.
 */
export async function loadChunkInfo(
  spec: BlobSpec,
  path: string | null,
  source: BlobSource,
  codecs: Codecs,
  log: (message: string) => void,
  options: ReadOptions = UNHURRIED,
): Promise<ChunkInfoTable> {
  const usize = spec.ciUncompressedSize;
  checkBlob(
    usize <= CHUNK_INFO_BYTES_MAX,
    'BLOB_BAD_META',
    'ci_uncompressed_size',
    usize,
    `at most ${CHUNK_INFO_BYTES_MAX}`,
  );
  const cached = path === null ? null : await readCached(spec, path, log);
  if (cached) return cached;
  const { info, header } = await fetchChunkInfo(spec, source, options, codecs);
  const table = toTable(spec, info, header);
  if (path !== null) {
    const file = Buffer.alloc(align4k(usize) + ChunkInfoHeader.size);
    file.set(info);
    file.set(header, align4k(usize));
    await replaceFile(path, file).catch((error: Error) => log(`${path}: not kept: ${error.message}`));
  }
  return table;
}

async function readCached(
  spec: BlobSpec,
  path: string,
  log: (message: string) => void,
): Promise<ChunkInfoTable | null> {
  const size = align4k(spec.ciUncompressedSize) + ChunkInfoHeader.size;
  const found = await stat(path).catch(() => null);
  if (!found) return null;
  try {
    checkBlob(found.isFile() && found.size === size, 'BLOB_BAD_META', 'size', found.size, `${size} bytes`);
    const bytes = await readFile(path);
    checkBlob(bytes.length === size, 'BLOB_BAD_META', 'size', bytes.length, `${size} bytes`);
    const header = bytes.subarray(size - ChunkInfoHeader.size);
    return toTable(spec, bytes.subarray(0, spec.ciUncompressedSize), header);
  } catch (error) {
    log(`${path}: fetched anew: ${(error as Error).message}`);
    return null;
  }
}

async function fetchChunkInfo(
  spec: BlobSpec,
  source: BlobSource,
  options: ReadOptions,
  codecs: Codecs,
): Promise<{ info: Uint8Array; header: Uint8Array }> {
  const csize = spec.ciCompressedSize;
  const end = spec.ciOffset + csize + ChunkInfoHeader.size;
  const size = await source.size(spec.metaObjectId, options);
  checkBlob(
    end <= size,
    'BLOB_BAD_META',
    `blob ${spec.metaObjectId} size`,
    size,
    `at least ${end}, the end of the chunk info`,
  );
  const stored = Buffer.allocUnsafeSlow(csize + ChunkInfoHeader.size);
  await source.read(spec.metaObjectId, spec.ciOffset, stored, options);
  const plain = (bytes: Uint8Array) => (spec.cipher ? decrypt(spec.cipher, bytes) : bytes);
  const table = plain(stored.subarray(0, csize));
  const raw = spec.ciCompressor === 'none' || csize === spec.ciUncompressedSize;
  const info = await codecs.decompress(raw ? 'none' : spec.ciCompressor, table, spec.ciUncompressedSize);
  return { info, header: plain(stored.subarray(csize)) };
}

function toTable(spec: BlobSpec, info: Uint8Array, header: Uint8Array): ChunkInfoTable {
  const decoded = decodeChunkInfoHeader(new DataView(header.buffer, header.byteOffset, header.byteLength));
  checkAgreement(spec, decoded);
  return decodeChunkInfo(info, decoded, {
    features: spec.features,
    chunkCount: spec.chunkCount,
    compressedSize: dataRegionSize(spec),
    uncompressedSize: spec.uncompressedSize,
  });
}

/** The header repeats what the bootstrap's blob row says; a difference means another blob's file. */
function checkAgreement(spec: BlobSpec, header: DecodedChunkInfoHeader): void {
  const rows: [string, number, number][] = [
    ['compressor', header.compressor, compressors.indexOf(spec.ciCompressor)],
    ['offset', header.offset, spec.ciOffset],
    ['compressed_size', header.compressedSize, spec.ciCompressedSize],
    ['uncompressed_size', header.uncompressedSize, spec.ciUncompressedSize],
  ];
  if (!(spec.features & BlobFeature.chunkDictGenerated)) rows.push(['count', header.count, spec.chunkCount]);
  for (const [field, actual, wanted] of rows) {
    checkBlob(
      actual === wanted,
      'BLOB_BAD_META',
      `blob ${spec.id} header.${field}`,
      actual,
      `the bootstrap says ${wanted}`,
    );
  }
}

function align4k(size: number): number {
  return Math.ceil(size / 4096) * 4096;
}
