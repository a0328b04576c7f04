import { checkRafs, RafsError } from '../wire/rafs/error.ts';
import { BlobFeature, compressorOf, compressors, digesterOf, digesters } from '../wire/rafs/flags.ts';
import { INODE_SLOT } from '../wire/rafs/inode-v6.ts';
import * as v5 from '../wire/rafs/superblock-v5.ts';
import * as v6 from '../wire/rafs/superblock-v6.ts';
import {
  type BlobRow,
  BOOTSTRAP_BYTES_MAX,
  type Bootstrap,
  type BootstrapV5,
  type BootstrapV6,
  type SuperMeta,
} from './bootstrap.ts';
import { withLegacyChunks } from './legacy-chunks.ts';

/** Detects the version, decodes and checks superblock and tables. Keeps `buffer`, copies nothing. Throws RafsError. */
export function openBootstrap(buffer: ArrayBuffer, name: string): Bootstrap {
  const view = new DataView(buffer);
  try {
    if (v5.isSuperblockV5(view)) return openV5(view, name);
    if (v6.isSuperblockV6(view)) return openV6(view, name);
  } catch (error) {
    if (error instanceof RafsError)
      throw new RafsError(error.code, `${name}: ${error.message}`, { cause: error });
    throw error;
  }
  throw new RafsError(
    'RAFS_NOT_A_BOOTSTRAP',
    `${name}: neither a RAFS v5 superblock at 0 nor a v6 one at 1024`,
  );
}

function openV5(view: DataView, name: string): BootstrapV5 {
  checkRafs(
    view.byteLength <= BOOTSTRAP_BYTES_MAX[5],
    'RAFS_TOO_LARGE',
    'bootstrap size',
    view.byteLength,
    'at most 2 GiB in v5',
  );
  const superblock = v5.decodeSuperblockV5(view);
  const { inodeTableEntries, prefetchTableEntries, prefetchTableOffset } = superblock;
  return withLegacyChunks({
    version: 5,
    legacyOffsets: null,
    name,
    view,
    bytes: new Uint8Array(view.buffer as ArrayBuffer),
    superblock,
    chunkSize: superblock.chunkSize,
    flags: superblock.flags,
    blobs: v5.decodeBlobsV5(view, superblock).map((blob, index) => rowV5(blob, index, superblock.flags)),
    prefetch: decodePrefetch(view, prefetchTableOffset, prefetchTableEntries, inodeTableEntries),
    rootLo: 1,
    inodesCount: superblock.inodesCount,
    superMeta: {
      ...superMetaBase(superblock.flags, superblock.chunkSize),
      magic: v5.MAGIC_V5,
      version: v5.VERSION_V5,
      sb_size: v5.SuperblockV5.size,
      inodes_count: superblock.inodesCount,
      inode_table_entries: inodeTableEntries,
      inode_table_offset: superblock.inodeTableOffset,
      blob_table_size: superblock.blobTableSize,
      blob_table_offset: superblock.blobTableOffset,
      extended_blob_table_offset: superblock.extBlobTableOffset,
      extended_blob_table_entries: superblock.extBlobTableEntries,
      prefetch_table_offset: prefetchTableOffset,
      prefetch_table_entries: prefetchTableEntries,
    },
  });
}

function openV6(view: DataView, name: string): BootstrapV6 {
  checkRafs(
    view.byteLength <= BOOTSTRAP_BYTES_MAX[6],
    'RAFS_TOO_LARGE',
    'bootstrap size',
    view.byteLength,
    'less than 4 GiB',
  );
  const superblock = v6.decodeSuperblockV6(view);
  const { prefetchTableOffset, prefetchTableSize, metaBlockAddress, blockSize } = superblock;
  const devices = v6.decodeDevices(view, superblock);
  const nids = Math.floor((view.byteLength - metaBlockAddress * blockSize) / INODE_SLOT);
  checkRafs(
    superblock.rootNid < nids,
    'RAFS_BAD_SUPERBLOCK',
    's_root_nid',
    superblock.rootNid,
    `below ${nids}: inside the bootstrap`,
  );
  return {
    version: 6,
    name,
    view,
    bytes: new Uint8Array(view.buffer as ArrayBuffer),
    superblock,
    devices,
    chunkSize: superblock.chunkSize,
    flags: superblock.flags,
    blobs: v6.decodeBlobsV6(view, superblock).map(rowV6),
    prefetch: decodePrefetch(view, prefetchTableOffset, prefetchTableSize / 4, nids),
    rootLo: superblock.rootNid,
    inodesCount: superblock.inos,
    superMeta: {
      ...superMetaBase(superblock.flags, superblock.chunkSize),
      magic: v6.MAGIC_V6,
      version: 0x600,
      inodes_count: superblock.inos,
      blob_table_size: superblock.blobTableSize,
      blob_table_offset: superblock.blobTableOffset,
      blob_device_table_count: superblock.extraDevices,
      blob_device_table_offset: v6.DeviceV6.base,
      prefetch_table_offset: prefetchTableOffset,
      prefetch_table_entries: prefetchTableSize / 4,
      meta_blkaddr: metaBlockAddress,
      root_nid: superblock.rootNid,
      chunk_table_offset: superblock.chunkTableOffset,
      chunk_table_size: superblock.chunkTableSize,
    },
  };
}

