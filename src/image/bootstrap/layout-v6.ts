import type { Xattr } from '../../native/xattr.ts';
import { align8 } from '../../wire/rafs/bytes.ts';
import { ChunkAddress } from '../../wire/rafs/chunk.ts';
import { DataLayout, Dirent, ExtendedInode, INODE_SLOT } from '../../wire/rafs/inode-v6.ts';
import { XattrBodyV6, XattrEntryV6, xattrPrefixes } from '../../wire/rafs/xattr.ts';
import { type ImageNode, isDirectory, isRegular, isSymlink, type NumberedTree } from '../model/node.ts';

export const BLOCK_SIZE = 4096;
/** Of images whose data is a tar as it is ("tarfs"). */
export const TARFS_BLOCK_SIZE = 512;
/** Unused space before the root, so that no inode has number 0. */
const AREA_START = 4096;
const DOT = Buffer.from('.');
const DOT_DOT = Buffer.from('..');

/** Where an inode lies. Offsets are relative to the meta area's address; the first block of the area stays empty. */
export interface PlaceV6 {
  readonly offset: number;
  readonly layout: number;
  /** Where whole blocks of entries or of a link target lie; the tail of an inline inode follows the inode. */
  readonly dataOffset: number;
}

/** A directory entry with `.` and `..` among them. */
interface DirentV6 {
  readonly name: Buffer;
  readonly node: ImageNode;
}

/** Places of all inodes and the end of the area, in bytes from the meta area's address. */
export interface LayoutV6 {
  readonly places: ReadonlyMap<ImageNode, PlaceV6>;
  readonly end: number;
}

/** Lays out a numbered tree: directories when their parent's other children are placed, all others in name order. */
export function layoutV6(tree: NumberedTree, blockSize: number = BLOCK_SIZE): LayoutV6 {
  const places = new Map<ImageNode, PlaceV6>();
  const area = new InodeArea(blockSize);
  const place = (directory: ImageNode): void => {
    directory.size = direntBlocks(direntsOf(directory, directory), blockSize).size;
    places.set(directory, area.placeWithTail(directory));
    for (const child of directory.children) {
      if (isDirectory(child)) continue;
      if (child.first !== child) places.set(child, places.get(child.first)!);
      else if (isRegular(child)) places.set(child, area.placeRegular(child));
      else places.set(child, isSymlink(child) ? area.placeWithTail(child) : area.placeSpecial(child));
    }
    for (const child of directory.children) if (isDirectory(child)) place(child);
  };
  place(tree.root);
  return { places, end: area.end };
}

/** Bytes of an inode with its attributes. */
export function inodeSizeV6(node: ImageNode): number {
  return ExtendedInode.size + xattrSizeV6(node.xattrs);
}

/** Bytes of the inline attribute area; 0 without attributes. */
export function xattrSizeV6(xattrs: readonly Xattr[]): number {
  if (xattrs.length === 0) return 0;
  let size: number = XattrBodyV6.size;
  for (const { name, value } of xattrs) {
    const prefix = xattrPrefixes[xattrIndexV6(name)]!;
    size += align4(XattrEntryV6.size + name.length - prefix.length + value.length);
  }
  return size;
}

/** EROFS name index of an attribute's prefix; the walk lets only storable names pass. */
export function xattrIndexV6(name: Buffer): number {
  return xattrPrefixes.findIndex(
    (prefix) => prefix !== undefined && name.subarray(0, prefix.length).equals(prefix),
  );
}

export function align4(value: number): number {
  return Math.ceil(value / 4) * 4;
}

/** All entries of a directory in byte order; names such as `!` or `-` come before `.`. */
export function direntsOf(directory: ImageNode, parent: ImageNode): DirentV6[] {
  const entries: DirentV6[] = [
    { name: DOT, node: directory },
    { name: DOT_DOT, node: parent },
  ];
  for (const node of directory.children) entries.push({ name: node.name, node });
  const first = directory.children[0];
  // Children are sorted already: only names before `..` can displace the two in front.
  if (first !== undefined && Buffer.compare(first.name, DOT_DOT) < 0) {
    entries.sort((a, b) => Buffer.compare(a.name, b.name));
  }
  return entries;
}

