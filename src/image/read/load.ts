import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import { addonCodecs } from '../../blob/codecs.ts';
import { extractBootstrap } from '../../blob/toc.ts';
import { DIGEST_BYTES } from '../../lib/content-hash.ts';
import { addon } from '../../native/index.ts';
import type { Xattr } from '../../native/xattr.ts';
import { BOOTSTRAP_BYTES_MAX, type Bootstrap } from '../../rafs/bootstrap.ts';
import { ChunkDigests } from '../../rafs/chunk-digests.ts';
import { ChunkAt, type Image, InodeAttr, SYMLINK_BYTES_MAX } from '../../rafs/image.ts';
import { openBootstrap } from '../../rafs/open-bootstrap.ts';
import { openSource } from '../../source/open.ts';
import { readU64 } from '../../wire/rafs/bytes.ts';
import { ChunkRecordLayout, decodeChunk } from '../../wire/rafs/chunk.ts';
import { RafsError } from '../../wire/rafs/error.ts';
import { BlobFeature, SuperFlag, UNKNOWN_BLOB_ID } from '../../wire/rafs/flags.ts';
import { INODE_OFFSET_UNIT_V5, InodeV5 } from '../../wire/rafs/inode-v5.ts';
import { ExtendedInode } from '../../wire/rafs/inode-v6.ts';
import { type StoredChunk, tarfsChunk } from '../model/chunk.ts';
import { debugText } from '../model/debug-text.ts';
import { ImageError, reason } from '../model/error.ts';
import { FileType, type ImageNode, isDirectory, isRegular, isSymlink, newNode } from '../model/node.ts';
import { imageOf, inodeAtV6, type WalkEntry, walkTree } from './tree-walk.ts';
import { readXattrs } from './xattrs.ts';

/** An image read back into the form that a build works on. */
export interface LoadedImage {
  /** The file it was read from. */
  readonly path: string;
  readonly bootstrap: Bootstrap;
  /** Whether that file is a blob with the bootstrap at its end. */
  readonly inlined: boolean;
  /**
   * Aliases of a hard link are nodes of their own with one `linkKey` and one array of chunks. Not
   * numbered: see `assignInodes`.
   */
  readonly root: ImageNode;
  /** Each distinct chunk once, in no particular order. `blobIndex` is the place in `bootstrap.blobs`. */
  readonly chunks: readonly StoredChunk[];
}

/** Bytes of the smallest bootstrap. */
const SMALLEST = 4096;
/**
 * Every node has its path, which few bytes of a hostile bootstrap could make long: more than any
 * tree of usual names needs.
 */
const PATH_BYTES_FREE = 256 << 20;
const PATH_BYTES_FACTOR = 64;
const SLASH = 0x2f;

/**
 * Reads the bootstrap in the file at `path`, or the one at the end of a blob there, and checks its superblock and
 * tables. Rejects with RafsError, BlobError or ImageError.
 */
export async function readBootstrap(path: string): Promise<Bootstrap> {
  return (await findBootstrap(path)).bootstrap;
}

async function findBootstrap(path: string): Promise<{ bootstrap: Bootstrap; inlined: boolean }> {
  const bytes = readFile(path);
  try {
    return { bootstrap: openBootstrap(bytes, path), inlined: false };
  } catch (error) {
    if (!(error instanceof RafsError) || error.code !== 'RAFS_NOT_A_BOOTSTRAP') throw error;
    const inlined = await inlinedBootstrap(path).catch((cause: Error) => {
      throw new ImageError('IMAGE_DAMAGED', `${error.message}, nor one at its end: ${cause.message}`, {
        cause,
      });
    });
    return { bootstrap: withFileId(openBootstrap(inlined, path)), inlined: true };
  }
}

/**
 * The blob at whose end a bootstrap is, is named by the file, whatever the bootstrap calls it: builders before 2.2 did
 * not know the id of the whole. storage/src/device.rs, rafs/src/metadata/mod.rs.
 */
function withFileId(bootstrap: Bootstrap): Bootstrap {
  const { blobs } = bootstrap;
  const inlined = blobs.findLastIndex(({ features }) => (features & BlobFeature.inlinedFsMeta) !== 0);
  const old = blobs.findLastIndex(({ features }) => (features & BlobFeature.capTarToc) === 0);
  const own = inlined >= 0 ? inlined : old;
  const isSeparate = own >= 0 && (blobs[own]!.features & BlobFeature.separate) !== 0;
  if (own < 0 || isSeparate) return bootstrap;
  return { ...bootstrap, blobs: blobs.map((row, i) => (i === own ? { ...row, id: UNKNOWN_BLOB_ID } : row)) };
}

