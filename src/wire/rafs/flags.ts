import { checkRafs } from './error.ts';

/** Chunk sizes a superblock may name. */
export const CHUNK_SIZE_MIN = 0x1000;
export const CHUNK_SIZE_MAX = 0x1000000;
/** Chunks in one blob: the index has 24 bits in a v6 chunk address. */
export const CHUNKS_PER_BLOB_MAX = 0x1000000;
/** Stands in a blob table where the bootstrap is inlined in the blob, whose id depends on it. */
export const UNKNOWN_BLOB_ID: string = 'x'.repeat(64);
/** NAME_MAX of Linux; longer names cannot be shown to a kernel. */
export const NAME_MAX = 255;

/** Superblock flags, one bit set for v5 (`s_flags`) and the v6 extended superblock. rafs/src/metadata/mod.rs. */
export const SuperFlag = {
  compressorNone: 0x1,
  compressorLz4Block: 0x2,
  digesterBlake3: 0x4,
  digesterSha256: 0x8,
  /** Owners in inodes are meaningful; otherwise the mount's owner is shown. */
  explicitUidGid: 0x10,
  hasXattr: 0x20,
  compressorGzip: 0x40,
  compressorZstd: 0x80,
  inlinedChunkDigest: 0x100,
  tarfs: 0x200,
  encryptionNone: 0x0100_0000,
  encryptionAes128Xts: 0x0200_0000,
} as const;

const COMPRESSOR_BITS = 0x1 | 0x2 | 0x40 | 0x80;
const DIGESTER_BITS = 0x4 | 0x8;
/** Known bits and the six reserved ones which a reader must accept. */
const ACCEPTED_BITS = (0x3ff | 0xff00_0000) >>> 0;

/** Blob features, a u32. storage/src/device.rs. */
export const BlobFeature = {
  aligned: 0x1,
  inlinedFsMeta: 0x2,
  chunkInfoV2: 0x4,
  zran: 0x8,
  /** Chunk info lives in an object of its own, named by its digest. */
  separate: 0x10,
  inlinedChunkDigest: 0x20,
  tarfs: 0x40,
  batch: 0x80,
  encrypted: 0x100,
  chunkDictGenerated: 0x200,
  separatedWithPrefetchFiles: 0x400,
  external: 0x800,
  hasTarHeader: 0x1000_0000,
  hasToc: 0x2000_0000,
  capTarToc: 0x4000_0000,
  /** Only ever set in memory: a v5 image without extended blob table. */
  v5NoExtBlobTable: 0x8000_0000,
} as const;

/** Feature bits a v6 row may have on disk. */
export const BLOB_FEATURES_KNOWN: number = (0x0fff | 0x7000_0000) >>> 0;

/** Compressor ids of blob rows, chunk-info headers and TOCs. utils/src/compress/mod.rs. */
export const compressors = ['none', 'lz4_block', 'gzip', 'zstd'] as const;
export type Compressor = (typeof compressors)[number];

/** Digester ids: the index, not the flag bit. utils/src/digest.rs. */
export const digesters = ['blake3', 'sha256'] as const;
export type Digester = (typeof digesters)[number];

/** Refuses unknown superblock flags: they change the meaning of what follows. `hi` are bits 32…63. */
export function checkSuperFlags(lo: number, hi: number): void {
  const unknown = (lo & ~ACCEPTED_BITS) >>> 0;
  checkRafs(
    unknown === 0 && hi === 0,
    'RAFS_BAD_FLAGS',
    'flags',
    hex(hi, lo),
    `unknown bits ${hex(hi, unknown)}`,
  );
}

/** v6 demands exactly one compressor and one digester bit. */
export function checkSingleAlgorithms(flags: number): void {
  checkRafs(
    oneBit(flags & COMPRESSOR_BITS),
    'RAFS_BAD_FLAGS',
    'flags',
    hex(0, flags),
    'exactly one compressor bit',
  );
  checkRafs(
    oneBit(flags & DIGESTER_BITS),
    'RAFS_BAD_FLAGS',
    'flags',
    hex(0, flags),
    'exactly one digester bit',
  );
}

/** Compressor of an image; lz4_block where no bit says it. */
export function compressorOf(flags: number): Compressor {
  if (flags & SuperFlag.compressorNone) return 'none';
  if (flags & SuperFlag.compressorLz4Block) return 'lz4_block';
  if (flags & SuperFlag.compressorGzip) return 'gzip';
  return flags & SuperFlag.compressorZstd ? 'zstd' : 'lz4_block';
}

/** Digester of an image; blake3 where no bit says it. */
export function digesterOf(flags: number): Digester {
  if (flags & SuperFlag.digesterBlake3) return 'blake3';
  return flags & SuperFlag.digesterSha256 ? 'sha256' : 'blake3';
}

function oneBit(bits: number): boolean {
  return bits !== 0 && (bits & (bits - 1)) === 0;
}

function hex(hi: number, lo: number): string {
  return `0x${(BigInt(hi >>> 0) * 0x1_0000_0000n + BigInt(lo >>> 0)).toString(16)}`;
}
