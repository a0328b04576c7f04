import { describe, expect, it } from 'vitest';
import { ChunkDigests } from '../../../src/rafs/chunk-digests.ts';
import { openBootstrap } from '../../../src/rafs/open-bootstrap.ts';
import { bootstrapBytes, FIXTURES } from '../../support/rafs-fixtures.ts';

const open = (name: string) => openBootstrap(bootstrapBytes(FIXTURES, name), name);

describe('a bootstrap', () => {
  it('of v5 shows its superblock in the words of the API', () => {
    expect(open('v5-repeatable').superMeta).toMatchObject({
      magic: 1380009555,
      version: 1280,
      sb_size: 8192,
      chunk_size: 1048576,
      inodes_count: 761,
      inode_table_entries: 763,
      inode_table_offset: 8192,
      blob_table_size: 72,
      blob_table_offset: 11248,
      extended_blob_table_offset: 11320,
      extended_blob_table_entries: 1,
      attr_timeout: { secs: 4294967296, nanos: 0 },
      root_nid: 0,
    });
  });

  it('of v6 shows its superblock in the words of the API', () => {
    expect(open('v6-zstd-blake3').superMeta).toMatchObject({
      magic: 3774210530,
      version: 1536,
      sb_size: 0,
      inodes_count: 763,
      flags: { bits: 16777396 },
      blob_table_size: 256,
      blob_table_offset: 4096,
      blob_device_table_count: 1,
      blob_device_table_offset: 1408,
      meta_blkaddr: 2,
      root_nid: 128,
      chunk_table_offset: 110592,
      chunk_table_size: 48560,
    });
  });

  it('lists what to prefetch up to the first 0', () => {
    expect(open('v5-prefetch-fs').prefetch.length).toBe(3);
    expect(open('v6-prefetch-fs').prefetch.length).toBe(3);
    expect(open('v6-zstd-blake3').prefetch).toEqual([]);
  });

  it('keeps the key of an encrypted blob apart from the digest of a separate meta blob', () => {
    const [encrypted] = open('v6-encrypt').blobs;
    expect([encrypted!.cipherKey!.length, encrypted!.cipherIv!.length, encrypted!.metaDigest]).toEqual([
      32,
      16,
      null,
    ]);
    const [zran] = open('v6-targz-ref').blobs;
    expect([zran!.cipherKey, zran!.metaDigest!.length, zran!.compressor]).toEqual([null, 32, 'gzip']);
  });

  it('inlined in its blob has x in place of the id', () => {
    expect(open('v6-toc-inline').blobs[0]!.id).toBe('x'.repeat(64));
  });

  it('of several layers keeps the order of blobs', () => {
    for (const name of ['v5-merge3', 'v6-merge3']) {
      const { blobs } = open(name);
      expect(blobs.map(({ index }) => index)).toEqual([0, 1, 2]);
      expect(blobs.every(({ id }) => /^[0-9a-f]{64}$/.test(id))).toBe(true);
    }
  });
});

describe('chunk digests', () => {
  it('finds every chunk of a v6 blob by its index', () => {
    const bootstrap = open('v6-zstd-blake3');
    const digests = new ChunkDigests(bootstrap);
    const { chunkCount } = bootstrap.blobs[0]!;
    for (let i = 0; i < chunkCount; i++) expect(digests.find(0, i)).toMatchObject({ blobIndex: 0, index: i });
    expect(digests.find(0, chunkCount)).toBeNull();
    expect(digests.find(1, 0)).toBeNull();
  });

  it('has none for v5', () => {
    expect(new ChunkDigests(open('v5-none-blake3')).find(0, 0)).toBeNull();
  });
});
