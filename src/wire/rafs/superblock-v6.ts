import { decodeBlobId } from './blob-id.ts';
import { isPowerOfTwo, readU64 } from './bytes.ts';
import { checkRafs } from './error.ts';
import {
  BLOB_FEATURES_KNOWN,
  BlobFeature,
  CHUNK_SIZE_MAX,
  CHUNK_SIZE_MIN,
  CHUNKS_PER_BLOB_MAX,
  checkSingleAlgorithms,
  checkSuperFlags,
  compressors,
  digesters,
  SuperFlag,
} from './flags.ts';
import { checkDisjoint, type Table } from './superblock-v5.ts';

/** EROFS superblock as RAFS v6 uses it; offsets from `base`. rafs/src/metadata/layout/v6.rs, erofs_fs.h. */
export const SuperblockV6 = {
  base: 1024,
  magic: 0,
  checksum: 4,
  featureCompat: 8,
  blockBits: 12,
  extSlots: 13,
  rootNid: 14,
  inos: 16,
  buildTime: 24,
  buildTimeNs: 32,
  blocks: 36,
  metaBlockAddress: 40,
  xattrBlockAddress: 44,
  uuid: 48,
  volumeName: 64,
  featureIncompat: 80,
  union: 84,
  extraDevices: 86,
  deviceTableSlot: 88,
  size: 128,
} as const;

/** RAFS extension behind the EROFS superblock; offsets from `base`. */
export const ExtSuperblockV6 = {
  base: 1152,
  flags: 0,
  blobTableOffset: 8,
  blobTableSize: 16,
  chunkSize: 20,
  chunkTableOffset: 24,
  chunkTableSize: 32,
  prefetchTableOffset: 40,
  prefetchTableSize: 48,
  size: 256,
} as const;

/** Device table: one EROFS device slot for each blob, at `base`. */
export const DeviceV6 = { base: 1408, blobId: 0, blocks: 64, mappedBlockAddress: 68, size: 128 } as const;

/** Blob table row. `metaDigest` and `metaSize` hold the key and half of the IV when a cipher is set. */
export const BlobRowV6 = {
  blobId: 0,
  blobIndex: 64,
  chunkSize: 68,
  chunkCount: 72,
  compressor: 76,
  digester: 80,
  features: 84,
  compressedSize: 88,
  uncompressedSize: 96,
  tocSize: 104,
  ciCompressor: 108,
  ciOffset: 112,
  ciCompressedSize: 120,
  ciUncompressedSize: 128,
  tocDigest: 136,
  metaDigest: 168,
  metaSize: 200,
  cipherIv: 208,
  cipher: 216,
  size: 256,
} as const;

export const MAGIC_V6 = 0xe0f5e1e2;
/** feature_compat bit which says that an EROFS image is RAFS. */
export const COMPAT_RAFS_V6 = 0x40000000;
/** feature_incompat: CHUNKED_FILE | DEVICE_TABLE. */
export const INCOMPAT_V6 = 0xc;

/** A checked v6 superblock with its extension. Offsets and sizes in bytes. */
export interface DecodedSuperblockV6 {
  /** 4096, or 512 for tarfs. */
  readonly blockSize: number;
  readonly rootNid: number;
  readonly inos: number;
  readonly blocks: number;
  readonly metaBlockAddress: number;
  readonly extraDevices: number;
  readonly flags: number;
  readonly chunkSize: number;
  readonly blobTableOffset: number;
  readonly blobTableSize: number;
  readonly chunkTableOffset: number;
  readonly chunkTableSize: number;
  readonly prefetchTableOffset: number;
  readonly prefetchTableSize: number;
}

/** A device slot. */
export interface DeviceSlot {
  readonly blobId: string;
  readonly blocks: number;
  readonly mappedBlockAddress: number;
}

