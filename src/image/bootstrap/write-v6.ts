import { align8, writeU64 } from '../../wire/rafs/bytes.ts';
import { ChunkRecordLayout, encodeChunk } from '../../wire/rafs/chunk.ts';
import {
  type BlobRowFields,
  encodeBlobRowV6,
  encodeChunkAddressV6,
  encodeDeviceV6,
  encodeExtendedInodeV6,
  encodeSuperblockV6,
} from '../../wire/rafs/encode-v6.ts';
import { BlobFeature, compressors, digesters, SuperFlag } from '../../wire/rafs/flags.ts';
import { CHUNK_FORMAT_INDEXES, DataLayout, Dirent, INODE_SLOT } from '../../wire/rafs/inode-v6.ts';
import { BlobRowV6, DeviceV6 } from '../../wire/rafs/superblock-v6.ts';
import { XattrBodyV6, XattrEntryV6, xattrPrefixes } from '../../wire/rafs/xattr.ts';
import type { ImageBlob } from '../model/blob.ts';
import type { StoredChunk } from '../model/chunk.ts';
import { ImageError } from '../model/error.ts';
import {
  FileType,
  type ImageNode,
  isDirectory,
  isRegular,
  isSymlink,
  type NumberedTree,
} from '../model/node.ts';
import {
  align4,
  BLOCK_SIZE,
  direntBlocks,
  direntsOf,
  inodeSizeV6,
  type LayoutV6,
  layoutV6,
  type PlaceV6,
  TARFS_BLOCK_SIZE,
  xattrIndexV6,
  xattrSizeV6,
} from './layout-v6.ts';
import { type BootstrapOptions, superFlags } from './options.ts';

/** Devices are placed behind the bootstrap at multiples of this when an image is shown as one disk. */
const SEGMENT_ALIGNMENT = 0x8_0000;
const XATTR_UNITS_MAX = 0xffff;
const XATTR_VALUE_MAX = 0xffff;
/** EROFS file type by the type bits of st_mode, shifted right by 12. */
const EROFS_TYPES: Readonly<Record<number, number>> = { 8: 1, 4: 2, 2: 3, 6: 4, 1: 5, 12: 6, 10: 7 };

/**
 * The EROFS-compatible bootstrap of a tree whose data has been stored. Throws ImageError where the format has no room.
 */
export function writeBootstrapV6(tree: NumberedTree, options: BootstrapOptions): Buffer {
  const blockSize = options.tarfs === true ? TARFS_BLOCK_SIZE : BLOCK_SIZE;
  const layout = layoutV6(tree, blockSize);
  const { blobs } = options;
  const blobTableOffset = alignBlock(DeviceV6.base + blobs.length * DeviceV6.size);
  const prefetchOffset = blobTableOffset + blobs.length * BlobRowV6.size;
  // Without data there is nothing to read ahead, and nothing to put before the inodes.
  const prefetch = blobs.length === 0 ? [] : options.prefetch;
  const metaAddress = blobs.length === 0 ? 0 : alignBlock(prefetchOffset + prefetch.length * 4);
  const chunkTable = collectChunks(tree, options.chunkSize);
  const chunkTableOffset = alignBlock(metaAddress + layout.end);
  const chunkTableSize = chunkTable.length * ChunkRecordLayout.size;
  const out = Buffer.alloc(alignBlock(chunkTableOffset + chunkTableSize));
  const view = new DataView(out.buffer, out.byteOffset, out.length);

  const writer = new InodeWriter(out, view, layout, metaAddress, options.chunkSize, blockSize);
  writer.write(tree);
  for (const [i, entry] of chunkTable.entries()) {
    const record = { ...entry.chunk, fileOffset: entry.fileOffset };
    encodeChunk(view, chunkTableOffset + i * ChunkRecordLayout.size, record);
  }
  for (const [i, node] of prefetch.entries()) view.setUint32(prefetchOffset + i * 4, writer.nid(node), true);
  let mapped = out.length;
  for (const [i, blob] of blobs.entries()) {
    encodeBlobRowV6(view, blobTableOffset + i * BlobRowV6.size, blobRow(blob, i, options));
    mapped = Math.ceil(mapped / SEGMENT_ALIGNMENT) * SEGMENT_ALIGNMENT;
    const blocks = Math.floor(blob.uncompressedSize / blockSize);
    encodeDeviceV6(view, i, { blobId: blob.id, blocks, mappedBlockAddress: mapped / blockSize });
    mapped += blocks * blockSize;
  }
  // As upstream, of no blobs it is said that all have their digests inlined.
  const digestsInlined = blobs.every((blob) => (blob.features & BlobFeature.inlinedChunkDigest) !== 0)
    ? SuperFlag.inlinedChunkDigest
    : 0;
  const cipher =
    (options.encrypt ?? blobs.some((blob) => blob.cipherKey !== null))
      ? SuperFlag.encryptionAes128Xts
      : SuperFlag.encryptionNone;
  encodeSuperblockV6(view, {
    rootNid: writer.nid(tree.root),
    inos: tree.byIndex.length,
    blocks: blobs.reduce((sum, blob) => sum + Math.floor(blob.uncompressedSize / blockSize), 0),
    metaBlockAddress: metaAddress / blockSize,
    blockSize,
    extraDevices: blobs.length,
    flags:
      superFlags(options, tree) | (options.tarfs === true ? SuperFlag.tarfs : 0) | cipher | digestsInlined,
    chunkSize: options.chunkSize,
    blobTableOffset,
    blobTableSize: blobs.length * BlobRowV6.size,
    chunkTableOffset,
    chunkTableSize,
    prefetchTableOffset: prefetch.length === 0 ? 0 : prefetchOffset,
    prefetchTableSize: prefetch.length * 4,
  });
  return out;
}

