import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import { addonCodecs } from '../blob/codecs.ts';
import { extractBootstrap } from '../blob/toc.ts';
import { addon } from '../native/index.ts';
import type { Xattr } from '../native/xattr.ts';
import { BOOTSTRAP_BYTES_MAX, type Bootstrap, openBootstrap } from '../rafs/bootstrap.ts';
import { ChunkDigests } from '../rafs/chunk-digests.ts';
import { Attr, ChunkAt, DirectoryAt, type Image, SYMLINK_BYTES_MAX } from '../rafs/image.ts';
import { ImageV5 } from '../rafs/image-v5.ts';
import { ImageV6 } from '../rafs/image-v6.ts';
import { LocalfsSource } from '../source/localfs.ts';
import { decodeChunk } from '../wire/rafs/chunk.ts';
import { RafsError } from '../wire/rafs/error.ts';
import { BlobFeature, SuperFlag } from '../wire/rafs/flags.ts';
import { INODE_OFFSET_UNIT_V5, InodeV5 } from '../wire/rafs/inode-v5.ts';
import { ExtendedInode, INODE_SLOT } from '../wire/rafs/inode-v6.ts';
import type { StoredChunk } from './chunker.ts';
import { ImageError, reason } from './error.ts';
import { FileType, type ImageNode, isDirectory, isRegular, isSymlink, newNode } from './node.ts';

/** An image read back into the form that a build works on. */
export interface LoadedImage {
  /** The file it was read from. */
  readonly path: string;
  readonly bootstrap: Bootstrap;
  /** Whether that file is a blob with the bootstrap at its end. */
  readonly inlined: boolean;
  /** Aliases of a hard link are nodes of their own with one `linkKey` and one array of chunks. Not numbered: see `assignInodes`. */
  readonly root: ImageNode;
  /** Each distinct chunk once, in no particular order. `blobIndex` is the place in `bootstrap.blobs`. */
  readonly chunks: readonly StoredChunk[];
}

/** Bytes of the smallest bootstrap. */
const SMALLEST = 4096;
const XATTR_LIST_BYTES_MAX = 1 << 20;
const XATTR_VALUE_BYTES_MAX = 1 << 16;
/** Deeper trees cannot be walked by path. */
const DEPTH_MAX = 2048;
const DIGEST_BYTES = 32;

/**
 * Reads the bootstrap in the file at `path`, or the one at the end of a blob there, and checks its superblock and tables. Rejects
 * with RafsError, BlobError or ImageError.
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
    return { bootstrap: openBootstrap(inlined, path), inlined: true };
  }
}

/** Reads a whole image. `layer` is given to every node. Rejects as `readBootstrap`, and with ImageError IMAGE_DAMAGED naming path and fault. */
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
  const source = new LocalfsSource({ blob_file: resolve(path) });
  try {
    const bytes = await extractBootstrap(source, basename(path), addonCodecs(addon));
    return new Uint8Array(bytes).buffer;
  } finally {
    await source.close();
  }
}

/** Walks a bootstrap's tree. Nothing in it may loop, recurse without bound or be used before it was checked. */
class TreeLoader {
  readonly #bootstrap: Bootstrap;
  readonly #image: Image;
  readonly #path: string;
  readonly #layer: number;
  readonly #digests: ChunkDigests;
  /** Directories reached, by nodeid: a tree reaches each once. */
  readonly #directories = new Set<number>();
  /** Chunk lists by nodeid, shared by aliases. */
  readonly #lists = new Map<number, readonly StoredChunk[]>();
  /** By blob index and chunk index. */
  readonly #known: Map<number, StoredChunk>[];
  readonly #attr = new Attr();
  readonly #chunk = new ChunkAt();
  readonly #names = new Uint8Array(XATTR_LIST_BYTES_MAX);
  readonly #value = new Uint8Array(XATTR_VALUE_BYTES_MAX);
  readonly chunks: StoredChunk[] = [];

  constructor(bootstrap: Bootstrap, path: string, layer: number) {
    this.#bootstrap = bootstrap;
    this.#image = bootstrap.version === 5 ? new ImageV5(bootstrap, false) : new ImageV6(bootstrap);
    this.#path = path;
    this.#layer = layer;
    this.#digests = new ChunkDigests(bootstrap);
    this.#known = bootstrap.blobs.map(() => new Map());
  }