/**
 * Reads a whole image. `layer` is given to every node. Rejects as `readBootstrap`, and with ImageError
 * IMAGE_DAMAGED naming path and fault.
 */
export async function loadImage(path: string, layer = 0): Promise<LoadedImage> {
  const { bootstrap, inlined } = await findBootstrap(path);
  const loader = new TreeLoader(bootstrap, path, layer);
  return { path, bootstrap, inlined, root: loader.load(), chunks: loader.chunks };
}

function readFile(path: string): ArrayBuffer {
  let fd: number | undefined;
  try {
    fd = openSync(path, 'r');
    const stats = fstatSync(fd);
    if (!stats.isFile()) throw new Error('not a regular file');
    // What is larger is a blob, whose bootstrap is at its end.
    const size = stats.size > BOOTSTRAP_BYTES_MAX[6] ? SMALLEST : stats.size;
    const bytes = new Uint8Array(new ArrayBuffer(size));
    for (let done = 0; done < size; ) {
      const count = readSync(fd, bytes, done, Math.min(size - done, 1 << 30), done);
      if (count === 0) throw new Error(`ends at ${done}: shrank while it was read`);
      done += count;
    }
    return bytes.buffer;
  } catch (cause) {
    throw new ImageError('IMAGE_UNREADABLE', `${path}: ${reason(cause)}`, { cause });
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

async function inlinedBootstrap(path: string): Promise<ArrayBuffer> {
  const source = openSource({ type: 'localfs', localfs: { blob_file: resolve(path) } });
  try {
    const bytes = await extractBootstrap(source, basename(path), addonCodecs(addon));
    return new Uint8Array(bytes).buffer;
  } finally {
    await source.close();
  }
}

/** What all names of an inode share. */
interface Shared {
  readonly target: Buffer;
  readonly xattrs: readonly Xattr[];
  readonly chunks: readonly StoredChunk[];
}

/** Turns a bootstrap's tree into nodes, in time and memory bound by its size. */
class TreeLoader {
  readonly #bootstrap: Bootstrap;
  readonly #image: Image;
  readonly #path: string;
  readonly #layer: number;
  readonly #digests: ChunkDigests;
  /** By nodeid: aliases must not be read, and kept, again. */
  readonly #shared = new Map<number, Shared>();
  /** By blob index and chunk index. */
  readonly #known: Map<number, StoredChunk>[];
  readonly #attr = new InodeAttr();
  readonly #chunk = new ChunkAt();
  #pathBytesLeft: number;
  readonly chunks: StoredChunk[] = [];

  constructor(bootstrap: Bootstrap, path: string, layer: number) {
    this.#bootstrap = bootstrap;
    this.#image = imageOf(bootstrap);
    this.#path = path;
    this.#layer = layer;
    this.#digests = new ChunkDigests(bootstrap);
    this.#known = bootstrap.blobs.map(() => new Map());
    this.#pathBytesLeft = PATH_BYTES_FREE + PATH_BYTES_FACTOR * bootstrap.bytes.length;
  }

  load(): ImageNode {
    /** By depth: the directory in which the walk is. */
    const directories: ImageNode[] = [];
    const refuse = (path: Buffer, _lo: number, fault: string): never => this.#damaged(path, fault);
    for (const entry of walkTree(this.#bootstrap, this.#image, refuse)) {
      const node = this.#node(entry);
      if (entry.depth > 0) directories[entry.depth - 1]!.children.push(node);
      if (isDirectory(node)) directories[entry.depth] = node;
    }
    return directories[0]!;
  }

  #node(entry: WalkEntry): ImageNode {
    const path = entry.path();
    this.#pathBytesLeft -= path.length;
    if (this.#pathBytesLeft < 0) this.#damaged(path, 'paths too long for the number of files');
    if (entry.depth > 0 && entry.name.includes(SLASH)) this.#damaged(path, 'a name with a slash');
    const { lo } = entry;
    const attr = this.#attr;
    this.#image.attr(lo, attr);
    const node = newNode({
      name: Buffer.from(entry.name),
      sourcePath: path,
      mode: attr.mode,
      uid: attr.uid,
      gid: attr.gid,
      size: attr.size,
      rdev: this.#rdev(lo, attr.mode),
      mtimeSec: BigInt(attr.mtime),
      mtimeNs: attr.mtimeNs,
      nlink: attr.nlink,
      linkKey: `${lo}`,
      layer: this.#layer,
    });
    const known = this.#shared.get(lo) ?? this.#read(node, lo);
    if (attr.nlink > 1 && !isDirectory(node)) this.#shared.set(lo, known);
    return Object.assign(node, known);
  }

  #read(node: ImageNode, lo: number): Shared {
    const path = node.sourcePath;
    const xattrs = readXattrs(this.#bootstrap, this.#inodeAt(lo));
    if (typeof xattrs === 'string') this.#damaged(path, xattrs);
    return {
      target: isSymlink(node) ? this.#target(lo, path, node.size) : node.target,
      xattrs: xattrs.sort((a, b) => Buffer.compare(a.name, b.name)),
      chunks: isRegular(node) ? this.#chunksOf(lo, path, node.size) : [],
    };
  }

  /** Offset of the inode: in v5 the record of its first name. */
  #inodeAt(lo: number): number {
    const bootstrap = this.#bootstrap;
    if (bootstrap.version === 6) return inodeAtV6(bootstrap, lo);
    const entry = bootstrap.superblock.inodeTableOffset + (lo - 1) * 4;
    return bootstrap.view.getUint32(entry, true) * INODE_OFFSET_UNIT_V5;
  }

  /** The stored field, which in v5 and of pipes and sockets is not 0 after every build. The inode has been checked. */
  #rdev(lo: number, mode: number): number {
    const { view, version } = this.#bootstrap;
    if (version === 5) return view.getUint32(this.#inodeAt(lo) + InodeV5.rdev, true);
    const type = mode & FileType.mask;
    if (type === FileType.regular || type === FileType.directory || type === FileType.symlink) return 0;
    return view.getUint32(this.#inodeAt(lo) + ExtendedInode.union, true);
  }

  #target(lo: number, path: Buffer, size: number): Buffer {
    const target = Buffer.alloc(SYMLINK_BYTES_MAX);
    if (size > target.length) this.#damaged(path, `link target of ${size} bytes`);
    return Buffer.from(target.subarray(0, this.#image.readlink(lo, target, 0)));
  }

  #chunksOf(lo: number, path: Buffer, size: number): readonly StoredChunk[] {
    const list: StoredChunk[] = [];
    for (let i = 0; i * this.#bootstrap.chunkSize < size; i++) {
      if (this.#image.chunk(lo, i, this.#chunk) !== 0)
        this.#damaged(path, `chunk ${i}: ${this.#image.fault}`);
      if (this.#chunk.hole) this.#damaged(path, `chunk ${i}: a hole, which images of today do not have`);
      list.push(this.#chunkAt(path, i));
    }
    return list;
  }

  /** The chunk that `#chunk` describes: one object per chunk of a blob. */
  #chunkAt(path: Buffer, i: number): StoredChunk {
    const { blob, index, offset, size, record } = this.#chunk;
    const known = this.#known[blob]!.get(index);
    if (known !== undefined) {
      if (record >= 0 && !this.#agrees(record, known))
        this.#damaged(path, `chunk ${i}: blob ${blob} chunk ${index} is another one elsewhere in the image`);
      return known;
    }
    const found = record >= 0 ? decodeChunk(this.#bootstrap.view, record) : this.#digests.find(blob, index);
    const tarfs = (this.#bootstrap.blobs[blob]!.features & BlobFeature.tarfs) !== 0;
    if (found === null && !tarfs)
      this.#damaged(path, `chunk ${i}: blob ${blob} chunk ${index} is not in the chunk table`);
    const chunk: StoredChunk =
      found === null
        ? tarfsChunk(blob, index, offset, size)
        : { ...found, blobIndex: blob, index, digest: Buffer.from(found.digest) };
    this.#known[blob]!.set(index, chunk);
    this.chunks.push(chunk);
    return chunk;
  }

  /** v5 repeats what it says of a chunk in every file: all must see the same. */
  #agrees(record: number, known: StoredChunk): boolean {
    const { bytes, view } = this.#bootstrap;
    const { digest, uncompressedOffset, uncompressedSize } = ChunkRecordLayout;
    return (
      readU64(view, record + uncompressedOffset) === known.uncompressedOffset &&
      view.getUint32(record + uncompressedSize, true) === known.uncompressedSize &&
      known.digest.equals(bytes.subarray(record + digest, record + digest + DIGEST_BYTES))
    );
  }

  #damaged(path: Buffer, fault: string): never {
    throw new ImageError('IMAGE_DAMAGED', `${this.#path}: ${debugText(path)}: ${fault}`);
  }
}

/** Whether the image keeps its data in tar files as they are. */
export function isTarfs(bootstrap: Bootstrap): boolean {
  return (bootstrap.flags & SuperFlag.tarfs) !== 0;
}
