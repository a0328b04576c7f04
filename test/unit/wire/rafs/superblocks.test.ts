import { describe, expect, it } from 'vitest';
import { openBootstrap } from '../../../../src/rafs/open-bootstrap.ts';
import { RafsError } from '../../../../src/wire/rafs/error.ts';
import { SuperblockV5 } from '../../../../src/wire/rafs/superblock-v5.ts';
import {
  BlobRowV6,
  DeviceV6,
  ExtSuperblockV6,
  SuperblockV6,
} from '../../../../src/wire/rafs/superblock-v6.ts';
import { bootstrapBytes, FIXTURES } from '../../../support/rafs-fixtures.ts';

/** Opens a valid bootstrap with a change; the error's code and message. */
function refusal(name: string, change: (view: DataView) => void, length?: number): string {
  const buffer = bootstrapBytes(FIXTURES, name).slice(0, length);
  change(new DataView(buffer));
  try {
    openBootstrap(buffer, 'image');
  } catch (error) {
    if (error instanceof RafsError) return `${error.code} ${error.message}`;
    throw error;
  }
  return 'accepted';
}

const none = () => {};

describe('a v5 superblock is refused', () => {
  const S = SuperblockV5;
  const set = (at: number, value: number) => refusal('v5-merge3', (view) => view.setUint32(at, value, true));
  const cases: [string, () => string, string][] = [
    ['with another magic', () => set(S.magic, 1), 'RAFS_NOT_A_BOOTSTRAP'],
    ['of v4', () => set(S.version, 0x400), 'RAFS_NOT_A_BOOTSTRAP'],
    [
      'cut behind the superblock',
      () => refusal('v5-merge3', none, 8192),
      'RAFS_BAD_SUPERBLOCK image: bootstrap size',
    ],
    ['of another size', () => set(S.superblockSize, 4096), 'RAFS_BAD_SUPERBLOCK image: sb_size = 4096'],
    [
      'with a chunk size of 3 pages',
      () => set(S.chunkSize, 0x3000),
      'RAFS_BAD_SUPERBLOCK image: block_size = 12288',
    ],
    [
      'with a chunk size of 32 MiB',
      () => set(S.chunkSize, 0x2000000),
      'RAFS_BAD_SUPERBLOCK image: block_size',
    ],
    [
      'with an unknown flag',
      () => set(S.flags, 0x400),
      'RAFS_BAD_FLAGS image: flags = 0x400: unknown bits 0x400',
    ],
    ['with a flag above 32 bits', () => set(S.flags + 4, 1), 'RAFS_BAD_FLAGS'],
    [
      'with more inodes than entries',
      () => set(S.inodesCount, 1 << 30),
      'RAFS_BAD_SUPERBLOCK image: inodes_count',
    ],
    ['without inodes', () => set(S.inodeTableEntries, 0), 'RAFS_BAD_SUPERBLOCK image: inode_table_entries'],
    [
      'with an inode table outside',
      () => set(S.inodeTableEntries, 0xffffffff),
      'RAFS_BAD_TABLE image: inode_table',
    ],
    [
      'with an inode table at 2^63',
      () => set(S.inodeTableOffset + 4, 0x80000000),
      'RAFS_BAD_TABLE image: inode_table',
    ],
    [
      'with a misaligned blob table',
      () => set(S.blobTableOffset, 8196),
      'RAFS_BAD_TABLE image: blob_table offset = 8196',
    ],
    ['with tables that overlap', () => set(S.blobTableOffset, 8192), 'RAFS_BAD_TABLE'],
    [
      'with fewer extended rows than blobs',
      () => set(S.extBlobTableEntries, 1),
      'RAFS_BAD_BLOB image: extended_blob_table_entries = 1',
    ],
  ];
  for (const [what, act, expected] of cases) it(what, () => expect(act()).toContain(expected));
});

