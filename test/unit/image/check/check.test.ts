import { describe, expect, test } from 'vitest';
import { checkImage } from '../../../../src/image/check/check.ts';
import { imageOf, walkTree } from '../../../../src/image/read/tree-walk.ts';
import { openBootstrap } from '../../../../src/rafs/open-bootstrap.ts';
import { ChunkRecordLayout } from '../../../../src/wire/rafs/chunk.ts';
import { InodeV5 } from '../../../../src/wire/rafs/inode-v5.ts';
import { ExtendedInode } from '../../../../src/wire/rafs/inode-v6.ts';
import { SuperblockV5 } from '../../../../src/wire/rafs/superblock-v5.ts';
import { DeviceV6, SuperblockV6 } from '../../../../src/wire/rafs/superblock-v6.ts';
import { DamagedImage } from '../../../support/damaged-image.ts';
import { MemorySource } from '../../../support/memory-source.ts';

const CHUNK = ChunkRecordLayout;
type Change = (view: DataView, image: DamagedImage) => void;

/** v5: offset of the chunk records of a file without xattrs and with a name of up to 8 bytes. */
const records = (at: number): number => at + InodeV5.size + 8;
/** v6: offset of the chunk addresses of a file without xattrs. */
const addresses = (at: number): number => at + ExtendedInode.size;

/** v6: offset of the entry `name` in the tail of an inlined directory without xattrs. */
function dirent(view: DataView, at: number, wanted: string): number {
  const tail = at + ExtendedInode.size;
  const count = view.getUint16(tail + 8, true) / 12;
  for (let i = 0; i < count; i++) {
    const name = tail + view.getUint16(tail + i * 12 + 8, true);
    const end = i + 1 < count ? tail + view.getUint16(tail + i * 12 + 20, true) : name + wanted.length;
    if (Buffer.from(view.buffer as ArrayBuffer, name, end - name).toString() === wanted) return tail + i * 12;
  }
  throw new Error(`no ${wanted}`);
}

const damageV5: [string, string, Change, RegExp][] = [
  [
    'an inode digest',
    'v5-merge3',
    (view, image) => view.setUint8(image.entry('/a/three').at, view.getUint8(image.entry('/a/three').at) ^ 1),
    /^"\/a\/three" \(inode 15\): inode digest$/m,
  ],
  [
    'a parent',
    'v5-merge3',
    (view, image) => view.setUint32(image.entry('/a/three').at + InodeV5.parent, 1, true),
    /^"\/a\/three" \(inode 15\): parent = 1: its directory is 2$/m,
  ],
  [
    'a size',
    'v5-merge3',
    (view, image) => view.setUint32(image.entry('/a/three').at + InodeV5.fileSize, 200_000, true),
    /^"\/a\/three" \(inode 15\): child_count = 2: a file of 200000 bytes has 4 chunks$/m,
  ],
  [
    'a chunk size',
    'v5-merge3',
    (view, image) => view.setUint32(records(image.entry('/a/three').at) + CHUNK.uncompressedSize, 7, true),
    /"\/a\/three" \(inode 15\): chunk 0 \(record at offset \d+\): uncompressed_size = 7: must be \d+$/m,
  ],
  [
    'a chunk offset',
    'v5-merge3',
    (view, image) =>
      view.setUint32(records(image.entry('/a/three').at) + CHUNK.compressedOffset, 1 << 30, true),
    /"\/a\/three".*chunk 0 .*compressed_offset\+size = 10737\d+: at most/,
  ],
  [
    'a file offset',
    'v5-merge3',
    (view, image) => view.setUint32(records(image.entry('/a/three').at) + CHUNK.fileOffset, 9, true),
    /"\/a\/three".*chunk 0 .*file_offset = 9: must be 0$/m,
  ],
  [
    'a blob index',
    'v5-merge3',
    (view, image) => view.setUint32(records(image.entry('/a/three').at) + CHUNK.blobIndex, 3, true),
    /"\/a\/three".*chunk 0 .*blob_index = 3: must be below 3$/m,
  ],
  [
    "an alias' chunk",
    'v5-zstd-sha256',
    (view, image) => view.setUint32(records(image.entry('/etc/alias2').at) + CHUNK.crc32c, 1, true),
    /^"\/etc\/alias2" \(inode \d+\): record at offset \d+, another name of the one at \d+: other chunk records$/m,
  ],
  [
    'two records of one chunk',
    'v5-zstd-sha256',
    (view, image) => view.setUint32(records(image.entry('/dup/b').at) + CHUNK.compressedOffset, 1, true),
    /"\/dup\/b" .*of which the record at offset \d+ says something else$/m,
  ],
  [
    'the number of entries',
    'v5-merge3',
    (view) => view.setUint32(SuperblockV5.inodeTableEntries, 22, true),
    /^inode_table_entries = 22: the tree has 21 entries$/m,
  ],
  [
    'a prefetch entry',
    'v5-prefetch-fs',
    (view, { bootstrap }) => view.setUint32(bootstrap.superMeta.prefetch_table_offset, 15, true),
    /^prefetch_table\[0\] = 15: no inode of the tree$/m,
  ],
  [
    'a directory with the children of another',
    'v5-merge3',
    (view, image) => {
      const [from, to] = [image.entry('/a').at, image.entry('/keep').at];
      for (const field of [InodeV5.childIndex, InodeV5.childCount])
        view.setUint32(to + field, view.getUint32(from + field, true), true);
    },
    /^"\/keep\/three" \(inode 15\): a record with two entries$/m,
  ],
];