function superMetaBase(flags: number, chunkSize: number): SuperMeta {
  // The original's "for ever": a number of seconds, not a flag.
  const forever = { secs: 0x1_0000_0000, nanos: 0 };
  return {
    magic: 0,
    version: 0,
    sb_size: 0,
    root_inode: 0,
    chunk_size: chunkSize,
    batch_size: 0,
    inodes_count: 0,
    flags: { bits: flags },
    inode_table_entries: 0,
    inode_table_offset: 0,
    blob_table_size: 0,
    blob_table_offset: 0,
    extended_blob_table_offset: 0,
    extended_blob_table_entries: 0,
    blob_device_table_count: 0,
    blob_device_table_offset: 0,
    prefetch_table_offset: 0,
    prefetch_table_entries: 0,
    attr_timeout: forever,
    entry_timeout: forever,
    is_chunk_dict: false,
    meta_blkaddr: 0,
    root_nid: 0,
    chunk_table_offset: 0,
    chunk_table_size: 0,
  };
}

/** A 0 ends the list; numbers no inode can have are left out, as prefetching is a hint. */
function decodePrefetch(view: DataView, offset: number, entries: number, limit: number): number[] {
  const list: number[] = [];
  for (let i = 0; i < entries; i++) {
    const lo = view.getUint32(offset + i * 4, true);
    if (lo === 0) break;
    if (lo <= limit) list.push(lo);
  }
  return list;
}

const NO_DIGEST: Uint8Array = new Uint8Array(32);
/** Features a v5 row may have; the reader drops the others, as the original does. */
const FEATURES_V5 = (0x0fff | 0x7000_0000) >>> 0;

function rowV5(blob: v5.BlobV5, index: number, flags: number): BlobRow {
  checkRafs(
    blob.chunkCount <= 1 << 24,
    'RAFS_BAD_BLOB',
    `blob[${index}].chunk_count`,
    blob.chunkCount,
    'at most 2^24',
  );
  for (const field of ['uncompressedSize', 'compressedSize'] as const) {
    checkRafs(blob[field] < 2 ** 53, 'RAFS_BAD_BLOB', `blob[${index}].${field}`, blob[field], 'below 2^53');
  }
  return {
    index,
    id: blob.id,
    features: (blob.extended ? blob.features & FEATURES_V5 : BlobFeature.v5NoExtBlobTable) >>> 0,
    compressor: compressorOf(flags),
    digester: digesterOf(flags),
    chunkCount: blob.chunkCount,
    compressedSize: blob.compressedSize,
    uncompressedSize: blob.uncompressedSize,
    readaheadSize: blob.readaheadSize,
    ciOffset: 0,
    ciCompressedSize: 0,
    ciUncompressedSize: 0,
    ciCompressor: 'none',
    tocSize: 0,
    tocDigest: NO_DIGEST,
    metaDigest: null,
    metaSize: 0,
    cipherKey: null,
    cipherIv: null,
  };
}

function rowV6(blob: v6.BlobV6, index: number): BlobRow {
  const encrypted = blob.cipher !== 0;
  const separate = (blob.features & BlobFeature.separate) !== 0;
  return {
    index,
    id: blob.id,
    features: blob.features,
    compressor: compressors[blob.compressor]!,
    digester: digesters[blob.digester]!,
    chunkCount: blob.chunkCount,
    compressedSize: blob.compressedSize,
    uncompressedSize: blob.uncompressedSize,
    readaheadSize: 0,
    ciOffset: blob.ciOffset,
    ciCompressedSize: blob.ciCompressedSize,
    ciUncompressedSize: blob.ciUncompressedSize,
    ciCompressor: compressors[blob.ciCompressor]!,
    tocSize: blob.tocSize,
    tocDigest: blob.tocDigest,
    metaDigest: separate && !encrypted ? blob.metaDigest : null,
    metaSize: separate && !encrypted ? blob.metaSize : 0,
    cipherKey: encrypted ? blob.metaDigest : null,
    cipherIv: encrypted ? blob.cipherIv : null,
  };
}