/** Entries by block, filled in order, and i_size: every block but the last counts whole. */
export function direntBlocks(
  entries: readonly DirentV6[],
  blockSize: number,
): { blocks: DirentV6[][]; size: number } {
  const blocks: DirentV6[][] = [[]];
  let used = 0;
  for (const entry of entries) {
    const length = Dirent.size + entry.name.length;
    if (used + length > blockSize) {
      blocks.push([]);
      used = 0;
    }
    blocks.at(-1)!.push(entry);
    used += length;
  }
  return { blocks, size: (blocks.length - 1) * blockSize + used };
}

/**
 * The space of inodes: a cursor, and blocks which the cursor left partly used, by their free slots. First fit by free
 * slots, oldest block first, as the original allocates, so that the same tree gives the same bytes.
 */
class InodeArea {
  readonly #blockSize: number;
  #cursor = AREA_START;
  readonly #free: number[][];

  constructor(blockSize: number) {
    this.#blockSize = blockSize;
    this.#free = Array.from({ length: blockSize / INODE_SLOT }, () => []);
  }

  get end(): number {
    return this.#cursor;
  }

  placeRegular(node: ImageNode): PlaceV6 {
    const size = align8(inodeSizeV6(node)) + node.chunks.length * ChunkAddress.size;
    const place = {
      offset: this.#take(size) ?? this.#append(size),
      layout: DataLayout.chunkBased,
      dataOffset: 0,
    };
    this.#align(INODE_SLOT);
    return place;
  }

  placeSpecial(node: ImageNode): PlaceV6 {
    const offset = this.#append(inodeSizeV6(node));
    this.#align(INODE_SLOT);
    return { offset, layout: DataLayout.flatPlain, dataOffset: 0 };
  }

  /**
   * A directory or link: the part of its data that does not fill a block goes behind the inode if both fit one block.
   */
  placeWithTail(node: ImageNode): PlaceV6 {
    const inodeSize = inodeSizeV6(node);
    const tail = node.size % this.#blockSize;
    const inline = tail !== 0 && inodeSize + tail <= this.#blockSize;
    const place = inline
      ? this.#placeInline(node.size, inodeSize + tail)
      : this.#placePlain(node.size, inodeSize);
    this.#align(INODE_SLOT);
    return place;
  }

  #placeInline(dataSize: number, size: number): PlaceV6 {
    let offset = this.#take(size);
    if (offset === undefined) {
      // An inline tail must not cross a block boundary.
      if (this.#blockSize - (this.#cursor % this.#blockSize) < size) this.#leaveBlock();
      offset = this.#append(size);
    }
    if (dataSize >= this.#blockSize) this.#leaveBlock();
    const dataOffset = this.#append(Math.floor(dataSize / this.#blockSize) * this.#blockSize);
    return { offset, layout: DataLayout.flatInline, dataOffset };
  }

  #placePlain(dataSize: number, inodeSize: number): PlaceV6 {
    const offset = this.#take(inodeSize) ?? this.#append(inodeSize);
    this.#leaveBlock();
    const dataOffset = this.#append(dataSize);
    this.#align(this.#blockSize);
    return { offset, layout: DataLayout.flatPlain, dataOffset };
  }

  #append(size: number): number {
    const offset = this.#cursor;
    this.#cursor += size;
    return offset;
  }

  #align(alignment: number): void {
    this.#cursor = Math.ceil(this.#cursor / alignment) * alignment;
  }

  #leaveBlock(): void {
    this.#giveBack(this.#cursor);
    this.#align(this.#blockSize);
  }

  #take(size: number): number | undefined {
    if (size >= this.#blockSize) return undefined;
    const slots = Math.ceil(size / INODE_SLOT);
    for (let free = slots; free < this.#free.length; free++) {
      const block = this.#free[free]!.shift();
      if (block === undefined) continue;
      const offset = block + this.#blockSize - free * INODE_SLOT;
      this.#giveBack(offset + slots * INODE_SLOT);
      return offset;
    }
    return undefined;
  }

  #giveBack(offset: number): void {
    const used = offset % this.#blockSize;
    if (used === 0) return;
    this.#free[Math.floor((this.#blockSize - used) / INODE_SLOT)]!.push(offset - used);
  }
}
