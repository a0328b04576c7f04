import { blobSpec } from '../../rafs/blob-spec.ts';
import type { BlobRow, Bootstrap } from '../../rafs/bootstrap.ts';
import { dataRegionSize } from '../../wire/rafs/blob-spec.ts';
import type { DecodedChunk } from '../../wire/rafs/chunk.ts';
import { BlobFeature, type Digester, SuperFlag } from '../../wire/rafs/flags.ts';
import { decodeBlobsV5 } from '../../wire/rafs/superblock-v5.ts';
import { debugText } from '../model/debug-text.ts';
import type { EntryAttributes } from '../read/entry-reader.ts';
import type { WalkEntry } from '../read/tree-walk.ts';

/** Upstream's names of the flags, from bit 0. rafs/src/metadata/mod.rs. */
const SUPER_FLAG_NAMES: readonly (readonly [number, string])[] = [
  [SuperFlag.compressorNone, 'COMPRESSION_NONE'],
  [SuperFlag.compressorLz4Block, 'COMPRESSION_LZ4'],
  [SuperFlag.digesterBlake3, 'HASH_BLAKE3'],
  [SuperFlag.digesterSha256, 'HASH_SHA256'],
  [SuperFlag.explicitUidGid, 'EXPLICIT_UID_GID'],
  [SuperFlag.hasXattr, 'HAS_XATTR'],
  [SuperFlag.compressorGzip, 'COMPRESSION_GZIP'],
  [SuperFlag.compressorZstd, 'COMPRESSION_ZSTD'],
  [SuperFlag.inlinedChunkDigest, 'INLINED_CHUNK_DIGEST'],
  [SuperFlag.tarfs, 'TARTFS_MODE'],
  [SuperFlag.encryptionNone, 'ENCRYPTION_NONE'],
  [SuperFlag.encryptionAes128Xts, 'ENCRYPTION_ASE_128_XTS'],
];
/** Upstream's names of blob features, in its order. storage/src/device.rs. */
const FEATURE_NAMES: readonly (readonly [number, string])[] = [
  [BlobFeature.aligned, 'ALIGNED'],
  [BlobFeature.inlinedFsMeta, 'INLINED_FS_META'],
  [BlobFeature.chunkInfoV2, 'CHUNK_INFO_V2'],
  [BlobFeature.zran, 'ZRAN'],
  [BlobFeature.separate, 'SEPARATE'],
  [BlobFeature.inlinedChunkDigest, 'INLINED_CHUNK_DIGEST'],
  [BlobFeature.tarfs, 'TARFS'],
  [BlobFeature.batch, 'BATCH'],
  [BlobFeature.encrypted, 'ENCRYPTED'],
  [BlobFeature.hasTarHeader, 'HAS_TAR_HEADER'],
  [BlobFeature.hasToc, 'HAS_TOC'],
  [BlobFeature.capTarToc, 'CAP_TAR_TOC'],
  [BlobFeature.v5NoExtBlobTable, '_V5_NO_EXT_BLOB_TABLE'],
  [BlobFeature.chunkDictGenerated, 'IS_CHUNKDICT_GENERATED'],
  [BlobFeature.separatedWithPrefetchFiles, 'IS_SEPARATED_WITH_PREFETCH_FILES'],
  [BlobFeature.external, 'EXTERNAL'],
];
const DIGESTER_NAMES: Readonly<Record<Digester, string>> = { blake3: 'Blake3', sha256: 'Sha256' };
const COLUMN = 32;

/** What `help` shows. */
export const USAGE = `
    stats          superblock: version, sizes, flags, tables
    ls             entries of the current directory: type, inode, name
    cd DIR         go to a directory: one of this directory, . or ..
    stat NAME      attributes of a file of this directory, or of . itself, and the chunks of the file
    blobs          blob table
    prefetch       files that are read ahead at mount
    chunk OFFSET   files that have the chunk which is stored at this offset of a blob
    icheck INODE   every path of an inode, and its attributes
    exit           end (also: q, or the end of the input)

    A name with spaces or unusual bytes can be given as ls shows it, in quotes.
`;

/** `stats`. */
export function statsText(bootstrap: Bootstrap): string {
  const { superMeta: meta } = bootstrap;
  return `
    Version:                ${bootstrap.version}
    Inodes Count:           ${bootstrap.inodesCount}
    Chunk Size:             ${bootstrap.chunkSize / 1024}KB
    Root Inode:             ${bootstrap.rootLo}
    Flags:                  ${names(bootstrap.flags, SUPER_FLAG_NAMES)}
    Blob table offset:      0x${meta.blob_table_offset.toString(16)}
    Blob table size:        0x${meta.blob_table_size.toString(16)}
    Prefetch table offset:  0x${meta.prefetch_table_offset.toString(16)}
    Prefetch table entries: 0x${meta.prefetch_table_entries.toString(16)}
    Chunk table offset:     0x${meta.chunk_table_offset.toString(16)}
    Chunk table size:       0x${meta.chunk_table_size.toString(16)}
    \n`;
}

