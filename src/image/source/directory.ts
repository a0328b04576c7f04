import { type BigIntStats, lstatSync, readdirSync, readlinkSync } from 'node:fs';
import { readXattrs, type Xattr } from '../../native/xattr.ts';
import { NAME_MAX } from '../../wire/rafs/flags.ts';
import { ImageError, reason } from '../model/error.ts';
import { type ImageNode, newNode } from '../model/node.ts';
import { isWhiteout } from '../model/overlay.ts';
import { checkXattrs } from '../model/xattr-rules.ts';
import type { TreeContext, TreeSource } from './tree-source.ts';

/** What `walk` takes from the tree. */
type WalkOptions = Pick<TreeContext, 'whiteoutSpec' | 'keepWhiteouts' | 'explicitUidGid' | 'onEntry'>;

const SLASH = Buffer.from('/');

/** A directory as the source of an image. */
export function directorySource(path: Buffer): TreeSource {
  return { read: (context) => walk(path, context) };
}

/**
 * Reads a directory tree, names as raw bytes, without following links. Throws ImageError naming the path that cannot be
 * read, is not a directory, or has an attribute which no image can hold.
 */
export async function walk(source: Buffer, options: WalkOptions): Promise<ImageNode> {
  const stats = statOf(source, true);
  if (!stats.isDirectory()) throw new ImageError('IMAGE_BAD_SOURCE', `${text(source)}: not a directory`);
  const root = makeNode(Buffer.from('/'), source, stats, options);
  await readChildren(root, options);
  return root;
}

async function readChildren(directory: ImageNode, options: WalkOptions): Promise<void> {
  let names: Buffer[];
  try {
    names = readdirSync(directory.sourcePath, { encoding: 'buffer' });
  } catch (cause) {
    throw unreadable(directory.sourcePath, cause);
  }
  names.sort(Buffer.compare);
  for (const name of names) {
    const turn = options.onEntry?.();
    if (turn !== undefined) await turn;
    const path = Buffer.concat([directory.sourcePath, SLASH, name]);
    if (name.length > NAME_MAX)
      throw new ImageError('IMAGE_BAD_SOURCE', `${text(path)}: name longer than ${NAME_MAX} bytes`);
    const stats = statOf(path, false);
    // Whiteouts belong to layers, not to the file system which an image shows.
    const entry = { name, mode: Number(stats.mode), rdev: deviceOf(stats) };
    if (!options.keepWhiteouts && isWhiteout(entry, options.whiteoutSpec)) continue;
    const child = makeNode(name, path, stats, options);
    directory.children.push(child);
    if (stats.isDirectory()) await readChildren(child, options);
  }
}

function makeNode(name: Buffer, path: Buffer, stats: BigIntStats, options: WalkOptions): ImageNode {
  const root = name.equals(SLASH);
  const target = stats.isSymbolicLink() ? targetOf(path) : Buffer.alloc(0);
  const mtimeSec = floorDiv(stats.mtimeNs, 1_000_000_000n);
  return newNode({
    name,
    sourcePath: path,
    mode: Number(stats.mode),
    uid: options.explicitUidGid ? Number(stats.uid) : 0,
    gid: options.explicitUidGid ? Number(stats.gid) : 0,
    size: stats.isFile() ? Number(stats.size) : target.length,
    rdev: deviceOf(stats),
    // The root's time is that of unpacking, which says nothing and would make builds differ.
    mtimeSec: root ? 0n : mtimeSec,
    mtimeNs: root ? 0 : Number(stats.mtimeNs - mtimeSec * 1_000_000_000n),
    linkKey: `${stats.dev}:${stats.ino}`,
    xattrs: xattrsOf(path, root),
    target,
  });
}

/** The root may be given through a link; entries below it are never followed. */
function statOf(path: Buffer, follow: boolean): BigIntStats {
  try {
    return lstatSync(follow ? Buffer.concat([path, Buffer.from('/.')]) : path, { bigint: true });
  } catch (cause) {
    throw unreadable(path, cause);
  }
}

function targetOf(path: Buffer): Buffer {
  try {
    return readlinkSync(path, { encoding: 'buffer' });
  } catch (cause) {
    throw unreadable(path, cause);
  }
}

function xattrsOf(path: Buffer, root: boolean): Xattr[] {
  let xattrs: Xattr[];
  try {
    xattrs = readXattrs(root ? Buffer.concat([path, Buffer.from('/.')]) : path);
  } catch (cause) {
    throw unreadable(path, cause);
  }
  checkXattrs(text(path), xattrs);
  return xattrs;
}

/** What an image has room for. */
function deviceOf(stats: BigIntStats): number {
  return Number(stats.rdev & 0xffff_ffffn);
}

/** Times before 1970: seconds are rounded down, nanoseconds are never negative. */
function floorDiv(value: bigint, by: bigint): bigint {
  const quotient = value / by;
  return value < 0n && quotient * by !== value ? quotient - 1n : quotient;
}

function unreadable(path: Buffer, cause: unknown): ImageError {
  return new ImageError('IMAGE_UNREADABLE', `${text(path)}: ${reason(cause)}`, { cause });
}

function text(bytes: Buffer): string {
  return bytes.toString('utf8');
}
