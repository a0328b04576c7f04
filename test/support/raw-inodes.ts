/** Inodes as their bytes are, beside what a reader makes of them. */

import type { StoredChunk } from '../../src/image/model/chunk.ts';
import { type ImageNode, isDirectory, isRegular, isSymlink } from '../../src/image/model/node.ts';
import type { BootstrapV5, BootstrapV6 } from '../../src/rafs/bootstrap.ts';
import { align8, readU64 } from '../../src/wire/rafs/bytes.ts';
import { ChunkRecordLayout, decodeChunk } from '../../src/wire/rafs/chunk.ts';
import { INODE_OFFSET_UNIT_V5, InodeFlagV5, InodeV5 } from '../../src/wire/rafs/inode-v5.ts';
import { DataLayout, ExtendedInode, INODE_SLOT } from '../../src/wire/rafs/inode-v6.ts';

/** A chunk, of a file or with its offset in a file out of a record. */
export type ChunkRow = StoredChunk & { readonly fileOffset?: number | undefined };

/** An inode's bytes by field. */
export interface RawInode {
  readonly fields: Record<string, unknown>;
  /** v5: the records behind the inode, of which every name of a file has its own. */
  readonly chunks?: readonly ChunkRow[];
}

const FORMAT = 0o170000;
const DIRECTORY = 0o040000;
const REGULAR = 0o100000;

/** Every v5 record by path, found through child indices. Paths as `escapeName` has them. */
export function rawInodesV5(
  bootstrap: BootstrapV5,
  escapeName: (bytes: Uint8Array) => string,
): Map<string, RawInode> {
  const { view, bytes, superblock } = bootstrap;
  const inodes = new Map<string, RawInode>();
  const visit = (index: number, parent: string | null): void => {
    const at = view.getUint32(superblock.inodeTableOffset + (index - 1) * 4, true) * INODE_OFFSET_UNIT_V5;
    const nameSize = view.getUint16(at + InodeV5.nameSize, true);
    const symlinkSize = view.getUint16(at + InodeV5.symlinkSize, true);
    const name = escapeName(bytes.subarray(at + InodeV5.size, at + InodeV5.size + nameSize));
    const path = parent === null ? '/' : `${parent === '/' ? '' : parent}/${name}`;
    const target = at + InodeV5.size + align8(nameSize);
    const type = view.getUint32(at + InodeV5.mode, true) & FORMAT;
    const end = target + align8(symlinkSize);
    const fields = {
      ...fieldsAt(view, at, InodeV5, { digest: 32 }),
      index,
      'record offset': at,
      'raw target': hex(bytes.subarray(target, end)),
    };
    inodes.set(path, { fields, chunks: type === REGULAR ? chunksV5(view, at, end) : [] });
    if (type !== DIRECTORY) return;
    const first = view.getUint32(at + InodeV5.childIndex, true);
    const count = view.getUint32(at + InodeV5.childCount, true);
    for (let i = 0; i < count; i++) visit(first + i, path);
  };
  visit(1, null);
  return inodes;
}

/** The chunk records of the inode at `inode`; `start`: where its xattrs begin. */
function chunksV5(view: DataView, inode: number, start: number): ChunkRow[] {
  const hasXattrs = (view.getUint32(inode + InodeV5.flags, true) & InodeFlagV5.xattr) !== 0;
  const at = hasXattrs ? start + 8 + align8(readU64(view, start)) : start;
  const count = view.getUint32(inode + InodeV5.childCount, true);
  return Array.from({ length: count }, (_, i) => chunkAt(view, at + i * ChunkRecordLayout.size));
}

/** The record of 80 bytes at `at`. */
export function chunkAt(view: DataView, at: number): ChunkRow {
  const chunk = decodeChunk(view, at);
  return { ...chunk, digest: Buffer.from(chunk.digest) };
}

/** The v6 inode of `node`, which was loaded from `bootstrap`, with what follows it. */
export function rawInodeV6(bootstrap: BootstrapV6, node: ImageNode): RawInode {
  const { view, bytes, superblock } = bootstrap;
  const nid = Number(node.linkKey);
  const at = superblock.metaBlockAddress * superblock.blockSize + nid * INODE_SLOT;
  const fields: Record<string, unknown> = { nid, ...fieldsAt(view, at, ExtendedInode, {}) };
  const xattrCount = view.getUint16(at + ExtendedInode.xattrCount, true);
  const end = at + ExtendedInode.size + (xattrCount === 0 ? 0 : 12 + (xattrCount - 1) * 4);
  if (isRegular(node))
    fields['chunk addresses'] = hex(bytes.subarray(align8(end), align8(end) + node.chunks.length * 8));
  else if (isDirectory(node) || isSymlink(node)) fields.content = contentV6(bootstrap, at, end);
  return { fields };
}

/** Entries of a directory, or a link's target, from its blocks and from behind the inode. */
function contentV6({ view, bytes, superblock }: BootstrapV6, at: number, end: number): string {
  const { blockSize } = superblock;
  const size = readU64(view, at + ExtendedInode.fileSize);
  const start = view.getUint32(at + ExtendedInode.union, true) * blockSize;
  const inline = view.getUint16(at + ExtendedInode.format, true) >> 1 === DataLayout.flatInline;
  const tail = inline ? size % blockSize : 0;
  return hex(bytes.subarray(start, start + size - tail)) + hex(bytes.subarray(end, end + tail));
}

/** Every field of a layout of numbers whose width is up to the next field; `wide` fields are bytes. */
function fieldsAt(
  view: DataView,
  base: number,
  layout: Readonly<Record<string, number>>,
  wide: Readonly<Record<string, number>>,
): Record<string, unknown> {
  const { size, ...fields } = layout;
  const offsets = [...Object.values(fields), size!].sort((a, b) => a - b);
  const values: Record<string, unknown> = {};
  for (const [field, offset] of Object.entries(fields)) {
    const width = wide[field] ?? Math.min(8, offsets[offsets.indexOf(offset) + 1]! - offset);
    values[`raw ${field}`] = hex(new Uint8Array(view.buffer, view.byteOffset + base + offset, width));
  }
  return values;
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
