import type { Xattr } from '../../../native/xattr.ts';
import { NAME_MAX } from '../../../wire/rafs/flags.ts';
import { NO_DEVICE } from '../../../wire/rafs/inode-v5.ts';
import { TarType } from '../../../wire/tar.ts';
import { ImageError } from '../../model/error.ts';
import { FileType, type ImageNode, isDirectory, isRegular, newNode } from '../../model/node.ts';
import { checkXattrs } from '../../model/xattr-rules.ts';
import type { TarMember } from './reader.ts';
import { Slabs } from './slabs.ts';

/** Linux' PATH_MAX: longer paths and targets no program can use. It bounds the depth of the tree, too. */
const PATH_BYTES_MAX = 4095;
/** The tree is built in memory: what a layer honestly has, many times over. */
const ENTRIES_MAX = 1 << 21;
const METADATA_BYTES_MAX = 1 << 29;
const U32_MAX = 0xffffffff;
/** Larger numbers do not fit the 32 bits of an image: 12 bits of major, 20 of minor. */
const MAJOR_MAX = 0xfff;
const MINOR_MAX = 0xfffff;
const ROOT_NAME = Buffer.from('/');
const NO_BYTES = Buffer.alloc(0);
const NO_XATTRS: readonly Xattr[] = [];

/** What an eStargz layer has for its own readers. */
const STARGZ_FILES: readonly string[] = ['stargz.index.json', '.prefetch.landmark', '.no.prefetch.landmark'];

const fileTypes: Readonly<Record<string, number>> = {
  [TarType.regular]: FileType.regular,
  [TarType.link]: FileType.regular,
  [TarType.symlink]: FileType.symlink,
  [TarType.character]: FileType.character,
  [TarType.block]: FileType.block,
  [TarType.directory]: FileType.directory,
  [TarType.fifo]: FileType.fifo,
};

/** A node in the making, children by name (latin1 of its bytes). */
interface Slot {
  node: ImageNode;
  /** Null until there is one: most nodes are files, and a map is larger than all the rest of them. */
  children: Map<string, Slot> | null;
}

/**
 * Makes a tree of the entries of a tar, in any order: missing parents are made (0755, 0:0), a path that comes again
 * replaces what was there, a directory keeps its children. Whiteouts are files like any other: `merge` needs them.
 * Throws ImageError naming the archive, the path and the rule.
 */
export class TarTree {
  readonly #archive: string;
  readonly #explicitUidGid: boolean;
  readonly #root: Slot;
  readonly #slabs = new Slabs();
  #inodes = 0;
  #metadataBytes = 0;

  /** `archive` for messages. */
  constructor(archive: string, explicitUidGid: boolean) {
    this.#archive = archive;
    this.#explicitUidGid = explicitUidGid;
    this.#root = { node: this.#directory(ROOT_NAME, ROOT_NAME), children: null };
  }

  /**
   * Adds an entry; its node, or null for what is no part of the image. Chunks of a link's target must be set before.
   */
  add(entry: TarMember): ImageNode | null {
    const parts = this.#partsOf(entry.name, 'path');
    if (parts.length === 1 && STARGZ_FILES.includes(parts[0]!)) return null;
    const path = this.#slabs.keep(Buffer.from(`/${parts.join('/')}`, 'latin1'));
    const node = this.#nodeOf(entry, nameIn(path), path);
    if (parts.length === 0) {
      if (!isDirectory(node)) throw this.#bad(path, 'the root is no directory');
      this.#root.node = node;
    } else this.#place(node, parts, path);
    return node;
  }

  /** The tree, not numbered yet. */
  finish(): ImageNode {
    const sortChildren = ({ node, children }: Slot): ImageNode => {
      // Code units of latin1 are bytes.
      if (children === null) return node;
      const names = [...children.keys()].sort((a, b) => (a < b ? -1 : 1));
      node.children = names.map((name) => sortChildren(children.get(name)!));
      return node;
    };
    return sortChildren(this.#root);
  }

  #place(node: ImageNode, parts: readonly string[], path: Buffer): void {
    let parent = this.#root;
    let end = 0;
    for (const part of parts.slice(0, -1)) {
      end += 1 + part.length;
      parent.children ??= new Map();
      let slot = parent.children.get(part);
      if (slot === undefined) {
        // Its path is a part of this one: many deep paths must not cost the square of their depth.
        const above = path.subarray(0, end);
        slot = { node: this.#directory(nameIn(above), above), children: null };
        parent.children.set(part, slot);
      } else if (!isDirectory(slot.node))
        throw this.#bad(path, `${slot.node.sourcePath}, which the archive has before it, is no directory`);
      parent = slot;
    }
    const last = parts.at(-1)!;
    parent.children ??= new Map();
    const known = parent.children.get(last);
    if (known !== undefined && isDirectory(node)) known.node = node;
    else parent.children.set(last, { node, children: null });
  }

  #nodeOf(entry: TarMember, name: Buffer, path: Buffer): ImageNode {
    const type = fileTypes[entry.type];
    if (type === undefined) throw this.#bad(path, `unknown type of entry ${entry.type}`);
    if (entry.uid > U32_MAX || entry.gid > U32_MAX)
      throw this.#bad(path, `owner ${entry.uid}:${entry.gid} does not fit 32 bits`);
    const link = entry.type === TarType.link ? this.#linked(entry, path) : null;
    if (link !== null && !isRegular(link)) return this.#copyOf(link, name, path);
    const target = entry.type === TarType.symlink ? this.#symlinkTarget(entry, path) : NO_BYTES;
    const xattrs = link?.xattrs ?? this.#xattrsOf(entry, path);
    this.#count(path.length + target.length);
    return newNode({
      name,
      sourcePath: path,
      mode: type | (entry.mode & 0o7777),
      uid: this.#explicitUidGid ? entry.uid : 0,
      gid: this.#explicitUidGid ? entry.gid : 0,
      size: link?.size ?? (target.length > 0 ? target.length : entry.size),
      rdev: this.#rdevOf(entry, path),
      mtimeSec: BigInt(entry.mtimeSec),
      linkKey: link?.linkKey ?? this.#nextInode(path),
      xattrs,
      target,
      chunks: link?.chunks ?? [],
    });
  }

