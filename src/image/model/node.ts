import type { Xattr } from '../../native/xattr.ts';
import type { StoredChunk } from './chunk.ts';

/** File type bits of st_mode. */
export const FileType = {
  mask: 0o170000,
  socket: 0o140000,
  symlink: 0o120000,
  regular: 0o100000,
  block: 0o060000,
  directory: 0o040000,
  character: 0o020000,
  fifo: 0o010000,
} as const;

/** A file of the tree to be built. Numbers of the image (`index`, `ino`, `nlink`, …) are set by `assignInodes`. */
export interface ImageNode {
  /** Name in its directory, raw bytes; `/` for the root. */
  readonly name: Buffer;
  /** Where its data is read from, or what it is called in messages; raw bytes. */
  readonly sourcePath: Buffer;
  /** st_mode: type and permissions. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** File bytes; link target length; for directories set by the layout. */
  size: number;
  /** Low 32 bits of st_rdev. */
  readonly rdev: number;
  readonly mtimeSec: bigint;
  readonly mtimeNs: number;
  /** Regular files with the same key are one inode. */
  readonly linkKey: string;
  /** Number of the layer it comes from, lowest 0; links never cross layers. */
  layer: number;
  /** Sorted by name bytes. */
  xattrs: readonly Xattr[];
  /** Of a symbolic link. */
  target: Buffer;
  /** Sorted by name bytes. */
  children: ImageNode[];
  /** Chunk i covers the file from i × chunk size; empty until stored. Aliases of one inode share the array. */
  chunks: readonly StoredChunk[];
  parentIno: number;
  index: number;
  ino: number;
  nlink: number;
  /** Index of the first child. */
  childIndex: number;
  /** Of aliases, the one seen first; otherwise the node itself. */
  first: ImageNode;
}

/** A node of the given properties, not numbered yet. */
export function newNode(
  node: Pick<ImageNode, 'name' | 'sourcePath' | 'mode' | 'linkKey'> & Partial<ImageNode>,
): ImageNode {
  const whole = {
    uid: 0,
    gid: 0,
    size: 0,
    rdev: 0,
    mtimeSec: 0n,
    mtimeNs: 0,
    layer: 0,
    xattrs: [],
    target: Buffer.alloc(0),
    children: [],
    chunks: [],
    parentIno: 0,
    index: 0,
    ino: 0,
    nlink: 1,
    childIndex: 0,
    ...node,
  } satisfies Omit<ImageNode, 'first'> as unknown as ImageNode;
  whole.first = whole;
  return whole;
}

export function isDirectory(node: ImageNode): boolean {
  return (node.mode & FileType.mask) === FileType.directory;
}

export function isRegular(node: ImageNode): boolean {
  return (node.mode & FileType.mask) === FileType.regular;
}

export function isSymlink(node: ImageNode): boolean {
  return (node.mode & FileType.mask) === FileType.symlink;
}

/** Every node in the order in which `assignInodes` numbers them. */
export function* inOrder(root: ImageNode): Generator<ImageNode> {
  yield root;
  const directories = [root];
  for (let directory = directories.pop(); directory !== undefined; directory = directories.pop()) {
    yield* directory.children;
    // The last one pushed is the next: in reverse order, so that the first child's subtree comes first.
    for (const child of directory.children.toReversed()) if (isDirectory(child)) directories.push(child);
  }
}

/** The numbered tree. */
export interface NumberedTree {
  readonly root: ImageNode;
  /** Every directory entry in the order of its index (1 …). File data is stored in this order. */
  readonly byIndex: readonly ImageNode[];
  /** Aliases counted once. */
  readonly inodesCount: number;
}

/**
 * Gives every node its index, inode number and link count: all children of a directory in name order, then each child
 * directory in turn. Only regular files are joined as hard links: the first alias lends its ino.
 */
export function assignInodes(root: ImageNode): NumberedTree {
  const byIndex: ImageNode[] = [root];
  const aliases = new Map<string, ImageNode[]>();
  let inodesCount = 1;
  root.index = root.ino = 1;
  const number = (directory: ImageNode): void => {
    directory.childIndex = byIndex.length + 1;
    let directories = 0;
    for (const child of directory.children) {
      byIndex.push(child);
      child.index = child.ino = byIndex.length;
      child.parentIno = directory.ino;
      // A tree may be numbered again when some of its files are gone.
      child.first = child;
      child.nlink = 1;
      if (isDirectory(child)) directories++;
      if (!isRegular(child) || !joinAlias(child, aliases)) inodesCount++;
    }
    directory.nlink = 2 + directories;
    for (const child of directory.children) if (isDirectory(child)) number(child);
  };
  number(root);
  return { root, byIndex, inodesCount };
}

/** Whether `node` is a further name of a file seen before. */
function joinAlias(node: ImageNode, aliases: Map<string, ImageNode[]>): boolean {
  const key = `${node.layer}:${node.linkKey}`;
  const known = aliases.get(key);
  if (known === undefined) {
    aliases.set(key, [node]);
    return false;
  }
  known.push(node);
  node.first = known[0]!;
  node.ino = node.first.ino;
  for (const alias of known) alias.nlink = known.length;
  return true;
}