const damageV6: [string, string, Change, RegExp][] = [
  [
    'a directory that is its own grandchild',
    'v6-merge3',
    (view, image) => view.setUint32(dirent(view, image.entry('/').at, 'a'), image.entry('/').lo, true),
    /^"\/a" \(inode 128\): a directory with two parents: hard links of directories, or a cycle$/m,
  ],
  [
    'a directory with two names',
    'v6-merge3',
    (view, image) => view.setUint32(dirent(view, image.entry('/').at, 'keep'), image.entry('/a').lo, true),
    /^"\/keep" \(inode \d+\): a directory with two parents/m,
  ],
  [
    'a type in a directory',
    'v6-merge3',
    (view, image) => view.setUint8(dirent(view, image.entry('/').at, 'sym') + 10, 1),
    /^"\/sym" \(inode 156\): type 8 in the directory, but mode 0120777$/m,
  ],
  [
    'the parent in a directory',
    'v6-merge3',
    (view, image) => view.setUint32(dirent(view, image.entry('/a').at, '..'), image.entry('/keep').lo, true),
    /^"\/a" \(inode \d+\): entry \.\.: inode \d+, must be 128$/m,
  ],
  [
    'the size of a directory, without its entries',
    'v6-merge3',
    (view, image) => view.setUint32(image.entry('/a').at + ExtendedInode.fileSize, 0, true),
    /^"\/a" \(inode \d+\): no entries \. and \.\.$/m,
  ],
  [
    'a block address',
    'v6-merge3',
    (view, image) => view.setUint32(addresses(image.entry('/a/three').at) + 4, 99, true),
    /^"\/a\/three" \(inode \d+\): chunk 0: is chunk 0 of blob 1 at 405504: the chunk table says 0$/m,
  ],
  [
    'a chunk number',
    'v6-merge3',
    (view, image) => view.setUint16(addresses(image.entry('/a/three').at), 500, true),
    /^"\/a\/three" \(inode \d+\): chunk 0: is chunk 500 of blob 1: must be below 9$/m,
  ],
  [
    'a blob number',
    'v6-merge3',
    (view, image) => view.setUint8(addresses(image.entry('/a/three').at) + 2, 9),
    /^"\/a\/three" \(inode \d+\): chunk 0: chunk address: blob index$/m,
  ],
  [
    'the chunk format',
    'v6-merge3',
    (view, image) => view.setUint32(image.entry('/a/three').at + ExtendedInode.union, 0x20, true),
    /^"\/a\/three" \(inode \d+\): i_u = 0x20: must be the chunk format/m,
  ],
  [
    'a row of the chunk table',
    'v6-merge3',
    (view, { bootstrap }) => view.setUint32(bootstrap.superMeta.chunk_table_offset + CHUNK.index, 4000, true),
    /^chunk_table\[0\] \(offset \d+\): index = 4000: must be below \d+$/m,
  ],
  [
    'two rows of one chunk',
    'v6-merge3',
    (view, { bootstrap }) => {
      const table = bootstrap.superMeta.chunk_table_offset;
      new Uint8Array(view.buffer).copyWithin(table + 80, table, table + 80);
    },
    /^chunk_table\[1\] \(offset \d+\): chunk \d+ of blob \d+ has a row at offset \d+, too$/m,
  ],
  [
    'a number of entries',
    'v6-merge3',
    (view) => view.setUint32(SuperblockV6.base + SuperblockV6.inos, 22, true),
    /^s_inos = 22: the tree has 21 entries$/m,
  ],
  [
    'the size of a device',
    'v6-merge3',
    (view) => view.setUint32(DeviceV6.base + DeviceV6.blocks, 5, true),
    /^device\[0\]\.blocks = 5: the blob has \d+$/m,
  ],
  [
    'a link count',
    'v6-zstd-blake3',
    (view, image) => view.setUint32(image.entry('/bin/tool').at + ExtendedInode.nlink, 1, true),
    /^"\/bin\/tool" \(inode 142\): more names than its nlink = 1$/m,
  ],
  [
    'an xattr name index',
    'v6-zstd-blake3',
    (view, image) => view.setUint8(image.entry('/bin/capable').at + ExtendedInode.size + 12 + 1, 5),
    /^"\/bin\/capable" \(inode \d+\): xattr entry at offset \d+: e_name_index = 5: unknown$/m,
  ],
  [
    'a shared xattr',
    'v6-zstd-blake3',
    (view, image) => view.setUint8(image.entry('/bin/capable').at + ExtendedInode.size + 4, 1),
    /^"\/bin\/capable" \(inode \d+\): h_shared_count = 1: must be 0$/m,
  ],
];

