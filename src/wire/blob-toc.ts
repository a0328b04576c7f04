import { checkBlob } from './blob-error.ts';
import { decodeText, isPlainText, readU64, writeU64 } from './rafs/bytes.ts';

/** A row of a blob's table of contents. storage/src/meta/toc.rs. */
const TocEntryLayout = {
  flags: 0,
  name: 8,
  nameSize: 16,
  digest: 24,
  compressedOffset: 56,
  compressedSize: 64,
  uncompressedSize: 72,
  size: 128,
} as const;

/** Names of sections, in rows and in trailing tar headers. */
export const Section = {
  data: 'image.blob',
  chunkInfo: 'blob.meta',
  chunkInfoHeader: 'blob.meta.header',
  digests: 'blob.digest',
  bootstrap: 'image.boot',
  toc: 'rafs.blob.toc',
} as const;

/** A table of contents with its tar header: the limit of the format. */
export const TOC_BYTES_MAX = 0x10000;
export const TAR_HEADER_BYTES = 512;

export interface TocEntry {
  readonly name: string;
  readonly compressor: 'none' | 'zstd' | 'lz4_block';
  /** SHA-256 of the uncompressed section; all zero: unknown. */
  readonly digest: Uint8Array;
  readonly compressedOffset: number;
  readonly compressedSize: number;
  readonly uncompressedSize: number;
}

const compressorByFlag = new Map([
  [1, 'none'],
  [2, 'zstd'],
  [4, 'lz4_block'],
] as const);

const flagByCompressor = { none: 1, zstd: 2, lz4_block: 4 } as const;

/** The rows of a table of contents, 128 bytes each; names must be at most 16 bytes long. */
export function encodeToc(entries: readonly TocEntry[]): Uint8Array {
  const T = TocEntryLayout;
  const bytes = new Uint8Array(entries.length * T.size);
  const view = new DataView(bytes.buffer);
  for (const [i, entry] of entries.entries()) {
    const at = i * T.size;
    view.setUint32(at + T.flags, flagByCompressor[entry.compressor], true);
    bytes.set(new TextEncoder().encode(entry.name).subarray(0, T.nameSize), at + T.name);
    bytes.set(entry.digest, at + T.digest);
    writeU64(view, at + T.compressedOffset, entry.compressedOffset);
    writeU64(view, at + T.compressedSize, entry.compressedSize);
    writeU64(view, at + T.uncompressedSize, entry.uncompressedSize);
  }
  return bytes;
}

/**
 * Decodes all rows of `bytes` and checks that their sections lie within the first `blobSize` bytes. Throws BlobError.
 */
export function decodeToc(bytes: Uint8Array, blobSize: number): TocEntry[] {
  const bad = 'BLOB_BAD_TOC';
  const T = TocEntryLayout;
  checkBlob(
    bytes.length % T.size === 0 && bytes.length > 0,
    bad,
    'toc size',
    bytes.length,
    'a multiple of 128, not 0',
  );
  checkBlob(
    bytes.length + TAR_HEADER_BYTES <= TOC_BYTES_MAX,
    bad,
    'toc size',
    bytes.length,
    `at most ${TOC_BYTES_MAX} with its header`,
  );
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const entries: TocEntry[] = [];
  for (let at = 0; at < bytes.length; at += T.size) {
    const field = `toc[${at / T.size}]`;
    const flags = view.getUint32(at + T.flags, true);
    const compressor = compressorByFlag.get(flags as 1 | 2 | 4);
    if (compressor === undefined)
      checkBlob(false, bad, `${field}.flags`, flags, '1 (none), 2 (zstd) or 4 (lz4_block)');
    const name = decodeText(bytes.subarray(at + T.name, at + T.name + T.nameSize));
    const named = name !== null && name !== '' && isPlainText(name);
    checkBlob(named, bad, `${field}.name`, JSON.stringify(name), 'UTF-8, not empty, no control characters');
    const entry = {
      name: name!,
      compressor: compressor!,
      digest: bytes.slice(at + T.digest, at + T.digest + 32),
      compressedOffset: readU64(view, at + T.compressedOffset),
      compressedSize: readU64(view, at + T.compressedSize),
      uncompressedSize: readU64(view, at + T.uncompressedSize),
    };
    // Old writers give image.blob an offset equal to its size; nobody reads that section through the table.
    const end = entry.compressedOffset + entry.compressedSize;
    const ok = entry.name === Section.data || end <= blobSize;
    checkBlob(ok, bad, `${field}.compressed_offset+size`, end, `at most ${blobSize}`);
    entries.push(entry);
  }
  return entries;
}

/**
 * Name and size out of a GNU or ustar header of a regular file, or null if `bytes` (512) are not one. Its checksum is
 * verified.
 */
export function decodeTrailingTarHeader(bytes: Uint8Array): { name: string; size: number } | null {
  if (bytes.length !== TAR_HEADER_BYTES) return null;
  const magic = Buffer.from(bytes.buffer, bytes.byteOffset + 257, 5).toString('latin1');
  const type = bytes[156];
  if (magic !== 'ustar' || (type !== 0x30 && type !== 0)) return null;
  let sum = 8 * 0x20;
  for (let i = 0; i < TAR_HEADER_BYTES; i++) if (i < 148 || i >= 156) sum += bytes[i]!;
  if (octal(bytes, 148, 8) !== sum) return null;
  const name = decodeText(bytes.subarray(0, 100));
  const size = tarSize(bytes);
  return name === null || size === null ? null : { name, size };
}

/**
 * The header that stands behind a section of `size` bytes: GNU format, a regular file without owner, mode or time
 * (builder/src/core/context.rs, `write_tar_header`). Sizes from 8 GiB are base-256.
 */
export function encodeTrailingTarHeader(name: string, size: number): Uint8Array {
  const header = Buffer.alloc(TAR_HEADER_BYTES);
  header.write(name, 0, 100, 'utf8');
  if (size < 2 ** 33) header.write(`${size.toString(8).padStart(11, '0')}\0`, 124, 'latin1');
  else {
    header[124] = 0x80;
    for (let at = 135, rest = size; at > 124 && rest > 0; at--, rest = Math.floor(rest / 256))
      header[at] = rest % 256;
  }
  header.write('00000000000\0', 136, 'latin1');
  header.write(' '.repeat(8), 148, 'latin1');
  header[156] = 0x30;
  header.write('ustar  \0', 257, 'latin1');
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(7, '0')}\0`, 148, 'latin1');
  return header;
}

/** Octal, or base-256 (high bit of the first byte) from 8 GiB. */
function tarSize(bytes: Uint8Array): number | null {
  if ((bytes[124]! & 0x80) === 0) return octal(bytes, 124, 12);
  let value = bytes[124]! & 0x7f;
  for (let i = 125; i < 136; i++) value = value * 256 + bytes[i]!;
  return Number.isSafeInteger(value) ? value : null;
}

function octal(bytes: Uint8Array, at: number, length: number): number | null {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset + at, length).toString('latin1');
  const match = /^ *([0-7]+)[ \0]*$/.exec(text);
  return match ? Number.parseInt(match[1]!, 8) : null;
}