/** A blob table row, its numbers checked against the rules of the format. */
export interface BlobV6 {
  readonly id: string;
  readonly chunkCount: number;
  readonly compressor: number;
  readonly digester: number;
  readonly features: number;
  readonly compressedSize: number;
  readonly uncompressedSize: number;
  readonly tocSize: number;
  readonly ciCompressor: number;
  readonly ciOffset: number;
  readonly ciCompressedSize: number;
  readonly ciUncompressedSize: number;
  readonly tocDigest: Uint8Array;
  /** SHA-256 of the separate meta blob; the AES key if `cipher` is set. */
  readonly metaDigest: Uint8Array;
  /** Size of the separate meta blob; meaningless if `cipher` is set. */
  readonly metaSize: number;
  /** 16 bytes, which the format spreads over two fields. */
  readonly cipherIv: Uint8Array;
  readonly cipher: number;
}

/** Whether an EROFS superblock's magic is where v6 has it. */
export function isSuperblockV6(view: DataView): boolean {
  return view.byteLength >= SuperblockV6.base + 4 && view.getUint32(SuperblockV6.base, true) === MAGIC_V6;
}

/** Decodes and checks both superblocks; `view` spans the whole bootstrap. Throws RafsError. */
export function decodeSuperblockV6(view: DataView): DecodedSuperblockV6 {
  const length = view.byteLength;
  checkRafs(
    length >= 4096 && length % 512 === 0,
    'RAFS_BAD_SUPERBLOCK',
    'bootstrap size',
    length,
    'whole blocks, at least 4096 bytes',
  );
  const erofs = decodeErofs(view);
  const extension = decodeExtension(view);
  const tarfs = (extension.flags & SuperFlag.tarfs) !== 0;
  const bits = view.getUint8(SuperblockV6.base + SuperblockV6.blockBits);
  const rule = tarfs ? '9 in an image with the TARFS flag' : '12';
  checkRafs(bits === (tarfs ? 9 : 12), 'RAFS_BAD_SUPERBLOCK', 's_blkszbits', bits, rule);
  const blockSize = tarfs ? 512 : 4096;
  checkRafs(
    length % blockSize === 0,
    'RAFS_BAD_SUPERBLOCK',
    'bootstrap size',
    length,
    `a multiple of ${blockSize}`,
  );
  const metaEnd = erofs.metaBlockAddress * blockSize;
  checkRafs(
    metaEnd < length,
    'RAFS_BAD_SUPERBLOCK',
    's_meta_blkaddr',
    erofs.metaBlockAddress,
    'inside the bootstrap',
  );
  const sb = { ...erofs, ...extension, blockSize };
  checkTables(sb, length);
  return sb;
}

function decodeErofs(
  view: DataView,
): Pick<DecodedSuperblockV6, 'rootNid' | 'inos' | 'blocks' | 'metaBlockAddress' | 'extraDevices'> {
  const S = SuperblockV6;
  const bad = 'RAFS_BAD_SUPERBLOCK';
  const u32 = (field: number) => view.getUint32(S.base + field, true);
  const u16 = (field: number) => view.getUint16(S.base + field, true);
  checkRafs(u32(S.checksum) === 0, bad, 's_checksum', u32(S.checksum), 'must be 0');
  const compat = u32(S.featureCompat);
  checkRafs((compat & COMPAT_RAFS_V6) !== 0, bad, 's_feature_compat', compat, 'must have the RAFS v6 bit');
  const extSlots = view.getUint8(S.base + S.extSlots);
  checkRafs(extSlots === 0, bad, 's_extslots', extSlots, 'must be 0');
  checkRafs(
    u32(S.xattrBlockAddress) === 0,
    bad,
    's_xattr_blkaddr',
    u32(S.xattrBlockAddress),
    'must be 0: no shared xattrs',
  );
  checkRafs(
    u32(S.featureIncompat) === INCOMPAT_V6,
    bad,
    's_feature_incompat',
    u32(S.featureIncompat),
    'must be chunked files and device table',
  );
  checkRafs(u16(S.union) === 0, bad, 's_u', u16(S.union), 'must be 0: no compression');
  const slot = u16(S.deviceTableSlot);
  checkRafs(
    slot * DeviceV6.size === DeviceV6.base,
    bad,
    's_devt_slotoff',
    slot,
    `must be ${DeviceV6.base / DeviceV6.size}`,
  );
  const inos = readU64(view, S.base + S.inos);
  checkRafs(inos > 0, bad, 's_inos', inos, 'must not be 0');
  const extraDevices = u16(S.extraDevices);
  const blocks = u32(S.blocks);
  checkRafs(
    extraDevices > 0 || blocks === 0 || blocks === 4096,
    bad,
    's_blocks',
    blocks,
    '0 or 4096 without devices',
  );
  const rootNid = u16(S.rootNid);
  checkRafs(rootNid > 0, bad, 's_root_nid', rootNid, 'must not be 0');
  return { rootNid, inos, blocks, metaBlockAddress: u32(S.metaBlockAddress), extraDevices };
}