describe.each([
  ['v5', damageV5],
  ['v6', damageV6],
] as const)('a damaged %s bootstrap', (_version, cases) => {
  test.each(cases)('%s is named with its place and rule', async (_what, name, change, rule) => {
    const image = new DamagedImage(name);
    change(image.view, image);
    const { faults, faultCount } = await image.check();
    expect(faults.join('\n')).toMatch(rule);
    expect(faultCount).toBe(faults.length);
  });
});

describe('a hostile bootstrap', () => {
  test('inodes that claim each other’s bytes are refused before the time that would take', async () => {
    const image = new DamagedImage('v6-zstd-blake3');
    const { view, bootstrap } = image;
    // Every small file claims as many chunk addresses as fit behind it.
    for (let i = 0; i < 600; i++) {
      const { at } = image.entry(`/many/f${String(i).padStart(4, '0')}`);
      const room = Math.floor((bootstrap.bytes.length - at - 128) / 8);
      view.setUint32(at + ExtendedInode.fileSize, (room * bootstrap.chunkSize) % 2 ** 32, true);
      view.setUint32(
        at + ExtendedInode.fileSize + 4,
        Math.floor((room * bootstrap.chunkSize) / 2 ** 32),
        true,
      );
    }
    const started = performance.now();
    const faults: string[] = [];
    const hostile = openBootstrap(view.buffer as ArrayBuffer, 'hostile');
    for (const _ of walkTree(hostile, imageOf(hostile), (_path, _lo, fault) => faults.push(fault)));
    expect(faults.filter((fault) => fault.startsWith('inodes that overlap')).length).toBeGreaterThan(500);
    const { faultCount } = await image.check();
    expect(faultCount).toBeGreaterThan(500);
    expect(performance.now() - started).toBeLessThan(10_000);
  }, 20_000);

  test('directories that claim the same children are refused before their digests are computed', async () => {
    const image = new DamagedImage('v5-zstd-sha256');
    const entries = image.bootstrap.superMeta.inode_table_entries;
    for (const path of ['/bin', '/deep', '/dup']) {
      const { at, lo } = image.entry(path);
      image.view.setUint32(at + InodeV5.childIndex, lo + 1, true);
      image.view.setUint32(at + InodeV5.childCount, entries - lo, true);
    }
    const { faults } = await image.check();
    expect(faults.join('\n')).toMatch(/^"\/bin" \(inode 2\): directories that share children$/m);
  });

  test('without chunk numbers, whose inodes claim the same chunk records, is refused', () => {
    const image = new DamagedImage('v5-zstd-sha256');
    const { view, bootstrap } = image;
    view.setUint32(SuperblockV5.extBlobTableEntries, 0, true);
    for (let i = 0; i < 100; i++) {
      const { at } = image.entry(`/many/f${String(i).padStart(4, '0')}`);
      view.setUint32(at + InodeV5.childCount, Math.floor((bootstrap.bytes.length - at - 400) / 80), true);
    }
    expect(() => openBootstrap(view.buffer as ArrayBuffer, 'hostile')).toThrow(
      /chunk records = \d+: room for \d+$/,
    );
  });

  test('millions of faults are counted, the first are told', async () => {
    const image = new DamagedImage('v6-zstd-blake3');
    const { chunk_table_offset: table, chunk_table_size: size } = image.bootstrap.superMeta;
    for (let at = table; at < table + size; at += 80) image.view.setUint32(at + CHUNK.blobIndex, 9, true);
    const { faults, faultCount } = await image.check();
    expect(faults.length).toBe(100);
    expect(faultCount).toBeGreaterThan(1000);
  });
});

