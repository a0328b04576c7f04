import { decodeBlobId } from './blob-id.ts';
import { isPowerOfTwo, readU64 } from './bytes.ts';
import { check } from './error.ts';
import { CHUNK_SIZE_MAX, CHUNK_SIZE_MIN, checkSuperFlags } from './flags.ts';

/** RAFS v5 superblock, the first 8192 bytes of the bootstrap. rafs/src/metadata/layout/v5.rs. */
export const SuperblockV5 = {
  magic: 0,
  version: 4,
  superblockSize: 8,
  /** Called block size upstream; is the chunk size. */
  chunkSize: 12,
  flags: 16,
  inodesCount: 24,
  inodeTableOffset: 32,
  prefetchTableOffset: 40,
  blobTableOffset: 48,
  inodeTableEntries: 56,
  prefetchTableEntries: 60,
  blobTableSize: 64,
  extBlobTableEntries: 68,
  extBlobTableOffset: 72,
  size: 8192,
} as const;

export const MAGIC_V5 = 0x52414653;
export const VERSION_V5 = 0x500;

/** Extended blob table entry. */
export const ExtBlobV5 = {
  chunkCount: 0,
  features: 4,
  uncompressedSize: 8,
  compressedSize: 16,
  size: 64,
} as const;

/** A checked v5 superblock: every table lies inside the file and overlaps no other. */
export interface DecodedSuperblockV5 {
  readonly chunkSize: number;
  readonly flags: number;
  readonly inodesCount: number;
  readonly inodeTableOffset: number;
  readonly inodeTableEntries: number;
  readonly prefetchTableOffset: number;
  readonly prefetchTableEntries: number;
  readonly blobTableOffset: number;
  readonly blobTableSize: number;
  readonly extBlobTableOffset: number;
  readonly extBlobTableEntries: number;
}

/**
 * A row of the v5 blob table joined with its extended entry. Without one, sizes and chunk count are 0 and `extended` is
 * false.
 */
export interface BlobV5 {
  readonly id: string;
  readonly readaheadOffset: number;
  readonly readaheadSize: number;
  readonly extended: boolean;
  readonly chunkCount: number;
  readonly features: number;
  readonly uncompressedSize: number;
  readonly compressedSize: number;
}

/** Whether the bytes begin with a v5 superblock's magic and version. */
export function isSuperblockV5(view: DataView): boolean {
  return (
    view.byteLength >= 8 && view.getUint32(0, true) === MAGIC_V5 && view.getUint32(4, true) === VERSION_V5
  );
}

/** Decodes and checks the superblock; `view` spans the whole bootstrap. Throws RafsError. */
export function decodeSuperblockV5(view: DataView): DecodedSuperblockV5 {
  const S = SuperblockV5;
  const bad = 'RAFS_BAD_SUPERBLOCK';
  const length = view.byteLength;
  check(length > S.size, bad, 'bootstrap size', length, `more than ${S.size} bytes`);
  check(length % 8 === 0, bad, 'bootstrap size', length, 'a multiple of 8');
  const superblockSize = view.getUint32(S.superblockSize, true);
  check(superblockSize === S.size, bad, 'sb_size', superblockSize, `must be ${S.size}`);
  const chunkSize = view.getUint32(S.chunkSize, true);
  const sizeOk = isPowerOfTwo(chunkSize) && chunkSize >= CHUNK_SIZE_MIN && chunkSize <= CHUNK_SIZE_MAX;
  check(sizeOk, bad, 'block_size', chunkSize, 'a power of two from 4096 to 16 MiB');
  checkSuperFlags(view.getUint32(S.flags, true), view.getUint32(S.flags + 4, true));
  const sb: DecodedSuperblockV5 = {
    chunkSize,
    flags: view.getUint32(S.flags, true),
    inodesCount: readU64(view, S.inodesCount),
    inodeTableOffset: readU64(view, S.inodeTableOffset),
    inodeTableEntries: view.getUint32(S.inodeTableEntries, true),
    prefetchTableOffset: readU64(view, S.prefetchTableOffset),
    prefetchTableEntries: view.getUint32(S.prefetchTableEntries, true),
    blobTableOffset: readU64(view, S.blobTableOffset),
    blobTableSize: view.getUint32(S.blobTableSize, true),
    extBlobTableOffset: readU64(view, S.extBlobTableOffset),
    extBlobTableEntries: view.getUint32(S.extBlobTableEntries, true),
  };
  check(sb.inodeTableEntries > 0, bad, 'inode_table_entries', 0, 'the root has an entry');
  check(
    sb.inodesCount <= sb.inodeTableEntries,
    bad,
    'inodes_count',
    sb.inodesCount,
    `at most inode_table_entries (${sb.inodeTableEntries})`,
  );
  checkTables(sb, length);
  return sb;
}

