import { AttrLayout, EntryOut, writeU64 } from '../wire/fuse.ts';
import type { Attr, Entry } from './filesystem.ts';

/** Stands for "for ever": the kernel adds it to its clock, so it must not come near the range of jiffies. */
const FOREVER_SECONDS = 2 ** 31;

/** Seconds of a validity in milliseconds. */
export function validSeconds(validMs: number): number {
  return validMs >= FOREVER_SECONDS * 1000 ? FOREVER_SECONDS : Math.floor(validMs / 1000);
}

/** What `validSeconds` leaves over, in nanoseconds. */
export function validNanoseconds(validMs: number): number {
  return validMs >= FOREVER_SECONDS * 1000 ? 0 : (validMs % 1000) * 1_000_000;
}

/** struct fuse_attr at `at`. */
export function encodeAttr(view: DataView, at: number, attr: Attr): void {
  view.setUint32(at + AttrLayout.ino, attr.inoLo, true);
  view.setUint32(at + AttrLayout.ino + 4, attr.inoHi, true);
  writeU64(view, at + AttrLayout.size, attr.size);
  writeU64(view, at + AttrLayout.blocks, attr.blocks);
  writeU64(view, at + AttrLayout.atime, attr.atime);
  writeU64(view, at + AttrLayout.mtime, attr.mtime);
  writeU64(view, at + AttrLayout.ctime, attr.ctime);
  view.setUint32(at + AttrLayout.atimeNs, attr.atimeNs, true);
  view.setUint32(at + AttrLayout.mtimeNs, attr.mtimeNs, true);
  view.setUint32(at + AttrLayout.ctimeNs, attr.ctimeNs, true);
  view.setUint32(at + AttrLayout.mode, attr.mode, true);
  view.setUint32(at + AttrLayout.nlink, attr.nlink, true);
  view.setUint32(at + AttrLayout.uid, attr.uid, true);
  view.setUint32(at + AttrLayout.gid, attr.gid, true);
  view.setUint32(at + AttrLayout.rdev, attr.rdev, true);
  view.setUint32(at + AttrLayout.blksize, attr.blksize, true);
  view.setUint32(at + AttrLayout.flags, 0, true);
}

/** struct fuse_entry_out at `at`. */
export function encodeEntry(view: DataView, at: number, entry: Entry): void {
  const { attr } = entry;
  view.setUint32(at + EntryOut.nodeid, entry.nodeLo, true);
  view.setUint32(at + EntryOut.nodeid + 4, entry.nodeHi, true);
  writeU64(view, at + EntryOut.generation, entry.generation);
  writeU64(view, at + EntryOut.entryValid, validSeconds(entry.validMs));
  writeU64(view, at + EntryOut.attrValid, validSeconds(attr.validMs));
  view.setUint32(at + EntryOut.entryValidNs, validNanoseconds(entry.validMs), true);
  view.setUint32(at + EntryOut.attrValidNs, validNanoseconds(attr.validMs), true);
  encodeAttr(view, at + EntryOut.attr, attr);
}
