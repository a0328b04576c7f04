import { check, RafsError } from '../wire/rafs/error.ts';
import {
  BlobFeature,
  type Compressor,
  compressorOf,
  compressors,
  type Digester,
  digesterOf,
  digesters,
} from '../wire/rafs/flags.ts';
import { INODE_SLOT } from '../wire/rafs/inode-v6.ts';
import * as v5 from '../wire/rafs/superblock-v5.ts';
import * as v6 from '../wire/rafs/superblock-v6.ts';
import { withLegacyChunks } from './legacy-chunks.ts';

/**
 * A data blob as the bootstrap describes it. For v5, whose table has fewer columns, compressor and digester are the image's and the
 * chunk-info fields are 0. Sizes and offsets in bytes.
 */
export interface BlobRow {
  readonly index: number;
  /** As stored: 64 × 'x' where the bootstrap is inlined in the blob and the blob's name must take its place. */
  readonly id: string;
  readonly features: number;
  readonly compressor: Compressor;
  readonly digester: Digester;
  readonly chunkCount: number;
  /** Size of the blob object (or, in old images, of its chunk data). */
  readonly compressedSize: number;
  readonly uncompressedSize: number;
  /** Bytes at the head of the blob worth reading ahead (v5, prefetch policy `blob`). */
  readonly readaheadSize: number;
  readonly ciOffset: number;
  readonly ciCompressedSize: number;
  readonly ciUncompressedSize: number;
  readonly ciCompressor: Compressor;
  readonly tocSize: number;
  readonly tocDigest: Uint8Array;
  /** SHA-256 and size of the separate meta blob; null digest where there is none. */
  readonly metaDigest: Uint8Array | null;
  readonly metaSize: number;
  /** AES-128-XTS key (32 bytes) and IV (16), where chunks are encrypted. */
  readonly cipherKey: Uint8Array | null;
  readonly cipherIv: Uint8Array | null;
}

/** The superblock in the words of `GET /api/v1/daemon/backend`; fields of the other version are 0. */
export interface SuperMeta {
  readonly magic: number;
  readonly version: number;
  readonly sb_size: number;
  readonly root_inode: number;
  readonly chunk_size: number;
  readonly batch_size: number;
  readonly inodes_count: number;
  readonly flags: { readonly bits: number };
  readonly inode_table_entries: number;
  readonly inode_table_offset: number;
  readonly blob_table_size: number;
  readonly blob_table_offset: number;
  readonly extended_blob_table_offset: number;
  readonly extended_blob_table_entries: number;
  readonly blob_device_table_count: number;
  readonly blob_device_table_offset: number;
  readonly prefetch_table_offset: number;
  readonly prefetch_table_entries: number;
  readonly attr_timeout: { readonly secs: number; readonly nanos: number };
  readonly entry_timeout: { readonly secs: number; readonly nanos: number };
  readonly is_chunk_dict: boolean;
  readonly meta_blkaddr: number;
  readonly root_nid: number;
  readonly chunk_table_offset: number;
  readonly chunk_table_size: number;
}

interface Common {
  /** For messages: a path or mountpoint. */
  readonly name: string;
  readonly view: DataView;
  readonly bytes: Uint8Array;
  readonly chunkSize: number;
  readonly flags: number;
  readonly blobs: readonly BlobRow[];
  /** Inode numbers (v5) or nids (v6) to prefetch; a directory stands for all below it. */
  readonly prefetch: readonly number[];
  /** Inode number of the root as the nodeid shows it: 1, or the root nid. */
  readonly rootLo: number;
  readonly inodesCount: number;
  readonly superMeta: SuperMeta;
}

/** A checked bootstrap; inodes are checked when they are touched. */
export type Bootstrap = BootstrapV5 | BootstrapV6;
export interface BootstrapV5 extends Common {
  readonly version: 5;
  readonly superblock: v5.DecodedSuperblockV5;
  /** Images without chunk indices: by blob, the sorted uncompressed offsets of its chunks, whose places are the indices. Otherwise null. */
  readonly legacyOffsets: readonly Float64Array[] | null;
}
export interface BootstrapV6 extends Common {
  readonly version: 6;
  readonly superblock: v6.DecodedSuperblockV6;
  readonly devices: readonly v6.DeviceSlot[];
}

/** Largest bootstrap of each version: v5 by its format, v6 so that offsets fit 32 bits. */
export const BOOTSTRAP_BYTES_MAX: { readonly 5: number; readonly 6: number } = {
  5: 0x8000_0000,
  6: 0xffff_f000,
};

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
  check(
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
  check(
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
  check(
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
  check(
    blob.chunkCount <= 1 << 24,
    'RAFS_BAD_BLOB',
    `blob[${index}].chunk_count`,
    blob.chunkCount,
    'at most 2^24',
  );
  for (const field of ['uncompressedSize', 'compressedSize'] as const) {
    check(blob[field] < 2 ** 53, 'RAFS_BAD_BLOB', `blob[${index}].${field}`, blob[field], 'below 2^53');
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