type Extension = Omit<
  DecodedSuperblockV6,
  'rootNid' | 'inos' | 'blocks' | 'metaBlockAddress' | 'extraDevices' | 'blockSize'
>;

function decodeExtension(view: DataView): Extension {
  const E = ExtSuperblockV6;
  const flags = view.getUint32(E.base + E.flags, true);
  checkSuperFlags(flags, view.getUint32(E.base + E.flags + 4, true));
  checkSingleAlgorithms(flags);
  const chunkSize = view.getUint32(E.base + E.chunkSize, true);
  const ok = isPowerOfTwo(chunkSize) && chunkSize >= CHUNK_SIZE_MIN && chunkSize <= CHUNK_SIZE_MAX;
  checkRafs(ok, 'RAFS_BAD_SUPERBLOCK', 's_chunk_size', chunkSize, 'a power of two from 4096 to 16 MiB');
  return {
    flags,
    chunkSize,
    blobTableOffset: readU64(view, E.base + E.blobTableOffset),
    blobTableSize: view.getUint32(E.base + E.blobTableSize, true),
    chunkTableOffset: readU64(view, E.base + E.chunkTableOffset),
    chunkTableSize: readU64(view, E.base + E.chunkTableSize),
    prefetchTableOffset: readU64(view, E.base + E.prefetchTableOffset),
    prefetchTableSize: view.getUint32(E.base + E.prefetchTableSize, true),
  };
}

function checkTables(sb: DecodedSuperblockV6, length: number): void {
  const rows = sb.blobTableSize / BlobRowV6.size;
  const bad = 'RAFS_BAD_TABLE';
  checkRafs(
    Number.isInteger(rows),
    bad,
    's_blob_table_size',
    sb.blobTableSize,
    `a multiple of ${BlobRowV6.size}`,
  );
  checkRafs(
    rows === sb.extraDevices,
    bad,
    's_extra_devices',
    sb.extraDevices,
    `one device for each blob (${rows})`,
  );
  checkRafs(rows < 255, bad, 's_blob_table_size', sb.blobTableSize, 'fewer than 255 blobs');
  checkRafs(sb.chunkTableSize % 80 === 0, bad, 's_chunk_table_size', sb.chunkTableSize, 'a multiple of 80');
  checkRafs(
    sb.prefetchTableSize % 4 === 0,
    bad,
    's_prefetch_table_size',
    sb.prefetchTableSize,
    'a multiple of 4',
  );
  const devicesEnd = DeviceV6.base + sb.extraDevices * DeviceV6.size;
  checkRafs(
    devicesEnd <= length,
    bad,
    's_extra_devices',
    sb.extraDevices,
    'device table inside the bootstrap',
  );
  const paged: Table[] = [];
  if (sb.blobTableSize > 0)
    paged.push({ field: 'blob_table', start: sb.blobTableOffset, size: sb.blobTableSize });
  if (sb.chunkTableSize > 0)
    paged.push({ field: 'chunk_table', start: sb.chunkTableOffset, size: sb.chunkTableSize });
  for (const { field, start } of paged)
    checkRafs(start % 4096 === 0, bad, `${field} offset`, start, 'a multiple of 4096');
  const tables = [...paged];
  if (sb.prefetchTableSize > 0) {
    tables.push({ field: 'prefetch_table', start: sb.prefetchTableOffset, size: sb.prefetchTableSize });
  }
  checkDisjoint(tables, devicesEnd, length, 4);
}

