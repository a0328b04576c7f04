import { z } from 'zod';
import { TarType } from '../../../wire/tar.ts';
import { ImageError, reason } from '../../model/error.ts';
import type { TarMember } from '../tar/reader.ts';

/**
 * The table of contents of an eStargz layer, `stargz.index.json` at its end (containerd/stargz-snapshotter,
 * docs/estargz.md). Unknown fields are dropped.
 */
const count = z.int().nonnegative();
const u32 = count.max(0xffff_ffff, 'must fit 32 bits');
const sha256 = z.string().regex(/^sha256:[0-9a-f]{64}$/, 'must be sha256: and 64 hexadecimal digits');
const base64 = z
  .string()
  .regex(/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/, 'must be base64');

/** An entry, complete. Sizes and offsets in bytes. */
export interface StargzEntry {
  readonly name: string;
  readonly type: 'dir' | 'reg' | 'symlink' | 'hardlink' | 'char' | 'block' | 'fifo' | 'chunk';
  readonly size: number;
  /** RFC 3339. */
  readonly modtime?: string | undefined;
  readonly linkName: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly devMajor: number;
  readonly devMinor: number;
  /** Base64 by name. */
  readonly xattrs: Readonly<Record<string, string>>;
  /** Where the gzip member with the data of the file or chunk begins. */
  readonly offset: number;
  /** Data that the member has before it. */
  readonly innerOffset: number;
  readonly chunkOffset: number;
  /** 0: to the end of the file. */
  readonly chunkSize: number;
  /** `sha256:` and hexadecimal digits; empty where there is no data. */
  readonly chunkDigest: string;
}

const entrySchema: z.ZodType<StargzEntry> = z.object({
  name: z.string().min(1, 'must not be empty'),
  type: z.enum(['dir', 'reg', 'symlink', 'hardlink', 'char', 'block', 'fifo', 'chunk']),
  size: count.default(0),
  modtime: z.iso.datetime({ offset: true }).optional(),
  linkName: z.string().default(''),
  mode: u32.default(0),
  uid: u32.default(0),
  gid: u32.default(0),
  devMajor: count.default(0),
  devMinor: count.default(0),
  xattrs: z.record(z.string(), base64).default({}),
  offset: count.default(0),
  innerOffset: count.default(0),
  chunkOffset: count.default(0),
  chunkSize: count.default(0),
  chunkDigest: sha256.or(z.literal('')).default(''),
});
const indexSchema = z.object({
  version: z.literal(1, 'only version 1 is known'),
  entries: z.array(entrySchema).min(1, 'must not be empty'),
});

/** Larger documents are refused: they are held in memory. */
const INDEX_BYTES_MAX = 1 << 28;
/** Problems named in one message. */
const ISSUES_SHOWN = 3;

/** Largest index that is read, in bytes. */
export const STARGZ_INDEX_BYTES_MAX: number = INDEX_BYTES_MAX;

/** Decodes and checks an index. `name` for messages. Throws ImageError. */
export function parseStargzIndex(bytes: Buffer, name: string): readonly StargzEntry[] {
  const bad = (rule: string): ImageError =>
    new ImageError('IMAGE_BAD_SOURCE', `${name}: ${rule}: not an index of an eStargz layer`);
  let document: unknown;
  try {
    document = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    throw bad(reason(error));
  }
  const result = indexSchema.safeParse(document);
  if (result.success) return result.data.entries;
  const { issues } = result.error;
  const shown = issues
    .slice(0, ISSUES_SHOWN)
    .map(({ path, message }) => `${path.join('.') || 'document'}: ${message}`);
  const more = issues.length > ISSUES_SHOWN ? `; and ${issues.length - ISSUES_SHOWN} more` : '';
  throw bad(shown.join('; ') + more);
}

const types: Readonly<Record<string, string>> = {
  dir: TarType.directory,
  reg: TarType.regular,
  symlink: TarType.symlink,
  hardlink: TarType.link,
  char: TarType.character,
  block: TarType.block,
  fifo: TarType.fifo,
};

/** An entry as the member of a tar. `chunk` entries have no file of their own. */
export function tarMemberOf(entry: StargzEntry): TarMember {
  const xattrs = Object.entries(entry.xattrs).map(([name, value]) => ({
    name: Buffer.from(name),
    value: Buffer.from(value, 'base64'),
  }));
  return {
    type: types[entry.type]!,
    name: Buffer.from(entry.name),
    linkName: Buffer.from(entry.linkName),
    mode: entry.mode,
    uid: entry.uid,
    gid: entry.gid,
    mtimeSec: entry.modtime === undefined ? 0 : Math.floor(Date.parse(entry.modtime) / 1000),
    devMajor: entry.devMajor,
    devMinor: entry.devMinor,
    xattrs: xattrs.sort((a, b) => Buffer.compare(a.name, b.name)),
    size: entry.type === 'reg' ? entry.size : 0,
    regions: null,
    headerOffset: 0,
    dataOffset: 0,
    storedSize: 0,
  };
}
