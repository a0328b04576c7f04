import { type DigestAlgorithm, digest } from '../../lib/content-hash.ts';
import type { Xattr } from '../../native/xattr.ts';
import { align8 } from '../../wire/rafs/bytes.ts';
import { ChunkRecordLayout } from '../../wire/rafs/chunk.ts';
import { InodeV5 } from '../../wire/rafs/inode-v5.ts';
import { XattrPairV5, XattrTableV5 } from '../../wire/rafs/xattr.ts';
import { type ImageNode, isDirectory, isRegular, isSymlink, type NumberedTree } from '../model/node.ts';

const DIRECTORY_UNIT = 4096;
/** What v5 counts for an entry beside its name. */
const ENTRY_OVERHEAD = 8;

/** Where records lie, from the start of the first one, and what they say beyond the node. */
export interface LayoutV5 {
  /** Nodes in the order of their records: each before its children. */
  readonly order: readonly ImageNode[];
  readonly offsets: ReadonlyMap<ImageNode, number>;
  readonly digests: ReadonlyMap<ImageNode, Buffer>;
  /** Bytes of all records. */
  readonly size: number;
}

/** Lays out the records and digests the tree bottom-up; sets directory sizes. */
export function layoutV5(tree: NumberedTree, digester: DigestAlgorithm): LayoutV5 {
  const order: ImageNode[] = [];
  const offsets = new Map<ImageNode, number>();
  const digests = new Map<ImageNode, Buffer>();
  let size = 0;
  const place = (node: ImageNode): Buffer => {
    if (isDirectory(node)) node.size = directorySizeV5(node);
    order.push(node);
    offsets.set(node, size);
    size += recordSizeV5(node);
    const children = node.children.map(place);
    const own = inodeDigestV5(node, children, digester);
    digests.set(node, own);
    return own;
  };
  place(tree.root);
  return { order, offsets, digests, size };
}

/** Pseudo size of a directory: whole 4096-byte units of names and overhead, one when empty. */
function directorySizeV5(directory: ImageNode): number {
  let size = 0;
  for (const child of directory.children) size += child.name.length + ENTRY_OVERHEAD;
  return Math.max(1, Math.ceil(size / DIRECTORY_UNIT)) * DIRECTORY_UNIT;
}

/** Digest of an inode: over its chunks' digests, its target or its children's digests. Metadata is not covered. */
function inodeDigestV5(node: ImageNode, children: readonly Buffer[], digester: DigestAlgorithm): Buffer {
  if (isDirectory(node)) return digest(digester, Buffer.concat(children));
  if (isRegular(node)) return digest(digester, Buffer.concat(node.chunks.map((chunk) => chunk.digest)));
  return digest(digester, isSymlink(node) ? node.target : Buffer.alloc(0));
}

/** Bytes of a record with name, target, attributes and chunks. */
function recordSizeV5(node: ImageNode): number {
  return (
    InodeV5.size +
    align8(node.name.length) +
    align8(node.target.length) +
    xattrTableSizeV5(node.xattrs) +
    node.chunks.length * ChunkRecordLayout.size
  );
}

/** Bytes of the attribute table with its length field; 0 without attributes. */
export function xattrTableSizeV5(xattrs: readonly Xattr[]): number {
  return xattrs.length === 0 ? 0 : XattrTableV5.pairs + align8(xattrPairsSizeV5(xattrs));
}

/** Bytes of the attribute pairs, unpadded. */
export function xattrPairsSizeV5(xattrs: readonly Xattr[]): number {
  let size = 0;
  for (const { name, value } of xattrs) size += XattrPairV5.name + name.length + 1 + value.length;
  return size;
}