function blobRow(blob: ImageBlob, index: number, options: BootstrapOptions): BlobRowFields {
  const { cipherKey, cipherIv } = blob;
  return {
    ...blob,
    index,
    chunkSize: options.chunkSize,
    compressor: compressors.indexOf(blob.compressor),
    digester: digesters.indexOf(blob.digester),
    ciCompressor: compressors.indexOf(blob.ciCompressor),
    cipher: cipherKey !== null && cipherIv !== null ? { key: cipherKey, iv: cipherIv } : null,
  };
}

interface ChunkEntry {
  readonly chunk: StoredChunk;
  /** Where the last file that holds the chunk has it. */
  readonly fileOffset: number;
}

/**
 * Every chunk once for each blob, sorted by digest and blob. Where two layers name the same blob its chunks are of two
 * objects; of blobs without digests one row stands for all.
 */
function collectChunks(tree: NumberedTree, chunkSize: number): ChunkEntry[] {
  const entries = new Map<string, ChunkEntry>();
  for (const node of tree.byIndex) {
    for (const [i, chunk] of node.chunks.entries()) {
      const key = `${chunk.digest.toString('latin1')}${chunk.blobIndex}`;
      // Chunks of layers keep what their tables say, even if that file is gone from the tree.
      entries.set(key, { chunk, fileOffset: chunk.fileOffset ?? i * chunkSize });
    }
  }
  const byBlob = (a: StoredChunk, b: StoredChunk): number => a.blobIndex - b.blobIndex;
  return [...entries.values()].sort(
    (a, b) => Buffer.compare(a.chunk.digest, b.chunk.digest) || byBlob(a.chunk, b.chunk),
  );
}

class InodeWriter {
  readonly #out: Buffer;
  readonly #view: DataView;
  readonly #layout: LayoutV6;
  readonly #metaAddress: number;
  readonly #chunkSize: number;
  readonly #blockSize: number;

  constructor(
    out: Buffer,
    view: DataView,
    layout: LayoutV6,
    metaAddress: number,
    chunkSize: number,
    blockSize: number,
  ) {
    this.#blockSize = blockSize;
    this.#out = out;
    this.#view = view;
    this.#layout = layout;
    this.#metaAddress = metaAddress;
    this.#chunkSize = chunkSize;
  }

  nid(node: ImageNode): number {
    return this.#place(node).offset / INODE_SLOT;
  }

  write(tree: NumberedTree): void {
    const parents = new Map<ImageNode, ImageNode>([[tree.root, tree.root]]);
    for (const node of tree.byIndex) {
      for (const child of node.children) parents.set(child, node);
      if (node.first !== node) continue;
      const at = this.#metaAddress + this.#place(node).offset;
      this.#writeInode(node, at);
      if (isDirectory(node)) this.#writeDirents(node, parents.get(node)!, at);
      else if (isRegular(node)) this.#writeChunkAddresses(node, at);
      else if (isSymlink(node)) this.#writeTarget(node, at);
    }
  }