function checkTables(sb: DecodedSuperblockV5, length: number): void {
  const tables: Table[] = [
    { field: 'inode_table', start: sb.inodeTableOffset, size: sb.inodeTableEntries * 4 },
    { field: 'blob_table', start: sb.blobTableOffset, size: sb.blobTableSize },
  ];
  if (sb.extBlobTableOffset > 0 && sb.extBlobTableEntries > 0) {
    tables.push({
      field: 'extended_blob_table',
      start: sb.extBlobTableOffset,
      size: sb.extBlobTableEntries * ExtBlobV5.size,
    });
  }
  if (sb.prefetchTableEntries > 0) {
    tables.push({
      field: 'prefetch_table',
      start: sb.prefetchTableOffset,
      size: sb.prefetchTableEntries * 4,
    });
  }
  checkDisjoint(tables, SuperblockV5.size, length, 8);
}

/** A table's place in the bootstrap, in bytes. */
export interface Table {
  readonly field: string;
  readonly start: number;
  readonly size: number;
}

/** Refuses tables that are misaligned, outside [from, to) or overlapping. */
export function checkDisjoint(tables: readonly Table[], from: number, to: number, alignment: number): void {
  for (const { field, start, size } of tables) {
    check(start % alignment === 0, 'RAFS_BAD_TABLE', `${field} offset`, start, `a multiple of ${alignment}`);
    const inside = start >= from && start <= to && size <= to - start;
    check(inside, 'RAFS_BAD_TABLE', field, `${start}+${size}`, `inside ${from}…${to}`);
  }
  const sorted = tables.filter((table) => table.size > 0).sort((a, b) => a.start - b.start);
  for (let i = 1; i < sorted.length; i++) {
    const previous = sorted[i - 1]!;
    const { field, start } = sorted[i]!;
    const apart = previous.start + previous.size <= start;
    check(
      apart,
      'RAFS_BAD_TABLE',
      `${field} offset`,
      start,
      `behind ${previous.field}, which ends at ${previous.start + previous.size}`,
    );
  }
}

/** Decodes the blob table and its extension. Throws RafsError. */
export function decodeBlobsV5(view: DataView, sb: DecodedSuperblockV5): BlobV5[] {
  const bytes = new Uint8Array(view.buffer, view.byteOffset + sb.blobTableOffset, sb.blobTableSize);
  const extended = sb.extBlobTableOffset > 0 && sb.extBlobTableEntries > 0;
  const blobs: BlobV5[] = [];
  // Padding is at most 7 zero bytes, so anything longer than a row's 8-byte head is a row.
  for (let at = 0; bytes.length - at > 8; ) {
    const nul = bytes.indexOf(0, at + 8);
    const end = nul < 0 ? bytes.length : nul;
    const field = `blob_table[${blobs.length}].blob_id`;
    check(blobs.length < 255, 'RAFS_BAD_BLOB', 'blob_table rows', blobs.length + 1, 'at most 255');
    if (extended) {
      const rule = `one for each blob (${blobs.length + 1})`;
      check(
        blobs.length < sb.extBlobTableEntries,
        'RAFS_BAD_BLOB',
        'extended_blob_table_entries',
        sb.extBlobTableEntries,
        rule,
      );
    }
    blobs.push({
      id: decodeBlobId(bytes.subarray(at + 8, end), field),
      readaheadOffset: view.getUint32(sb.blobTableOffset + at, true),
      readaheadSize: view.getUint32(sb.blobTableOffset + at + 4, true),
      ...decodeExtended(view, extended ? sb.extBlobTableOffset + blobs.length * ExtBlobV5.size : -1),
    });
    at = end + 1;
  }
  return blobs;
}

function decodeExtended(
  view: DataView,
  at: number,
): Omit<BlobV5, 'id' | 'readaheadOffset' | 'readaheadSize'> {
  if (at < 0) return { extended: false, chunkCount: 0, features: 0, uncompressedSize: 0, compressedSize: 0 };
  return {
    extended: true,
    chunkCount: view.getUint32(at + ExtBlobV5.chunkCount, true),
    features: view.getUint32(at + ExtBlobV5.features, true),
    uncompressedSize: readU64(view, at + ExtBlobV5.uncompressedSize),
    compressedSize: readU64(view, at + ExtBlobV5.compressedSize),
  };
}
