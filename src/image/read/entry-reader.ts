import type { Bootstrap } from '../../rafs/bootstrap.ts';
import { ChunkDigests } from '../../rafs/chunk-digests.ts';
import {
  ChunkAt,
  DirectoryAt,
  type Image,
  InodeAttr,
  S_IFDIR,
  S_IFMT,
  S_IFREG,
  SYMLINK_BYTES_MAX,
} from '../../rafs/image.ts';
import { readI64, readU64 } from '../../wire/rafs/bytes.ts';
import { ChunkRecordLayout, type DecodedChunk, decodeChunk } from '../../wire/rafs/chunk.ts';
import { BlobFeature } from '../../wire/rafs/flags.ts';
import { InodeFlagV5, InodeV5 } from '../../wire/rafs/inode-v5.ts';
import { ExtendedInode } from '../../wire/rafs/inode-v6.ts';
import { debugText } from '../model/debug-text.ts';
import { ImageError } from '../model/error.ts';
import { chunkRecordsV5, readEntry, type WalkEntry } from './tree-walk.ts';

const NO_DIGEST = new Uint8Array(32);
/** Numbers of an inode as the original counts them. */
export interface EntryAttributes {
  /** v5: index of the first child; 0 in v6. */
  readonly childIndex: number;
  /** Of a directory, its entries; of others, the chunks a file of this size has. */
  readonly childCount: number;
  readonly nlink: number;
  readonly size: number;
  /** 512-byte units. */
  readonly blocks: number;
  /** Low 16 bits of the size in v6, whatever the type. */
  readonly symlinkSize: number;
  readonly hasXattrs: boolean;
  /** Seconds. */
  readonly mtime: number;
  readonly mtimeNs: number;
}

/** Inodes and chunks of a bootstrap's entries as the original's `check`, `stat` and `inspect` see them. */
export class EntryReader {
  readonly bootstrap: Bootstrap;
  readonly #image: Image;
  readonly #digests: ChunkDigests;
  readonly #attr = new InodeAttr();
  readonly #chunk = new ChunkAt();

  constructor(bootstrap: Bootstrap, image: Image) {
    this.bootstrap = bootstrap;
    this.#image = image;
    this.#digests = new ChunkDigests(bootstrap);
  }

  /**
   * Chunks of a regular file in their order; none for others. Throws ImageError IMAGE_DAMAGED for
   * one that nothing describes.
   */
  *chunks(entry: WalkEntry): Generator<DecodedChunk> {
    if ((entry.mode & S_IFMT) !== S_IFREG) return;
    const { bootstrap } = this;
    if (bootstrap.version === 5) {
      const { chunks, count } = chunkRecordsV5(bootstrap.view, entry.at);
      if (chunks + count * ChunkRecordLayout.size > bootstrap.bytes.length)
        throw new ImageError(
          'IMAGE_DAMAGED',
          `${debugText(entry.path())}: chunk records outside the bootstrap`,
        );
      for (let i = 0; i < count; i++) yield decodeChunk(bootstrap.view, chunks + i * ChunkRecordLayout.size);
      return;
    }
    const size = this.#image.size(entry.lo);
    for (let i = 0; i * bootstrap.chunkSize < size; i++) yield this.#chunkV6(entry, i);
  }

  #chunkV6(entry: WalkEntry, i: number): DecodedChunk {
    const at = this.#chunk;
    const fault = this.#image.chunk(entry.lo, i, at) === 0 ? null : this.#image.fault;
    const found = fault === null ? this.#digests.find(at.blob, at.index) : null;
    if (found !== null) return found;
    if (fault === null && this.bootstrap.blobs[at.blob]!.features & BlobFeature.tarfs) return tarfsChunk(at);
    const rule = fault ?? `chunk ${at.index} of blob ${at.blob} is not in the chunk table`;
    throw new ImageError('IMAGE_DAMAGED', `${debugText(entry.path())}: chunk ${i}: ${rule}`);
  }

  /** Target of a link, raw bytes. */
  target(lo: number): Uint8Array {
    const target = new Uint8Array(SYMLINK_BYTES_MAX);
    return target.subarray(0, this.#image.readlink(lo, target, 0));
  }

  /** Entries of a directory without the dots. */
  childCount(lo: number): number {
    const entry = new DirectoryAt();
    let count = 0;
    for (let cookie = 0; readEntry(this.bootstrap, this.#image, lo, cookie, entry) > 0; cookie = entry.cookie)
      if (!entry.dot) count++;
    return count;
  }

  /** Owner as stored. */
  owner({ lo, at }: WalkEntry): { uid: number; gid: number } {
    const { view, version } = this.bootstrap;
    if (version === 5)
      return { uid: view.getUint32(at + InodeV5.uid, true), gid: view.getUint32(at + InodeV5.gid, true) };
    this.#image.attr(lo, this.#attr);
    return { uid: this.#attr.uid, gid: this.#attr.gid };
  }

  /** What an entry's inode says; of a v5 alias, its own record. */
  attributes(entry: WalkEntry): EntryAttributes {
    const { view, chunkSize } = this.bootstrap;
    const { lo, at } = entry;
    if (this.bootstrap.version === 5)
      return {
        childIndex: view.getUint32(at + InodeV5.childIndex, true),
        childCount: view.getUint32(at + InodeV5.childCount, true),
        nlink: view.getUint32(at + InodeV5.nlink, true),
        size: readU64(view, at + InodeV5.fileSize),
        blocks: readU64(view, at + InodeV5.blocks),
        symlinkSize: view.getUint16(at + InodeV5.symlinkSize, true),
        hasXattrs: (view.getUint32(at + InodeV5.flags, true) & InodeFlagV5.xattr) !== 0,
        mtime: readI64(view, at + InodeV5.mtime),
        mtimeNs: view.getUint32(at + InodeV5.mtimeNs, true),
      };
    const attr = this.#attr;
    this.#image.attr(lo, attr);
    const { nlink, size, blocks, mtime, mtimeNs } = attr;
    const isDirectory = (entry.mode & S_IFMT) === S_IFDIR;
    return {
      childIndex: 0,
      childCount: isDirectory ? this.childCount(lo) : Math.ceil(size / chunkSize) % 2 ** 32,
      nlink,
      size,
      blocks,
      symlinkSize: size % 2 ** 16,
      hasXattrs: view.getUint16(at + ExtendedInode.xattrCount, true) > 0,
      mtime,
      mtimeNs,
    };
  }
}

/** tarfs: a chunk is where the tar has it, as it is. */
function tarfsChunk({ blob, index, offset, size }: ChunkAt): DecodedChunk {
  return {
    blobIndex: blob,
    index,
    flags: 0,
    compressedOffset: offset,
    compressedSize: size,
    uncompressedOffset: offset,
    uncompressedSize: size,
    fileOffset: 0,
    crc32c: 0,
    digest: NO_DIGEST,
  };
}