/** Bytes at the head of a blob to read ahead: only v5 has them. */
export function readahead(bootstrap: Bootstrap, row: BlobRow): { offset: number; size: number } {
  if (bootstrap.version === 6) return { offset: 0, size: row.readaheadSize };
  const blob = decodeBlobsV5(bootstrap.view, bootstrap.superblock)[row.index]!;
  return { offset: blob.readaheadOffset, size: blob.readaheadSize };
}

/** One blob of `blobs`. The key of an encrypted one, which stands in the place of the digest, is not shown. */
export function blobText(bootstrap: Bootstrap, row: BlobRow, path: string): string {
  const spec = blobSpec(row, bootstrap, path);
  const ahead = readahead(bootstrap, row);
  const mapped = bootstrap.version === 6 ? (bootstrap.devices[row.index]?.mappedBlockAddress ?? 0) : 0;
  const hex = (bytes: Uint8Array | null) => Buffer.from(bytes ?? new Uint8Array(32)).toString('hex');
  return `
Blob Index:             ${row.index}
Blob ID:                ${spec.id}
Raw Blob ID:            ${row.id}
Blob Size:              ${row.compressedSize}
Compressed Data Size:   ${dataRegionSize(spec)}
Uncompressed Data Size: ${row.uncompressedSize}
Mapped Block Address:   ${mapped}
Features:               ${names(row.features, FEATURE_NAMES)}
Compressor:             ${row.compressor}
Digester:               ${DIGESTER_NAMES[row.digester]}
Cipher:                 ${row.cipherKey === null ? 'None' : 'Aes128Xts'}
Chunk Size:             0x${bootstrap.chunkSize.toString(16)}
Chunk Count:            ${row.chunkCount}
Prefetch Table Offset:  ${ahead.offset}
Prefetch Table Size:    ${ahead.size}
Meta Compressor:        ${row.ciCompressor}
Meta Offset:            ${row.ciOffset}
Meta Compressed Size:   ${row.ciCompressedSize}
Meta Uncompressed Size: ${row.ciUncompressedSize}
ToC Digest:             ${hex(row.tocDigest)}
ToC Size:               ${row.tocSize}
RAFS Blob Digest:       ${hex(row.metaDigest)}
RAFS Blob Size:         ${row.metaSize}
`;
}

/** What `stat` and `icheck` show of an inode. */
export function inodeText(
  { lo, parentLo, name, mode }: WalkEntry,
  attr: EntryAttributes & { uid: number; gid: number },
): string {
  return `
Inode Number:       ${lo}
Name:               ${debugText(name)}
Size:               ${attr.size}
Parent:             ${parentLo}
Mode:               0x${mode.toString(16).toUpperCase()}
Permissions:        ${mode.toString(8)}
Nlink:              ${attr.nlink}
UID:                ${attr.uid}
GID:                ${attr.gid}
Mtime:              ${attr.mtime}
MtimeNsec:          ${attr.mtimeNs}
Blocks:             ${attr.blocks}
`;
}

/** One chunk of a file's list; `i` is its place in the file. */
export function chunkOfFileText(chunk: DecodedChunk, i: number, chunkSize: number, blobId: string): string {
  return `        ${i} ->
        file offset: ${i * chunkSize}, chunk index: ${chunk.index}
        compressed size: ${chunk.compressedSize}, decompressed size: ${chunk.uncompressedSize}
        compressed offset: ${chunk.compressedOffset}, decompressed offset: ${chunk.uncompressedOffset}
        blob id: ${blobId}
        chunk id: ${Buffer.from(chunk.digest).toString('hex')}
    \n`;
}

/** A file that has a chunk; `directory` with a slash at its end. */
export function chunkUserText(
  name: Uint8Array,
  directory: string,
  chunk: DecodedChunk,
  blobId: string,
): string {
  const file = Buffer.from(name).toString();
  return `
File: ${pad(file)} Parent Path: ${pad(directory)}
Compressed Offset: ${chunk.compressedOffset}, Compressed Size: ${chunk.compressedSize}
Decompressed Offset: ${chunk.uncompressedOffset}, Decompressed Size: ${chunk.uncompressedSize}
Chunk ID: ${Buffer.from(chunk.digest).toString('hex')},
Blob ID: ${blobId}
\n`;
}

function pad(text: string): string {
  return text + ' '.repeat(Math.max(0, COLUMN - [...text].length));
}

function names(bits: number, known: readonly (readonly [number, string])[]): string {
  const set = known.flatMap(([bit, name]) => (bits & bit ? [name] : []));
  return set.length === 0 ? '(empty)' : set.join(' | ');
}