/** Decodes the device table. Throws RafsError for an empty device or a repeated blob id. */
export function decodeDevices(view: DataView, sb: DecodedSuperblockV6): DeviceSlot[] {
  const devices: DeviceSlot[] = [];
  const seen = new Set<string>();
  for (let i = 0; i < sb.extraDevices; i++) {
    const at = DeviceV6.base + i * DeviceV6.size;
    const blobId = decodeBlobId(bytes(view, at + DeviceV6.blobId, 64), `device[${i}].blob_id`);
    const blocks = view.getUint32(at + DeviceV6.blocks, true);
    checkRafs(blocks > 0, 'RAFS_BAD_BLOB', `device[${i}].blocks`, blocks, 'must not be 0');
    checkRafs(!seen.has(blobId), 'RAFS_BAD_BLOB', `device[${i}].blob_id`, blobId, 'must be unique');
    seen.add(blobId);
    devices.push({
      blobId,
      blocks,
      mappedBlockAddress: view.getUint32(at + DeviceV6.mappedBlockAddress, true),
    });
  }
  return devices;
}

/** Decodes and checks the blob table. Throws RafsError. */
export function decodeBlobsV6(view: DataView, sb: DecodedSuperblockV6): BlobV6[] {
  const blobs: BlobV6[] = [];
  for (let i = 0; i * BlobRowV6.size < sb.blobTableSize; i++) {
    const at = sb.blobTableOffset + i * BlobRowV6.size;
    const blob = decodeBlob(view, at, i);
    const index = view.getUint32(at + BlobRowV6.blobIndex, true);
    checkRafs(index === i, 'RAFS_BAD_BLOB', `blob[${i}].blob_index`, index, 'its position in the table');
    const chunkSize = view.getUint32(at + BlobRowV6.chunkSize, true);
    checkRafs(
      chunkSize === sb.chunkSize,
      'RAFS_BAD_BLOB',
      `blob[${i}].chunk_size`,
      chunkSize,
      `the superblock's (${sb.chunkSize})`,
    );
    checkBlob(blob, `blob[${i}]`, (sb.flags & SuperFlag.tarfs) !== 0);
    checkChunkInfo(blob, `blob[${i}]`, (sb.flags & SuperFlag.tarfs) !== 0);
    blobs.push(blob);
  }
  return blobs;
}

function decodeBlob(view: DataView, at: number, i: number): BlobV6 {
  const R = BlobRowV6;
  const u32 = (field: number) => view.getUint32(at + field, true);
  const iv = new Uint8Array(16);
  iv.set(bytes(view, at + R.metaSize, 8));
  iv.set(bytes(view, at + R.cipherIv, 8), 8);
  return {
    id: decodeBlobId(bytes(view, at + R.blobId, 64), `blob[${i}].blob_id`),
    chunkCount: u32(R.chunkCount),
    compressor: u32(R.compressor),
    digester: u32(R.digester),
    features: u32(R.features),
    compressedSize: readU64(view, at + R.compressedSize),
    uncompressedSize: readU64(view, at + R.uncompressedSize),
    tocSize: u32(R.tocSize),
    ciCompressor: u32(R.ciCompressor),
    ciOffset: readU64(view, at + R.ciOffset),
    ciCompressedSize: readU64(view, at + R.ciCompressedSize),
    ciUncompressedSize: readU64(view, at + R.ciUncompressedSize),
    tocDigest: bytes(view, at + R.tocDigest, 32),
    metaDigest: bytes(view, at + R.metaDigest, 32),
    metaSize: readU64(view, at + R.metaSize),
    cipherIv: iv,
    cipher: u32(R.cipher),
  };
}

