/** Archives for tests, member by member. */
import type { ByteSource } from '../../src/image/tar/byte-source.ts';
import { type TarEntry, TarReader } from '../../src/image/tar/reader.ts';
import {
  encodePaxRecords,
  encodeTarHeaders,
  sealTarHeader,
  TAR_BLOCK,
  TarField,
  type TarFields,
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
export type ReadEntry = TarEntry & { readonly data: Buffer };

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
