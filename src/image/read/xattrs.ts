import type { Xattr } from '../../native/xattr.ts';
import type { Bootstrap } from '../../rafs/bootstrap.ts';
import { readU64 } from '../../wire/rafs/bytes.ts';
import { InodeFlagV5, InodeV5, recordBytesV5 } from '../../wire/rafs/inode-v5.ts';
import { CompactInode, ExtendedInode } from '../../wire/rafs/inode-v6.ts';
import {
  XattrBodyV6,
  XattrEntryV6,
  XattrPairV5,
  XattrTableV5,
  xattrPrefixes,
} from '../../wire/rafs/xattr.ts';
import { debugText } from '../model/debug-text.ts';
import { chunkRecordsV5, inodeBytesV6 } from './tree-walk.ts';

const NAME_BYTES_MAX = 255;
const VALUE_BYTES_MAX = 0x10000;
const PREFIXES: readonly Uint8Array[] = xattrPrefixes.filter((prefix) => prefix !== undefined);

/**
 * Extended attributes of the checked inode at `at` in the order in which they are stored, copied out of the bootstrap;
 * or what is wrong with them. Every rule of the format is checked, in time proportional to their size.
 */
export function readXattrs(bootstrap: Bootstrap, at: number): Xattr[] | string {
  const { view } = bootstrap;
  if (bootstrap.version === 5) {
    if ((view.getUint32(at + InodeV5.flags, true) & InodeFlagV5.xattr) === 0) return [];
    const name = view.getUint16(at + InodeV5.nameSize, true);
    const target = view.getUint16(at + InodeV5.symlinkSize, true);
    if (chunkRecordsV5(view, at).chunks > view.byteLength) return 'xattr table outside the bootstrap';
    return readV5(view, at + recordBytesV5(name, target));
  }
  const own = view.getUint8(at) & 1 ? ExtendedInode.size : CompactInode.size;
  return readV6(view, at + own, at + inodeBytesV6(view, at));
}

/** The table at `at`, which lies inside the bootstrap with the size it says. */
function readV5(view: DataView, at: number): Xattr[] | string {
  const bytes = bytesOf(view);
  const stop = at + XattrTableV5.pairs + readU64(view, at + XattrTableV5.size);
  const found = new Collected();
  let pair = at + XattrTableV5.pairs;
  while (pair < stop) {
    const end = pair + 4 <= stop ? pair + 4 + view.getUint32(pair, true) : stop + 1;
    if (end > stop) return `xattr pair at offset ${pair}: must lie inside the table, which ends at ${stop}`;
    const nul = bytes.subarray(pair + XattrPairV5.name, end).indexOf(0);
    if (nul < 0) return `xattr pair at offset ${pair}: no NUL behind its name`;
    const value = pair + XattrPairV5.name + nul + 1;
    const fault = found.add(bytes.subarray(pair + XattrPairV5.name, value - 1), bytes.subarray(value, end));
    if (fault !== null) return fault;
    pair = end;
  }
  return found.xattrs;
}

/** The area between `at` and `stop`, which lies inside the bootstrap. */
function readV6(view: DataView, at: number, stop: number): Xattr[] | string {
  if (at === stop) return [];
  const bytes = bytesOf(view);
  const shared = view.getUint8(at + XattrBodyV6.sharedCount);
  if (shared !== 0) return `h_shared_count = ${shared}: must be 0`;
  const found = new Collected();
  let entry = at + XattrBodyV6.size;
  while (entry < stop) {
    const place = `xattr entry at offset ${entry}`;
    if (entry + XattrEntryV6.size > stop) return `${place}: must lie inside the area`;
    const index = view.getUint8(entry + XattrEntryV6.nameIndex);
    const prefix = xattrPrefixes[index];
    if (prefix === undefined) return `${place}: e_name_index = ${index}: unknown`;
    const suffix = entry + XattrEntryV6.size;
    const value = suffix + view.getUint8(entry + XattrEntryV6.nameLength);
    const end = value + view.getUint16(entry + XattrEntryV6.valueSize, true);
    if (end > stop) return `${place}: must end at ${stop} at most`;
    const name = Buffer.concat([prefix, bytes.subarray(suffix, value)]);
    const fault = found.add(name, bytes.subarray(value, end));
    if (fault !== null) return fault;
    entry += Math.ceil((end - entry) / 4) * 4;
  }
  return entry === stop ? found.xattrs : `xattr entries end at offset ${entry}, i_xattr_icount says ${stop}`;
}

function bytesOf(view: DataView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

/** Attributes of one inode. */
class Collected {
  readonly xattrs: Xattr[] = [];
  readonly #names = new Set<string>();

  /** Adds a copy; what is wrong with it, or null. */
  add(name: Uint8Array, value: Uint8Array): string | null {
    const shown = () => `xattr ${debugText(name.subarray(0, NAME_BYTES_MAX))}`;
    if (name.length > NAME_BYTES_MAX) return `${shown()}…: a name of more than ${NAME_BYTES_MAX} bytes`;
    if (value.length > VALUE_BYTES_MAX)
      return `${shown()}: a value of ${value.length} bytes, at most ${VALUE_BYTES_MAX}`;
    const known = PREFIXES.some((prefix) => Buffer.compare(name.subarray(0, prefix.length), prefix) === 0);
    if (!known) return `${shown()}: not a name that images may have`;
    const key = Buffer.from(name).toString('latin1');
    if (this.#names.has(key)) return `${shown()}: twice`;
    this.#names.add(key);
    this.xattrs.push({ name: Buffer.from(name), value: Buffer.from(value) });
    return null;
  }
}