  load(): ImageNode {
    const root = this.#node(this.#image.rootLo, Buffer.from('/'), Buffer.from('/'));
    const pending: { node: ImageNode; lo: number; depth: number }[] = [
      { node: root, lo: this.#image.rootLo, depth: 0 },
    ];
    for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
      const { node, lo, depth } = next;
      if (this.#directories.has(lo)) this.#damaged(node.sourcePath, 'a directory with two parents');
      if (depth > DEPTH_MAX) this.#damaged(node.sourcePath, `more than ${DEPTH_MAX} directories deep`);
      this.#directories.add(lo);
      for (const [child, childLo] of this.#children(node, lo)) {
        node.children.push(child);
        if (isDirectory(child)) pending.push({ node: child, lo: childLo, depth: depth + 1 });
      }
    }
    return root;
  }

  *#children(directory: ImageNode, lo: number): Generator<[ImageNode, number]> {
    const entry = new DirectoryAt();
    const base = directory.sourcePath.length === 1 ? '' : directory.sourcePath;
    let previous: Buffer | null = null;
    for (let cookie = 0; ; cookie = entry.cookie) {
      const found = this.#image.entry(lo, cookie, entry);
      if (found < 0) this.#damaged(directory.sourcePath, this.#image.fault);
      if (found === 0) return;
      if (entry.dot) continue;
      const name = Buffer.from(entry.bytes.subarray(entry.nameStart, entry.nameEnd));
      if (previous !== null && Buffer.compare(previous, name) >= 0) {
        this.#damaged(directory.sourcePath, `entry ${name}: entries must be in byte order, each once`);
      }
      previous = name;
      const path = Buffer.concat([Buffer.from(base), Buffer.from('/'), name]);
      yield [this.#node(entry.lo, name, path), entry.lo];
    }
  }

  #node(lo: number, name: Buffer, path: Buffer): ImageNode {
    const image = this.#image;
    if (image.check(lo) !== 0) this.#damaged(path, image.fault || `no inode ${lo}`);
    const attr = this.#attr;
    image.attr(lo, attr);
    const node = newNode({
      name,
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
    if (isSymlink(node)) node.target = this.#target(lo, path, attr.size);
    node.xattrs = this.#xattrs(lo, path);
    if (isRegular(node)) node.chunks = this.#chunksOf(lo, path, node.size);
    return node;
  }

  /** The stored field, which in v5 and of pipes and sockets is not 0 after every build. The inode has been checked. */
  #rdev(lo: number, mode: number): number {
    const { view } = this.#bootstrap;
    if (this.#bootstrap.version === 5) {
      const { inodeTableOffset } = this.#bootstrap.superblock;
      const record = view.getUint32(inodeTableOffset + (lo - 1) * 4, true) * INODE_OFFSET_UNIT_V5;
      return view.getUint32(record + InodeV5.rdev, true);
    }
    const type = mode & FileType.mask;
    if (type === FileType.regular || type === FileType.directory || type === FileType.symlink) return 0;
    const { metaBlockAddress, blockSize } = this.#bootstrap.superblock;
    return view.getUint32(metaBlockAddress * blockSize + lo * INODE_SLOT + ExtendedInode.union, true);
  }

  #target(lo: number, path: Buffer, size: number): Buffer {
    const target = Buffer.alloc(SYMLINK_BYTES_MAX);
    if (size > target.length) this.#damaged(path, `link target of ${size} bytes`);
    return Buffer.from(target.subarray(0, this.#image.readlink(lo, target, 0)));
  }

  #xattrs(lo: number, path: Buffer): Xattr[] {
    const length = this.#image.listxattr(lo, this.#names, 0, this.#names.length);
    if (length < 0) this.#damaged(path, this.#image.fault || 'xattr names larger than 1 MiB');
    const xattrs: Xattr[] = [];
    for (let at = 0; at < length; ) {
      const end = this.#names.indexOf(0, at);
      const size = this.#image.getxattr(lo, this.#names, at, end, this.#value, 0, this.#value.length);
      if (size < 0) this.#damaged(path, this.#image.fault || 'xattr value larger than 64 KiB');
      xattrs.push({
        name: Buffer.from(this.#names.subarray(at, end)),
        value: Buffer.from(this.#value.subarray(0, size)),
      });
      at = end + 1;
    }
    return xattrs.sort((a, b) => Buffer.compare(a.name, b.name));
  }

  #chunksOf(lo: number, path: Buffer, size: number): readonly StoredChunk[] {
    const known = this.#lists.get(lo);
    if (known !== undefined) return known;
    const list: StoredChunk[] = [];
    for (let i = 0; i * this.#bootstrap.chunkSize < size; i++) {
      if (this.#image.chunk(lo, i, this.#chunk) !== 0)
        this.#damaged(path, `chunk ${i}: ${this.#image.fault}`);
      if (this.#chunk.hole) this.#damaged(path, `chunk ${i}: a hole, which images of today do not have`);
      list.push(this.#chunkAt(path, i));
    }
    this.#lists.set(lo, list);
    return list;
  }

  /** The chunk that `#chunk` describes: one object per chunk of a blob. */
  #chunkAt(path: Buffer, i: number): StoredChunk {
    const { blob, index, offset, size, record } = this.#chunk;
    const known = this.#known[blob]!.get(index);
    if (known !== undefined) return known;
    const found = record >= 0 ? decodeChunk(this.#bootstrap.view, record) : this.#digests.find(blob, index);
    const tarfs = (this.#bootstrap.blobs[blob]!.features & BlobFeature.tarfs) !== 0;
    if (found === null && !tarfs)
      this.#damaged(path, `chunk ${i}: blob ${blob} chunk ${index} is not in the chunk table`);
    const chunk: StoredChunk =
      found === null
        ? {
            blobIndex: blob,
            index,
            digest: Buffer.alloc(DIGEST_BYTES),
            crc32c: 0,
            uncompressedOffset: offset,
            uncompressedSize: size,
            compressedOffset: offset,
            compressedSize: size,
            flags: 0,
          }
        : { ...found, blobIndex: blob, index, digest: Buffer.from(found.digest) };
    this.#known[blob]!.set(index, chunk);
    this.chunks.push(chunk);
    return chunk;
  }

  #damaged(path: Buffer, fault: string): never {
    throw new ImageError('IMAGE_DAMAGED', `${this.#path}: ${path}: ${fault}`);
  }
}

/** Whether the image keeps its data in tar files as they are. */
export function isTarfs(bootstrap: Bootstrap): boolean {
  return (bootstrap.flags & SuperFlag.tarfs) !== 0;
}

/** The directory in which the blobs of the image at `path` are looked for when none is named. */
export function defaultBlobDir(path: string): string {
  return dirname(resolve(path));
}
