import { isUtf8 } from 'node:buffer';
import type { Xattr } from '../../native/xattr.ts';
import {
  encodePaxRecords,
  PAX_XATTR,
  type PaxRecord,
  paxTime,
  sealTarHeader,
  TAR_BLOCK,
  TarField,
  TarType,
  tarPadding,
} from '../../wire/tar.ts';

/** What is written of an entry before its data. */
export interface TarEntryFields {
  /** A value of TarType. */
  readonly type: string;
  /** Raw bytes, neither empty nor beginning with a slash. */
  readonly name: Buffer;
  /** Of links: target of a symbolic one, name of an earlier entry for a hard one. */
  readonly linkName: Buffer | null;
  /** Permission bits; others are left out. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Empty: unknown. */
  readonly userName: string;
  readonly groupName: string;
  /** Bytes of data that follow. */
  readonly size: number;
  readonly mtimeSec: number;
  readonly mtimeNs: number;
  readonly devMajor: number;
  readonly devMinor: number;
  readonly xattrs: readonly Xattr[];
}

/** Two blocks of zeros. */
export const TAR_END: Buffer = Buffer.alloc(2 * TAR_BLOCK);

const NAME_BYTES = TarField.name[1];
const LINK_BYTES = TarField.linkName[1];

/**
 * The blocks before an entry's data: a ustar header, and a pax header (`DIRECTORY/PaxHeaders.0/NAME`) before it
 * if a name is longer than 100 bytes, the time has a fraction, or there are xattrs. Numbers too large for octal
 * digits are in base 256. The layout is upstream's, byte for byte (src/bin/nydus-image/unpack/pax.rs), which
 * has no times with fractions.
 */
export function encodeTarEntry(entry: TarEntryFields): Buffer {
  const records = recordsOf(entry);
  const name = cut(entry.name, NAME_BYTES);
  const header = encodeHeader(entry, name);
  if (records.length === 0) return header;
  const data = encodePaxRecords(records);
  const padding = Buffer.alloc(tarPadding(data.length));
  return Buffer.concat([encodePaxHeader(name, data.length), data, padding, header]);
}

function recordsOf({ name, linkName, mtimeSec, mtimeNs, xattrs }: TarEntryFields): PaxRecord[] {
  const records: PaxRecord[] = [];
  if (name.length > NAME_BYTES) records.push({ key: 'path', value: name });
  if (linkName !== null && linkName.length > LINK_BYTES) records.push({ key: 'linkpath', value: linkName });
  if (mtimeNs !== 0) records.push({ key: 'mtime', value: Buffer.from(paxTime(mtimeSec, mtimeNs)) });
  for (const xattr of xattrs) records.push({ key: PAX_XATTR + xattrKey(xattr.name), value: xattr.value });
  return records.sort((a, b) => (a.key < b.key ? -1 : 1));
}

/** A `=` ends the key of a record: written as GNU tar does, which reads it back. */
function xattrKey(name: Buffer): string {
  const key = name.toString('latin1');
  return /=|%3D|%25/.test(key) ? key.replaceAll('%', '%25').replaceAll('=', '%3D') : key;
}

function encodeHeader(entry: TarEntryFields, name: Buffer): Buffer {
  const block = newHeader(entry.type, name, entry.mode, entry.uid, entry.gid, entry.size, entry.mtimeSec);
  if (entry.linkName !== null) block.set(cut(entry.linkName, LINK_BYTES), TarField.linkName[0]);
  putName(block, TarField.userName, entry.userName);
  putName(block, TarField.groupName, entry.groupName);
  putNumber(block, TarField.devMajor, entry.devMajor);
  putNumber(block, TarField.devMinor, entry.devMinor);
  sealTarHeader(block);
  return block;
}

function encodePaxHeader(name: Buffer, size: number): Buffer {
  const end = name.at(-1) === SLASH ? name.length - 1 : name.length;
  const slash = name.lastIndexOf(SLASH, end - 1);
  const directory = name.subarray(0, slash + 1);
  const path = Buffer.concat([directory, Buffer.from('PaxHeaders.0/'), name.subarray(slash + 1, end)]);
  const block = newHeader(TarType.pax, cut(path, NAME_BYTES), 0o644, 0, 0, size, 0);
  sealTarHeader(block);
  return block;
}
const SLASH = 0x2f;

function newHeader(
  type: string,
  name: Buffer,
  mode: number,
  uid: number,
  gid: number,
  size: number,
  mtimeSec: number,
): Buffer {
  const block = Buffer.alloc(TAR_BLOCK);
  block.set(name, TarField.name[0]);
  block.write(type, TarField.type[0], 'latin1');
  block.write('ustar\x0000', TarField.magic[0], 'latin1');
  putNumber(block, TarField.mode, mode & 0o7777);
  putNumber(block, TarField.uid, uid);
  putNumber(block, TarField.gid, gid);
  putNumber(block, TarField.size, size);
  putNumber(block, TarField.mtime, mtimeSec);
  return block;
}

/** Octal digits and a NUL; what is too large for them, or negative, in base 256 (big-endian, the first bit set). */
function putNumber(block: Buffer, [at, size]: readonly [at: number, size: number], value: number): void {
  if (value >= 0 && value < 8 ** (size - 1)) {
    block.write(value.toString(8).padStart(size - 1, '0'), at, 'latin1');
    return;
  }
  block.fill(value < 0 ? 0xff : 0, at, at + size);
  block.writeBigInt64BE(BigInt.asIntN(64, BigInt(value)), at + size - 8);
  block[at]! |= 0x80;
}

/** A user whose name does not fit has none. */
function putName(block: Buffer, [at, size]: readonly [at: number, size: number], name: string): void {
  if (Buffer.byteLength(name) < size) block.write(name, at);
}

/**
 * At most `size` bytes, no character of UTF-8 cut in two, as upstream. What is not UTF-8 from
 * the start is cut anywhere.
 */
function cut(name: Buffer, size: number): Buffer {
  if (name.length <= size) return name;
  for (let end = size; end > 0; end--) if (isUtf8(name.subarray(0, end))) return name.subarray(0, end);
  return name.subarray(0, size);
}