function checkBlob(blob: BlobV6, name: string, tarfs: boolean): void {
  const bad = 'RAFS_BAD_BLOB';
  checkRafs(
    blob.chunkCount <= CHUNKS_PER_BLOB_MAX,
    bad,
    `${name}.chunk_count`,
    blob.chunkCount,
    'at most 2^24',
  );
  checkRafs(
    blob.compressor < compressors.length,
    bad,
    `${name}.compressor`,
    blob.compressor,
    'a known compressor',
  );
  checkRafs(blob.digester < digesters.length, bad, `${name}.digester`, blob.digester, 'a known digester');
  checkRafs(
    blob.ciCompressor < compressors.length,
    bad,
    `${name}.ci_compressor`,
    blob.ciCompressor,
    'a known compressor',
  );
  const unknown = (blob.features & ~BLOB_FEATURES_KNOWN) >>> 0;
  checkRafs(unknown === 0, bad, `${name}.features`, blob.features, `unknown bits 0x${unknown.toString(16)}`);
  checkRafs(
    blob.compressedSize <= 2 ** 40,
    bad,
    `${name}.compressed_size`,
    blob.compressedSize,
    'at most 2^40',
  );
  checkRafs(
    blob.uncompressedSize <= 2 ** 44,
    bad,
    `${name}.uncompressed_size`,
    blob.uncompressedSize,
    'at most 2^44',
  );
  const aligned = (blob.features & BlobFeature.aligned) !== 0;
  checkRafs(
    aligned !== tarfs,
    bad,
    `${name}.features`,
    blob.features,
    tarfs ? 'tarfs has no ALIGNED' : 'ALIGNED must be set',
  );
  const encrypted = (blob.features & BlobFeature.encrypted) !== 0;
  checkRafs(blob.cipher <= 1, bad, `${name}.cipher`, blob.cipher, 'none or AES-128-XTS');
  checkRafs(
    !encrypted || blob.cipher === 1,
    bad,
    `${name}.cipher`,
    blob.cipher,
    'an encrypted blob names its cipher',
  );
}

/** Rules on the place and size of the blob's chunk info ("CI"): 16 bytes a chunk, or 24 and contexts behind. */
function checkChunkInfo(blob: BlobV6, name: string, tarfs: boolean): void {
  const bad = 'RAFS_BAD_BLOB';
  const { features, chunkCount, ciUncompressedSize } = blob;
  const end = blob.ciOffset + blob.ciCompressedSize;
  checkRafs(end < 2 ** 53, bad, `${name}.ci_offset`, blob.ciOffset, 'offset and size below 2^53');
  const shrinks = blob.ciCompressedSize <= ciUncompressedSize;
  checkRafs(
    shrinks,
    bad,
    `${name}.ci_compressed_size`,
    blob.ciCompressedSize,
    `at most ci_uncompressed_size (${ciUncompressedSize})`,
  );
  const withContexts = (features & (BlobFeature.batch | BlobFeature.zran | BlobFeature.encrypted)) !== 0;
  const field = `${name}.ci_uncompressed_size`;
  if (features & BlobFeature.chunkInfoV2) {
    const least = 24 * chunkCount;
    const ok = withContexts ? ciUncompressedSize >= least : ciUncompressedSize === least;
    checkRafs(ok, bad, field, ciUncompressedSize, `24 bytes for each of ${chunkCount} chunks`);
    return;
  }
  checkRafs(
    !withContexts,
    bad,
    `${name}.features`,
    features,
    'batch, zran and encryption need CHUNK_INFO_V2',
  );
  if (tarfs || features & BlobFeature.chunkDictGenerated) return;
  checkRafs(
    ciUncompressedSize === 16 * chunkCount,
    bad,
    field,
    ciUncompressedSize,
    `16 bytes for each of ${chunkCount} chunks`,
  );
}

function bytes(view: DataView, at: number, length: number): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset + at, length).slice();
}
