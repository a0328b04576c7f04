import { align8, writeU64 } from '../../wire/rafs/bytes.ts';
import { ChunkRecordLayout, encodeChunk } from '../../wire/rafs/chunk.ts';
import {
  encodeBlobTableV5,
  encodeExtBlobV5,
  encodeInodeV5,
  encodeSuperblockV5,
} from '../../wire/rafs/encode-v5.ts';
import { INODE_OFFSET_UNIT_V5, InodeFlagV5, InodeV5, NO_DEVICE } from '../../wire/rafs/inode-v5.ts';
import { ExtBlobV5, SuperblockV5 } from '../../wire/rafs/superblock-v5.ts';
import { XattrPairV5, XattrTableV5 } from '../../wire/rafs/xattr.ts';
import { ImageError } from '../model/error.ts';
import { type ImageNode, isDirectory, isRegular, isSymlink, type NumberedTree } from '../model/node.ts';
import { type LayoutV5, layoutV5, xattrPairsSizeV5, xattrTableSizeV5 } from './layout-v5.ts';
import { type BootstrapOptions, superFlags } from './options.ts';

/** Readers refuse larger ones. */
const BOOTSTRAP_MAX = 0x8000_0000;
const SECTOR = 512;

/** The v5 bootstrap of a tree whose data has been stored. Throws ImageError where the format has no room. */
export function writeBootstrapV5(tree: NumberedTree, options: BootstrapOptions): Buffer {
  const layout = layoutV5(tree, options.digester);
  const { blobs } = options;
  const blobTable = encodeBlobTableV5(blobs.map((blob) => ({ ...blob, readaheadOffset: 0 })));
  const inodeTableOffset = SuperblockV5.size;
  const prefetchOffset = inodeTableOffset + align8(tree.byIndex.length * 4);
  const blobTableOffset = prefetchOffset + align8(options.prefetch.length * 4);
  const extOffset = blobTableOffset + blobTable.length;
  const recordsOffset = extOffset + blobs.length * ExtBlobV5.size;
  if (recordsOffset + layout.size > BOOTSTRAP_MAX) {
    throw new ImageError('IMAGE_TOO_LARGE', 'bootstrap larger than 2 GiB: use a larger --chunk-size or v6');
  }
  const out = Buffer.alloc(recordsOffset + layout.size);
  const view = new DataView(out.buffer, out.byteOffset, out.length);
  encodeSuperblockV5(view, {
    chunkSize: options.chunkSize,
    flags: superFlags(options, tree),
    inodesCount: tree.inodesCount,
    inodeTableOffset,
    inodeTableEntries: tree.byIndex.length,
    prefetchTableOffset: prefetchOffset,
    prefetchTableEntries: options.prefetch.length,
    blobTableOffset,
    blobTableSize: blobTable.length,
    extBlobTableOffset: extOffset,
    extBlobTableEntries: blobs.length,
  });
  for (const [i, node] of options.prefetch.entries()) view.setUint32(prefetchOffset + i * 4, node.ino, true);
  out.set(blobTable, blobTableOffset);
  for (const [i, blob] of blobs.entries()) encodeExtBlobV5(view, extOffset + i * ExtBlobV5.size, blob);
  for (const node of layout.order) {
    const at = recordsOffset + layout.offsets.get(node)!;
    view.setUint32(inodeTableOffset + (node.index - 1) * 4, at / INODE_OFFSET_UNIT_V5, true);
    writeRecord(out, view, at, node, layout, options.chunkSize);
  }
  return out;
}

function flagsOf(node: ImageNode): number {
  // Its rdev tells a file that came in a tar, also when it has been loaded from an image.
  const isLink = isRegular(node) && node.nlink > 1 && node.rdev === NO_DEVICE;
  return (
    (isSymlink(node) ? InodeFlagV5.symlink : 0) |
    (isLink ? InodeFlagV5.hardlink : 0) |
    (node.xattrs.length > 0 ? InodeFlagV5.xattr : 0)
  );
}

function writeRecord(
  out: Buffer,
  view: DataView,
  start: number,
  node: ImageNode,
  layout: LayoutV5,
  chunkSize: number,
): void {
  const xattrSize = xattrPairsSizeV5(node.xattrs);
  encodeInodeV5(view, start, {
    ...node,
    digest: layout.digests.get(node)!,
    blocks: Math.ceil((node.size + align8(xattrSize)) / SECTOR),
    flags: flagsOf(node),
    childCount: isDirectory(node) ? node.children.length : node.chunks.length,
    nameSize: node.name.length,
    symlinkSize: node.target.length,
  });
  let at = start + InodeV5.size;
  out.set(node.name, at);
  at += align8(node.name.length);
  out.set(node.target, at);
  at += align8(node.target.length);
  if (xattrSize > 0) writeXattrs(out, view, at, node);
  at += xattrTableSizeV5(node.xattrs);
  for (const [i, chunk] of node.chunks.entries()) {
    const record = { ...chunk, fileOffset: i * chunkSize };
    encodeChunk(view, at + i * ChunkRecordLayout.size, record);
  }
}

function writeXattrs(out: Buffer, view: DataView, start: number, node: ImageNode): void {
  writeU64(view, start + XattrTableV5.size, xattrPairsSizeV5(node.xattrs));
  let at = start + XattrTableV5.pairs;
  for (const { name, value } of node.xattrs) {
    view.setUint32(at + XattrPairV5.size, name.length + 1 + value.length, true);
    out.set(name, at + XattrPairV5.name);
    out.set(value, at + XattrPairV5.name + name.length + 1);
    at += XattrPairV5.name + name.length + 1 + value.length;
  }
}