describe('a v6 superblock is refused', () => {
  const S = SuperblockV6;
  const E = ExtSuperblockV6;
  const erofs = (field: number, value: number) =>
    refusal('v6-merge3', (view) => view.setUint32(S.base + field, value, true));
  const byte = (field: number, value: number) =>
    refusal('v6-merge3', (view) => view.setUint8(S.base + field, value));
  const extension = (field: number, value: number) =>
    refusal('v6-merge3', (view) => view.setUint32(E.base + field, value, true));
  const row = (field: number, value: number) =>
    refusal('v6-merge3', (view) => {
      const table = view.getUint32(E.base + E.blobTableOffset, true);
      view.setUint32(table + BlobRowV6.size + field, value, true);
    });
  const cases: [string, () => string, string][] = [
    [
      'cut to a page and a half',
      () => refusal('v6-merge3', none, 6144),
      'RAFS_BAD_SUPERBLOCK image: bootstrap size = 6144',
    ],
    ['with a checksum', () => erofs(S.checksum, 1), 's_checksum = 1'],
    ['that is plain EROFS', () => erofs(S.featureCompat, 0), 's_feature_compat = 0'],
    ['with 512-byte blocks but no TARFS flag', () => byte(S.blockBits, 9), 's_blkszbits = 9'],
    ['with extended slots', () => byte(S.extSlots, 1), 's_extslots = 1'],
    ['with shared xattrs', () => erofs(S.xattrBlockAddress, 1), 's_xattr_blkaddr = 1'],
    ['with compression', () => erofs(S.featureIncompat, 0xd), 's_feature_incompat = 13'],
    ['with another device table', () => byte(S.deviceTableSlot, 12), 's_devt_slotoff = 12'],
    ['with a meta area outside', () => erofs(S.metaBlockAddress, 0xffffffff), 's_meta_blkaddr'],
    ['with more devices than blobs', () => byte(S.extraDevices, 4), 's_extra_devices = 4'],
    [
      'with root nid 0',
      () => refusal('v6-merge3', (view) => view.setUint16(S.base + S.rootNid, 0, true)),
      's_root_nid = 0',
    ],
    [
      'with a root outside',
      () => refusal('v6-merge3', (view) => view.setUint16(S.base + S.rootNid, 65535, true)),
      's_root_nid = 65535',
    ],
    ['with two compressors', () => extension(E.flags, 0x1 | 0x80 | 0x4), 'exactly one compressor'],
    ['without digester', () => extension(E.flags, 0x80), 'exactly one digester'],
    ['with a chunk size of 0', () => extension(E.chunkSize, 0), 's_chunk_size = 0'],
    ['with a blob table of 100 bytes', () => extension(E.blobTableSize, 100), 's_blob_table_size = 100'],
    [
      'with a blob table outside',
      () => extension(E.blobTableOffset, 0x7ffff000),
      'RAFS_BAD_TABLE image: blob_table',
    ],
    ['with a chunk table over the blob table', () => extension(E.chunkTableOffset, 0x1000), 'RAFS_BAD_TABLE'],
    [
      'with a prefetch table outside',
      () => extension(E.prefetchTableSize, 0xfffffffc),
      'RAFS_BAD_TABLE image: prefetch_table',
    ],
    ['with blobs out of order', () => row(BlobRowV6.blobIndex, 0), 'blob[1].blob_index = 0'],
    ['with a blob of another chunk size', () => row(BlobRowV6.chunkSize, 4096), 'blob[1].chunk_size = 4096'],
    ['with an unknown compressor', () => row(BlobRowV6.compressor, 4), 'blob[1].compressor = 4'],
    ['with an unknown digester', () => row(BlobRowV6.digester, 2), 'blob[1].digester = 2'],
    ['with an unknown feature', () => row(BlobRowV6.features, 0x1001), 'unknown bits 0x1000'],
    ['with an unaligned blob', () => row(BlobRowV6.features, 0x40000000), 'ALIGNED must be set'],
    ['with too many chunks', () => row(BlobRowV6.chunkCount, 0x1000001), 'blob[1].chunk_count'],
    [
      'with chunk info of another length',
      () => row(BlobRowV6.chunkCount, 1000),
      'blob[1].ci_uncompressed_size',
    ],
    [
      'with a blob of 2^40 bytes and more',
      () => row(BlobRowV6.compressedSize + 4, 0x101),
      'blob[1].compressed_size',
    ],
    [
      'with an empty device',
      () => refusal('v6-merge3', (view) => view.setUint32(DeviceV6.base + DeviceV6.blocks, 0, true)),
      'device[0].blocks = 0',
    ],
    [
      'with two devices of one name',
      () =>
        refusal('v6-merge3', (view) =>
          new Uint8Array(view.buffer).copyWithin(
            DeviceV6.base + DeviceV6.size,
            DeviceV6.base,
            DeviceV6.base + 64,
          ),
        ),
      'device[1].blob_id',
    ],
  ];
  for (const [what, act, expected] of cases) it(what, () => expect(act()).toContain(expected));
});

it('neither version: says so', () => {
  for (const size of [0, 7, 1024, 1027, 9000]) {
    expect(() => openBootstrap(new ArrayBuffer(size), 'image')).toThrow(
      'image: neither a RAFS v5 superblock',
    );
  }
});