  #directory(name: Buffer, path: Buffer): ImageNode {
    return newNode({
      name,
      sourcePath: path,
      mode: FileType.directory | 0o755,
      rdev: NO_DEVICE,
      linkKey: this.#nextInode(path),
    });
  }

  /** Images join only names of regular files: a further name of a symbolic link or a device is one more of them. */
  #copyOf(link: ImageNode, name: Buffer, path: Buffer): ImageNode {
    this.#count(path.length);
    return newNode({ ...link, name, sourcePath: path, children: [], linkKey: this.#nextInode(path) });
  }

  /** The file that a hard link names: one of this archive, before it. */
  #linked(entry: TarMember, path: Buffer): ImageNode {
    let slot: Slot | undefined = this.#root;
    for (const part of this.#partsOf(entry.linkName, 'hard link target')) slot = slot?.children?.get(part);
    const rule = `hard link to ${entry.linkName}, which`;
    if (slot === undefined) throw this.#bad(path, `${rule} the archive does not have before it`);
    if (isDirectory(slot.node)) throw this.#bad(path, `${rule} is a directory`);
    return slot.node;
  }

  #xattrsOf(entry: TarMember, path: Buffer): readonly Xattr[] {
    if (entry.xattrs.length === 0) return NO_XATTRS;
    checkXattrs(`${this.#archive}: ${path}`, entry.xattrs);
    return entry.xattrs.map(({ name, value }) => {
      this.#count(name.length + value.length);
      return { name: this.#slabs.keep(name), value: this.#slabs.keep(value) };
    });
  }

  #symlinkTarget({ linkName }: TarMember, path: Buffer): Buffer {
    if (linkName.length === 0) throw this.#bad(path, 'symbolic link without a target');
    if (linkName.length > PATH_BYTES_MAX)
      throw this.#bad(path, `symbolic link to a target of more than ${PATH_BYTES_MAX} bytes`);
    return this.#slabs.keep(linkName);
  }

  #rdevOf({ type, devMajor, devMinor }: TarMember, path: Buffer): number {
    if (type === TarType.fifo) return 0;
    if (type !== TarType.character && type !== TarType.block) return NO_DEVICE;
    if (devMajor > MAJOR_MAX || devMinor > MINOR_MAX)
      throw this.#bad(path, `device ${devMajor}:${devMinor}: more than ${MAJOR_MAX}:${MINOR_MAX}`);
    // As glibc's makedev.
    return ((devMinor & 0xff) | (devMajor << 8) | ((devMinor & ~0xff) << 12)) >>> 0;
  }

  /** Components below the root, latin1 of their bytes. A path never leaves the root: `..` is refused. */
  #partsOf(path: Buffer, what: string): string[] {
    if (path.length > PATH_BYTES_MAX)
      throw this.#bad(path.subarray(0, NAME_MAX), `${what} of more than ${PATH_BYTES_MAX} bytes`);
    const parts = path
      .toString('latin1')
      .split('/')
      .filter((part) => part !== '' && part !== '.');
    for (const part of parts) {
      if (part === '..') throw this.#bad(path, `${what} with '..' in it`);
      if (part.length > NAME_MAX) throw this.#bad(path, `${what} with a name of more than ${NAME_MAX} bytes`);
    }
    return parts;
  }

  #nextInode(path: Buffer): string {
    if (++this.#inodes > ENTRIES_MAX)
      throw new ImageError('IMAGE_TOO_LARGE', `${this.#archive}: ${path}: more than ${ENTRIES_MAX} files`);
    return String(this.#inodes);
  }

  #count(bytes: number): void {
    this.#metadataBytes += bytes;
    if (this.#metadataBytes <= METADATA_BYTES_MAX) return;
    const rule = `paths, link targets and extended attributes of more than ${METADATA_BYTES_MAX} bytes`;
    throw new ImageError('IMAGE_TOO_LARGE', `${this.#archive}: ${rule}`);
  }

  #bad(path: Buffer, rule: string): ImageError {
    return new ImageError('IMAGE_BAD_SOURCE', `${this.#archive}: ${path}: ${rule}`);
  }
}

/** The last component. */
function nameIn(path: Buffer): Buffer {
  return path.length === 1 ? path : path.subarray(path.lastIndexOf(0x2f) + 1);
}