/** Changes one bit. */
function flip(bytes: Uint8Array, at: number): void {
  bytes[at]! ^= 0x10;
}

describe('a damaged blob', () => {
  test.each([
    [
      'v5-none-blake3',
      /^blob 0 \(819d1d\w+\) chunk 0 at offset 0, of "\/bin\/alias" \(inode 12\): crc32c is 0x/,
    ],
    ['v5-zstd-sha256', /^blob 0 \(78c9f6\w+\) chunk 0 at offset 0, of "\/bin\/alias" \(inode 12\): /],
    [
      'v6-zstd-blake3',
      /^blob 0 \(2909de\w+\) chunk 0 at offset 0, of "\/bin\/alias" \(inode 142\): blake3 is/,
    ],
    ['v6-lz4_block-sha256', /^blob 0 \(ebc432\w+\) chunk 0 at offset 0, of "\/bin\/alias" /],
    ['v6-encrypt', /^blob 0 \(ee24f6\w+\) chunk 0 at offset 0, of "\/bin\/alias" .* crc32c is 0x/],
    ['v6-batch', /^blob 0 \(5970ea\w+\) chunk 0 at offset 0, of "\/bin\/alias" /],
  ])('%s: a chunk is named with its place and a file that has it', async (name, rule) => {
    const image = new DamagedImage(name);
    flip(image.blob(image.id()), 100);
    const { faults } = await image.check(true);
    expect(faults[0]).toMatch(rule);
  });

  test('of an image without chunk numbers (2020) names the chunk by its offset', async () => {
    const image = new DamagedImage('v5-none-blake3');
    image.view.setUint32(SuperblockV5.extBlobTableEntries, 0, true);
    image.view.setUint32(SuperblockV5.extBlobTableOffset, 0, true);
    expect(await image.check(true)).toEqual({ faults: [], faultCount: 0, notes: [] });
    flip(image.blob(image.id()), 15_000);
    const { faults } = await image.check(true);
    expect(faults).toEqual([
      expect.stringMatching(/ at offset \d+, of "\/dup\/a" \(inode 77\) and 1 more: crc32c is/),
    ]);
  });

  test('a chunk of several files says how many', async () => {
    const image = new DamagedImage('v5-none-blake3');
    flip(image.blob(image.id()), 15_000);
    const { faults } = await image.check(true);
    expect(faults).toEqual([
      expect.stringMatching(/chunk \d+ at offset \d+, of "\/dup\/a" \(inode 77\) and 1 more: crc32c is/),
    ]);
  });

  test('a context of an OCI layer names the chunks in it', async () => {
    const image = new DamagedImage('v6-targz-ref');
    flip(image.blob(image.id()), 1000);
    const { faults } = await image.check(true);
    expect(faults[0]).toMatch(/^blob 0 \(b08bfc\w+\) chunk \d+ at offset 10, of "/);
  });

  test('the meta blob of an OCI layer is compared with its SHA-256', async () => {
    const image = new DamagedImage('v6-targz-ref');
    const meta = image.id(0, 'metaObjectId');
    const bytes = image.blob(meta);
    flip(bytes, bytes.length - 20);
    const { faults } = await image.check(true);
    expect(faults.join('\n')).toMatch(
      new RegExp(`^meta blob ${meta} of blob 0 \\(b08bfc\\w+\\): sha256 is \\w+, must be ${meta}`),
    );
  });

  test('what is cut off, and what is not there', async () => {
    const cut = new DamagedImage('v6-merge3');
    const id = cut.id(1);
    cut.blobs.set(id, cut.blob(id).subarray(0, 1000));
    const { faults } = await cut.check(true);
    expect(faults[0]).toBe(`blob 1 (${id}): has 1000 bytes, the bootstrap says compressed_size = 34397`);
    const none = await checkImage({
      bootstrap: openBootstrap(cut.view.buffer as ArrayBuffer, 'x'),
      path: cut.path,
      source: new MemorySource(new Map()),
    });
    expect(none.faults).toEqual(
      [0, 1, 2].map((i) => `blob ${i} (${cut.id(i)}): blob ${cut.id(i)}: there is none`),
    );
  });

  test('chunk info of another blob', async () => {
    const image = new DamagedImage('v6-zstd-blake3');
    const { ciOffset, ciCompressedSize } = image.bootstrap.blobs[0]!;
    new DataView(image.blob(image.id()).buffer).setUint32(ciOffset + ciCompressedSize + 12, 606, true);
    const { faults } = await image.check(true);
    expect(faults[0]).toMatch(/header\.count = 606: the bootstrap says 607$/);
  });

  test('a chunk table that says something else than the chunk info', async () => {
    const image = new DamagedImage('v6-zstd-blake3');
    const table = image.bootstrap.superMeta.chunk_table_offset;
    image.view.setUint32(table + CHUNK.compressedOffset, 11, true);
    const { faults } = await image.check(true);
    expect(faults[0]).toMatch(
      /chunk \d+ at offset \d+, of .*: the chunk info says compressed_offset = \d+, the chunk table 11$/,
    );
  });

  test.each([
    ['image.blob', 47_300],
    ['blob.digest', 70_000],
    ['image.boot', 100_000],
    ['blob.meta.header', 51_700],
  ])('%s is compared with its digest in the table of contents', async (section, at) => {
    const image = new DamagedImage('v6-toc-inline');
    flip(image.blob(image.id()), at);
    const { faults } = await image.check(true);
    expect(faults.join('\n')).toMatch(
      new RegExp(`^table of contents of blob 0 .*: ${section}: sha256 is`, 'm'),
    );
  });

  test('bytes that no digest covers make the id wrong: that is said, but is no fault', async () => {
    for (const name of ['v6-zstd-blake3', 'v6-tarfs', 'v6-dict']) {
      const image = new DamagedImage(name);
      const bytes = image.blob(image.id());
      flip(bytes, name === 'v6-dict' ? 1000 : bytes.length - 100);
      const { faults, notes } = await image.check(true);
      expect(faults).toEqual([]);
      expect(notes[0]).toMatch(/^blob 0 .*: its id is not the SHA-256 of its bytes/);
    }
  });

  test('an interrupted check says so', async () => {
    const image = new DamagedImage('v6-merge3');
    for (const { index } of image.bootstrap.blobs) image.blob(image.id(index));
    const check = checkImage({
      bootstrap: image.bootstrap,
      path: image.path,
      source: new MemorySource(image.blobs),
      signal: AbortSignal.abort(),
    });
    await expect(check).rejects.toMatchObject({ code: 'IMAGE_ABORTED' });
  });
});
