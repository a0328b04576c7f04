import type { Compressor, Digester } from '../wire/rafs/flags.ts';
import type { DecodedSuperblockV5 } from '../wire/rafs/superblock-v5.ts';
import type { DecodedSuperblockV6, DeviceSlot } from '../wire/rafs/superblock-v6.ts';

/**
 * A data blob as the bootstrap describes it. For v5, whose table has fewer columns, compressor and digester are the
 * image's and the chunk-info fields are 0. Sizes and offsets in bytes.
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
  readonly superblock: DecodedSuperblockV5;
  /**
   * Images without chunk indices: by blob, the sorted uncompressed offsets of its chunks, whose places are
   * the indices. Otherwise null.
   */
  readonly legacyOffsets: readonly Float64Array[] | null;
}
export interface BootstrapV6 extends Common {
  readonly version: 6;
  readonly superblock: DecodedSuperblockV6;
  readonly devices: readonly DeviceSlot[];
}

/** Largest bootstrap of each version: v5 by its format, v6 so that offsets fit 32 bits. */
export const BOOTSTRAP_BYTES_MAX: { readonly 5: number; readonly 6: number } = {
  5: 0x8000_0000,
  6: 0xffff_f000,
};
