/** Archives for tests, member by member. */
import type { ByteSource } from '../../src/image/source/tar/byte-source.ts';
import { type TarMember, TarReader } from '../../src/image/source/tar/reader.ts';
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
} from '../../src/wire/tar.ts';

type Text = string | Buffer;
/** A header's fields; what is left out is that of a plain file. */
export type MemberFields = Partial<Omit<TarFields, 'name' | 'linkName'>> & {
  readonly name: Text;
  readonly linkName?: Text;
};

/** Headers, data and padding. */
export function member(fields: MemberFields, data: Text = ''): Buffer {
  const bytes = Buffer.from(data);
  const headers = encodeTarHeaders({
    type: TarType.regular,
    mode: 0o644,
    uid: 0,
    gid: 0,
    size: bytes.length,
    mtimeSec: 1_700_000_000,
    ...fields,
    name: Buffer.from(fields.name),
    linkName: Buffer.from(fields.linkName ?? ''),
  });
  return Buffer.concat([headers, padded(bytes)]);
}

/** A header block of GNU tar's old format, with fields written over. */
export function gnuMember(
  fields: MemberFields,
  data: Text = '',
  over: (block: Buffer) => void = () => {},
): Buffer {
  const bytes = member(fields, data);
  const block = bytes.subarray(0, TAR_BLOCK);
  block.write('ustar  \0', TarField.magic[0], 'latin1');
  over(block);
  sealTarHeader(block);
  return bytes;
}

/** A pax header of these records; type `g` for one that holds for all that follows. */
export function paxMember(
  records: readonly (readonly [key: string, value: Text])[],
  type: string = TarType.pax,
): Buffer {
  const data = encodePaxRecords(records.map(([key, value]) => ({ key, value: Buffer.from(value) })));
  return member({ type, name: 'pax' }, data);
}

export function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc(tarPadding(bytes.length))]);
}

/** The two blocks of zeros at the end. */
export const END: Buffer = Buffer.alloc(2 * TAR_BLOCK);

/** Bytes in pieces of a size, or all at once. */
export function bytesSource(bytes: Buffer, pieceSize: number = bytes.length): ByteSource {
  let at = 0;
  return {
    name: 'test.tar',
    next: () => {
      if (at >= bytes.length) return null;
      // A piece is only valid until the next one: what is kept of it would show.
      const piece = Buffer.from(bytes.subarray(at, at + pieceSize));
      at += piece.length;
      return piece;
    },
    close: () => {},
  };
}

/** An entry and its file's bytes. */
export type ReadEntry = TarMember & { readonly data: Buffer };

/** Reads a whole archive. */
export async function readAll(bytes: Buffer, pieceSize?: number): Promise<ReadEntry[]> {
  const reader = new TarReader(bytesSource(bytes, pieceSize));
  const entries: ReadEntry[] = [];
  for (let entry = await reader.next(); entry !== null; entry = await reader.next()) {
    const data = Buffer.alloc(entry.size);
    await reader.read(data);
    entries.push({ ...entry, data });
  }
  return entries;
}

/** What `encodeTarHeaders` writes. */
export interface TarFields {
  readonly type: string;
  /** Raw bytes without NUL; names of directories end in a slash by convention. */
  readonly name: Buffer;
  readonly linkName?: Buffer;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes that follow. */
  readonly size: number;
  readonly mtimeSec: number;
  readonly mtimeNs?: number;
  readonly devMajor?: number;
  readonly devMinor?: number;
  /** Written as `SCHILY.xattr.NAME`, as GNU tar, star and Go do. */
  readonly xattrs?: readonly { readonly name: Buffer; readonly value: Buffer }[];
}

/**
 * The ustar header of an entry, behind a pax header for what does not fit into it. Data follows, padded to TAR_BLOCK.
 */
export function encodeTarHeaders(fields: TarFields): Buffer {
  const records = paxRecordsOf(fields);
  const header = encodeUstar(fields);
  if (records.length === 0) return header;
  const data = encodePaxRecords(records);
  const pax = { type: TarType.pax, name: Buffer.from('pax'), mode: 0o644, uid: 0, gid: 0, size: data.length };
  const padding = Buffer.alloc(tarPadding(data.length));
  return Buffer.concat([encodeUstar({ ...pax, mtimeSec: 0 }), data, padding, header]);
}

/** Largest values of fields of 7 and 11 octal digits. */
const OCTAL_7_MAX = 8 ** 7 - 1;
const OCTAL_11_MAX = 8 ** 11 - 1;

function paxRecordsOf(fields: TarFields): PaxRecord[] {
  const { name, linkName, mtimeSec, mtimeNs = 0, devMajor = 0, devMinor = 0 } = fields;
  const records: PaxRecord[] = [];
  const add = (key: string, value: Buffer | string): void => {
    records.push({ key, value: Buffer.from(value) });
  };
  if (name.length > TarField.name[1] || hasHighByte(name)) add('path', name);
  if (linkName !== undefined && (linkName.length > TarField.linkName[1] || hasHighByte(linkName)))
    add('linkpath', linkName);
  if (fields.size > OCTAL_11_MAX) add('size', String(fields.size));
  if (fields.uid > OCTAL_7_MAX) add('uid', String(fields.uid));
  if (fields.gid > OCTAL_7_MAX) add('gid', String(fields.gid));
  if (devMajor > OCTAL_7_MAX) add('SCHILY.devmajor', String(devMajor));
  if (devMinor > OCTAL_7_MAX) add('SCHILY.devminor', String(devMinor));
  if (mtimeNs !== 0 || mtimeSec < 0 || mtimeSec > OCTAL_11_MAX) add('mtime', paxTime(mtimeSec, mtimeNs));
  for (const xattr of fields.xattrs ?? []) add(PAX_XATTR + xattr.name.toString('latin1'), xattr.value);
  return records;
}

/** Names in ustar headers are ASCII; in pax records UTF-8 by the standard, bytes in practice. */
function hasHighByte(bytes: Buffer): boolean {
  return bytes.some((byte) => byte > 127);
}

function encodeUstar(fields: TarFields): Buffer {
  const block = Buffer.alloc(TAR_BLOCK);
  fields.name.copy(block, TarField.name[0], 0, TarField.name[1]);
  fields.linkName?.copy(block, TarField.linkName[0], 0, TarField.linkName[1]);
  block.write(fields.type, TarField.type[0], 'latin1');
  block.write('ustar\x0000', TarField.magic[0], 'latin1');
  putOctal(block, 'mode', fields.mode & 0o7777, OCTAL_7_MAX);
  putOctal(block, 'uid', fields.uid, OCTAL_7_MAX);
  putOctal(block, 'gid', fields.gid, OCTAL_7_MAX);
  putOctal(block, 'size', fields.size, OCTAL_11_MAX);
  putOctal(block, 'mtime', fields.mtimeSec, OCTAL_11_MAX);
  putOctal(block, 'devMajor', fields.devMajor ?? 0, OCTAL_7_MAX);
  putOctal(block, 'devMinor', fields.devMinor ?? 0, OCTAL_7_MAX);
  sealTarHeader(block);
  return block;
}

/** What is out of range is 0 here: its pax record counts. */
function putOctal(block: Buffer, name: keyof typeof TarField, value: number, max: number): void {
  const [at, size] = TarField[name];
  const octal = value >= 0 && value <= max ? value.toString(8) : '0';
  block.write(octal.padStart(size - 1, '0'), at, 'latin1');
}
