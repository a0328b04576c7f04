/** Gzip files of every kind, made here: members with all header fields, of all levels and strategies. */
import { createHash } from 'node:crypto';
import { constants, crc32, deflateRawSync, type ZlibOptions } from 'node:zlib';

/** Header fields of RFC 1952 beyond the fixed ones. */
export interface MemberOptions extends ZlibOptions {
  readonly extra?: Uint8Array;
  readonly name?: string;
  readonly comment?: string;
  readonly headerCrc?: boolean;
}

const Flag = { headerCrc: 2, extra: 4, name: 8, comment: 16 } as const;

/** One gzip member. */
export function gzipMember(data: Uint8Array, options: MemberOptions = {}): Buffer {
  const { extra, name, comment, headerCrc, ...deflate } = options;
  const flags =
    (extra === undefined ? 0 : Flag.extra) |
    (name === undefined ? 0 : Flag.name) |
    (comment === undefined ? 0 : Flag.comment) |
    (headerCrc === true ? Flag.headerCrc : 0);
  const parts: Buffer[] = [Buffer.from([0x1f, 0x8b, 8, flags, 1, 2, 3, 4, 0, 3])];
  if (extra !== undefined) parts.push(u16(extra.length), Buffer.from(extra));
  for (const text of [name, comment]) if (text !== undefined) parts.push(Buffer.from(`${text}\0`, 'latin1'));
  if (headerCrc === true) parts.push(u16(crc32(Buffer.concat(parts)) & 0xffff));
  const trailer = Buffer.alloc(8);
  trailer.writeUInt32LE(crc32(data), 0);
  trailer.writeUInt32LE(data.length % 2 ** 32, 4);
  return Buffer.concat([...parts, deflateRawSync(data, deflate), trailer]);
}

function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(value);
  return bytes;
}

/** Members over the pieces of `data` between `cuts`, each made in another way. */
export function gzipMembers(data: Uint8Array, cuts: readonly number[]): Buffer {
  const ways: readonly MemberOptions[] = [
    {},
    { level: 1, name: 'layer.tar' },
    { level: 0 },
    { strategy: constants.Z_FIXED, extra: Buffer.from('anything'), comment: 'a comment' },
    { level: 9, headerCrc: true, name: 'n', extra: new Uint8Array(0) },
    { strategy: constants.Z_HUFFMAN_ONLY, memLevel: 1 },
  ];
  const starts = [0, ...cuts];
  return Buffer.concat(
    starts.map((start, i) =>
      gzipMember(data.subarray(start, starts[i + 1] ?? data.length), ways[i % ways.length]),
    ),
  );
}

/** A file of an eStargz layer. */
export interface GzipPiece {
  readonly name: string;
  readonly data: Buffer;
}

/**
 * A layer as stargz-snapshotter makes it: the data of each file or chunk begins a member, which goes on with what
 * precedes the next one's. The headers of the tar are filler here: its reader is the index.
 */
export function stargzLayer(
  files: readonly GzipPiece[],
  chunkSize: number,
): { layer: Buffer; index: { version: 1; entries: Record<string, unknown>[] } } {
  const members: Buffer[] = [gzipMember(filler(0))];
  const entries: Record<string, unknown>[] = [];
  let offset = members[0]!.length;
  for (const { name, data } of files) {
    const file = { name, size: data.length, mode: 0o644, modtime: '2023-11-15T22:13:20Z' };
    if (data.length === 0) entries.push({ ...file, type: 'reg', digest: sha256(data) });
    for (let at = 0; at < data.length; at += chunkSize) {
      const piece = data.subarray(at, at + chunkSize);
      const last = at + chunkSize >= data.length;
      const place = { offset, chunkDigest: sha256(piece), ...(last ? {} : { chunkSize }) };
      entries.push(
        at === 0
          ? { ...file, type: 'reg', digest: sha256(data), ...place }
          : { name, type: 'chunk', chunkOffset: at, ...place },
      );
      const member = gzipMember(Buffer.concat([piece, filler(members.length)]));
      members.push(member);
      offset += member.length;
    }
  }
  return { layer: Buffer.concat(members), index: { version: 1, entries } };
}

function filler(seed: number): Buffer {
  return Buffer.alloc(512, `header ${seed} `);
}

function sha256(data: Uint8Array): string {
  return `sha256:${createHash('sha256').update(data).digest('hex')}`;
}