  #place(node: ImageNode): PlaceV6 {
    return this.#layout.places.get(node)!;
  }

  #writeInode(node: ImageNode, at: number): void {
    const place = this.#place(node);
    const xattrSize = xattrSizeV6(node.xattrs);
    const xattrCount = xattrSize === 0 ? 0 : (xattrSize - XattrBodyV6.size) / 4 + 1;
    if (xattrCount > XATTR_UNITS_MAX) {
      throw new ImageError(
        'IMAGE_BAD_XATTR',
        `${node.sourcePath}: extended attributes larger than v6 can hold`,
      );
    }
    encodeExtendedInodeV6(this.#view, at, {
      ...node,
      layout: place.layout,
      xattrCount,
      union: this.#union(node, place),
    });
    if (xattrSize > 0) this.#writeXattrs(node, at);
  }

  #union(node: ImageNode, place: PlaceV6): number {
    if (isDirectory(node) || isSymlink(node)) {
      return Math.floor((this.#metaAddress + place.dataOffset) / this.#blockSize);
    }
    return isRegular(node) ? this.#chunkFormat(node) : node.rdev;
  }

  /** A file stored in one piece is described as one large chunk, so that the kernel shares its pages. */
  #chunkFormat(node: ImageNode): number {
    const { chunks } = node;
    const size = this.#chunkSize;
    const inOnePiece = chunks.every((chunk, i) => {
      const previous = chunks[i - 1];
      return (
        previous === undefined ||
        (previous.blobIndex === chunk.blobIndex &&
          previous.uncompressedOffset + size === chunk.uncompressedOffset)
      );
    });
    const span = inOnePiece && node.size > size ? 2 ** Math.ceil(Math.log2(node.size)) : size;
    return CHUNK_FORMAT_INDEXES | Math.log2(span / this.#blockSize);
  }

  #writeXattrs(node: ImageNode, inodeAt: number): void {
    let at = inodeAt + inodeSizeV6(node) - xattrSizeV6(node.xattrs) + XattrBodyV6.size;
    for (const { name, value } of node.xattrs) {
      if (value.length > XATTR_VALUE_MAX) {
        throw new ImageError(
          'IMAGE_BAD_XATTR',
          `${node.sourcePath}: value of ${name} is longer than 65535 bytes`,
        );
      }
      const index = xattrIndexV6(name);
      const suffix = name.subarray(xattrPrefixes[index]!.length);
      this.#out[at + XattrEntryV6.nameLength] = suffix.length;
      this.#out[at + XattrEntryV6.nameIndex] = index;
      this.#view.setUint16(at + XattrEntryV6.valueSize, value.length, true);
      this.#out.set(suffix, at + XattrEntryV6.size);
      this.#out.set(value, at + XattrEntryV6.size + suffix.length);
      at += align4(XattrEntryV6.size + suffix.length + value.length);
    }
  }

  #writeChunkAddresses(node: ImageNode, inodeAt: number): void {
    const at = align8(inodeAt + inodeSizeV6(node));
    for (const [i, chunk] of node.chunks.entries()) {
      encodeChunkAddressV6(this.#view, at + i * 8, {
        blobIndex: chunk.blobIndex,
        index: chunk.index,
        blockAddress: chunk.uncompressedOffset / this.#blockSize,
      });
    }
  }

  #writeTarget(node: ImageNode, inodeAt: number): void {
    const whole = Math.floor(node.size / this.#blockSize);
    const split = whole * this.#blockSize;
    if (whole > 0) this.#out.set(node.target.subarray(0, split), this.#dataAt(node, 0));
    if (split < node.size) this.#out.set(node.target.subarray(split), this.#tailAt(node, inodeAt, whole));
  }

  #writeDirents(node: ImageNode, parent: ImageNode, inodeAt: number): void {
    const { blocks } = direntBlocks(direntsOf(node, parent), this.#blockSize);
    for (const [i, block] of blocks.entries()) {
      const whole = (i + 1) * this.#blockSize <= node.size;
      const at = whole ? this.#dataAt(node, i) : this.#tailAt(node, inodeAt, i);
      let nameOffset = block.length * Dirent.size;
      for (const [k, entry] of block.entries()) {
        const direntAt = at + k * Dirent.size;
        writeU64(this.#view, direntAt + Dirent.nid, this.nid(entry.node));
        this.#view.setUint16(direntAt + Dirent.nameOffset, nameOffset, true);
        this.#out[direntAt + Dirent.type] = EROFS_TYPES[(entry.node.mode & FileType.mask) >> 12] ?? 0;
        this.#out.set(entry.name, at + nameOffset);
        nameOffset += entry.name.length;
      }
    }
  }

  #dataAt(node: ImageNode, block: number): number {
    return this.#metaAddress + this.#place(node).dataOffset + block * this.#blockSize;
  }

  /** The last, partly filled block. */
  #tailAt(node: ImageNode, inodeAt: number, block: number): number {
    const inline = this.#place(node).layout === DataLayout.flatInline;
    return inline ? inodeAt + inodeSizeV6(node) : this.#dataAt(node, block);
  }
}

function alignBlock(value: number): number {
  return Math.ceil(value / BLOCK_SIZE) * BLOCK_SIZE;
}
