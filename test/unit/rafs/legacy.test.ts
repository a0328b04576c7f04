import { expect, it } from 'vitest';
import type { ChunkRef } from '../../../src/blob/view.ts';
import { PENDING } from '../../../src/fuse/filesystem.ts';
import { openBootstrap } from '../../../src/rafs/open-bootstrap.ts';
import { ChunkRecordLayout } from '../../../src/wire/rafs/chunk.ts';
import { InodeV5, recordBytesV5 } from '../../../src/wire/rafs/inode-v5.ts';
import { SuperblockV5 } from '../../../src/wire/rafs/superblock-v5.ts';
import { bootstrapBytes, FIXTURES, openFileSystem } from '../../support/rafs-fixtures.ts';
import { CollectingSink } from '../../support/read-sink.ts';

/** An image as 2020's builder wrote it: no extended blob table, no chunk index, no CRC. */
function legacy(name: string): ArrayBuffer {
  const buffer = bootstrapBytes(FIXTURES, name);
  const view = new DataView(buffer);
  const table = view.getUint32(SuperblockV5.inodeTableOffset, true);
  for (let i = 0; i < view.getUint32(SuperblockV5.inodeTableEntries, true); i++) {
    const at = view.getUint32(table + i * 4, true) * 8;
    const regular = (view.getUint32(at + InodeV5.mode, true) & 0xf000) === 0x8000;
    if (!regular) continue;
    const sizes = [
      view.getUint16(at + InodeV5.nameSize, true),
      view.getUint16(at + InodeV5.symlinkSize, true),
    ] as const;
    const chunks = at + recordBytesV5(...sizes);
    for (let k = 0; k < view.getUint32(at + InodeV5.childCount, true); k++) {
      view.setBigUint64(chunks + k * ChunkRecordLayout.size + ChunkRecordLayout.index, 0n, true);
    }
  }
  view.setUint32(SuperblockV5.extBlobTableEntries, 0, true);
  view.setUint32(SuperblockV5.extBlobTableOffset, 0, true);
  return buffer;
}

it('numbers the chunks of an image without indices, and finds the sizes its table lacks', () => {
  const name = 'v5-chunks64k-lz4_block';
  const modern = openBootstrap(bootstrapBytes(FIXTURES, name), name).blobs[0]!;
  const old = openBootstrap(legacy(name), name).blobs[0]!;
  expect([old.chunkCount, old.uncompressedSize]).toEqual([modern.chunkCount, modern.uncompressedSize]);
  expect(old.compressedSize).toBeLessThanOrEqual(modern.compressedSize);
});

it('asks for the same chunks of an image without indices as of one with them', () => {
  const name = 'v5-chunks64k-lz4_block';
  const asked = (buffer: ArrayBuffer) => {
    const refs: ChunkRef[] = [];
    const fs = openFileSystem(buffer, { fetcher: { fetch: (_blob, chunks) => void refs.push(...chunks) } });
    for (let lo = 2; lo < 20; lo++) {
      for (let offset = 0; fs.read(0, lo, offset, 1 << 20, new CollectingSink()) === PENDING; )
        offset += 1 << 20;
    }
    return refs.map(({ index, record }) => [index, record!.index, record!.compressedOffset]);
  };
  const indices = asked(legacy(name));
  expect(indices.length).toBeGreaterThan(5);
  expect(indices).toEqual(asked(bootstrapBytes(FIXTURES, name)));
});
