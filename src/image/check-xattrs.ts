import { readU64 } from '../wire/rafs/bytes.ts';
import { XattrBodyV6, XattrEntryV6, XattrPairV5, XattrTableV5, xattrPrefixes } from '../wire/rafs/xattr.ts';
import { debugText } from './debug-text.ts';

const NAME_BYTES_MAX = 255;
const VALUE_BYTES_MAX = 0x10000;
const PREFIXES: readonly Uint8Array[] = xattrPrefixes.filter((prefix) => prefix !== undefined);

/** What is wrong with the v5 xattr table at `at`, which lies inside the bootstrap with the size it says; null: nothing. */
export function xattrFaultV5(view: DataView, at: number): string | null {
  const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  const stop = at + XattrTableV5.pairs + readU64(view, at + XattrTableV5.size);
  const names = new Names();
  let pair = at + XattrTableV5.pairs;
  while (pair < stop) {
    const end = pair + 4 <= stop ? pair + 4 + view.getUint32(pair, true) : stop + 1;
    if (end > stop) return `xattr pair at offset ${pair}: must lie inside the table, which ends at ${stop}`;
    const nul = bytes.subarray(pair + XattrPairV5.name, end).indexOf(0);
    if (nul < 0) return `xattr pair at offset ${pair}: no NUL behind its name`;
    const name = bytes.subarray(pair + XattrPairV5.name, pair + XattrPairV5.name + nul);
    const fault = names.fault(name, end - (pair + XattrPairV5.name + nul + 1));
    if (fault !== null) return fault;
    pair = end;
  }
  return null;
}

/** What is wrong with the v6 xattrs between `at` and `stop`, which lie inside the bootstrap; null: nothing. */
export function xattrFaultV6(view: DataView, at: number, stop: number): string | null {
  if (at === stop) return null;
  const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  const shared = view.getUint8(at + XattrBodyV6.sharedCount);
  if (shared !== 0) return `h_shared_count = ${shared}: must be 0`;
  const names = new Names();
  let entry = at + XattrBodyV6.size;
  while (entry < stop) {
    if (entry + XattrEntryV6.size > stop) return `xattr entry at offset ${entry}: must lie inside the area`;
    const index = view.getUint8(entry + XattrEntryV6.nameIndex);
    const prefix = xattrPrefixes[index];
    if (prefix === undefined) return `xattr entry at offset ${entry}: e_name_index = ${index}: unknown`;
    const suffix = entry + XattrEntryV6.size;
    const value = suffix + view.getUint8(entry + XattrEntryV6.nameLength);
    const valueSize = view.getUint16(entry + XattrEntryV6.valueSize, true);
    if (value + valueSize > stop) return `xattr entry at offset ${entry}: must end at ${stop} at most`;
    const fault = names.fault(Buffer.concat([prefix, bytes.subarray(suffix, value)]), valueSize);
    if (fault !== null) return fault;
    entry += Math.ceil((value + valueSize - entry) / 4) * 4;
  }
  return entry === stop ? null : `xattr entries end at offset ${entry}, i_xattr_icount says ${stop}`;
}

/** Names of one inode. */
class Names {
  readonly #seen = new Set<string>();

  fault(name: Uint8Array, valueSize: number): string | null {
    const shown = `xattr ${debugText(name.subarray(0, NAME_BYTES_MAX + 1))}`;
    if (name.length > NAME_BYTES_MAX) return `${shown}…: a name of more than ${NAME_BYTES_MAX} bytes`;
    if (valueSize > VALUE_BYTES_MAX)
      return `${shown}: a value of ${valueSize} bytes, at most ${VALUE_BYTES_MAX}`;
    const known = PREFIXES.some((prefix) => Buffer.compare(name.subarray(0, prefix.length), prefix) === 0);
    if (!known) return `${shown}: not a name that images may have`;
    const key = Buffer.from(name).toString('latin1');
    if (this.#seen.has(key)) return `${shown}: twice`;
    this.#seen.add(key);
    return null;
  }
}
