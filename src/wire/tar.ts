import { CodedError } from '../lib/coded-error.ts';

/**
 * Headers of tar archives: POSIX ustar and pax (IEEE Std 1003.1, pax utility) and GNU (tar's manual, "Basic Tar
 * Format"). Decoding checks syntax only; what an entry may mean is the reader's business.
 */

/** Headers and data are padded to this. */
export const TAR_BLOCK = 512;
/** Longest extended header read, of any kind. Real ones have some hundred bytes; Go's reader has the same limit. */
export const EXTENDED_HEADER_MAX: number = 1 << 20;

type FieldName =
  | 'name'
  | 'mode'
  | 'uid'
  | 'gid'
  | 'size'
  | 'mtime'
  | 'checksum'
  | 'type'
  | 'linkName'
  | 'magic'
  | 'userName'
  | 'groupName'
  | 'devMajor'
  | 'devMinor'
  | 'prefix'
  | 'gnuRegions'
  | 'gnuIsExtended'
  | 'gnuRealSize';

/** Field offsets and sizes of a header block. */
export const TarField: Readonly<Record<FieldName, readonly [at: number, size: number]>> = {
  name: [0, 100],
  mode: [100, 8],
  uid: [108, 8],
  gid: [116, 8],
  size: [124, 12],
  mtime: [136, 12],
  checksum: [148, 8],
  type: [156, 1],
  linkName: [157, 100],
  magic: [257, 8],
  userName: [265, 32],
  groupName: [297, 32],
  devMajor: [329, 8],
  devMinor: [337, 8],
  prefix: [345, 155],
  /** GNU: four regions of a sparse file, whether more follow, and the file's size with holes. */
  gnuRegions: [386, 96],
  gnuIsExtended: [482, 1],
  gnuRealSize: [483, 12],
};

/** An offset and a size of GNU sparse regions, 12 bytes each. */
const REGION_NUMBER_SIZE = 12;
const REGION_SIZE = 2 * REGION_NUMBER_SIZE;
/** A block that continues a GNU sparse header: 21 regions and a flag. */
const EXTENSION_REGIONS_SIZE = 21 * REGION_SIZE;

/** Values of the type field. */
export const TarType = {
  regular: '0',
  link: '1',
  symlink: '2',
  character: '3',
  block: '4',
  directory: '5',
  fifo: '6',
  contiguous: '7',
  gnuDirectory: 'D',
  gnuLongLink: 'K',
  gnuLongName: 'L',
  gnuSparse: 'S',
  gnuVolume: 'V',
  pax: 'x',
  paxGlobal: 'g',
  paxSun: 'X',
} as const;

/** Why an archive was refused; stable across releases. */
type TarErrorCode = 'TAR_TRUNCATED' | 'TAR_BAD_HEADER' | 'TAR_TOO_LARGE' | 'TAR_UNSUPPORTED';

/** An archive that cannot be read. The message names the field, its value and the rule it breaks. */
export class TarError extends CodedError<TarErrorCode> {}

function bad(message: string): TarError {
  return new TarError('TAR_BAD_HEADER', message);
}

/** A header block, its fields as they are there. */
export interface TarHeader {
  /** One character; NUL, the old form of a regular file, is given as `0`. */
  readonly type: string;
  readonly format: 'v7' | 'ustar' | 'gnu';
  /** Raw bytes, ustar's prefix joined. */
  readonly name: Buffer;
  readonly linkName: Buffer;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes that follow, padding aside. */
  readonly size: number;
  /** Seconds since 1970, whole. */
  readonly mtimeSec: number;
  readonly devMajor: number;
  readonly devMinor: number;
}

/** Whether a block is all zeros: two of them end an archive, unless more follows. */
export function isZeroBlock(block: Buffer): boolean {
  return block[0] === 0 && block.equals(ZERO_BLOCK);
}
const ZERO_BLOCK = Buffer.alloc(TAR_BLOCK);

/** Decodes a block of TAR_BLOCK bytes. The result does not refer to it. Throws TarError. */
export function decodeTarHeader(block: Buffer): TarHeader {
  checkChecksum(block);
  const format = formatOf(block);
  const type = block[TarField.type[0]] === 0 ? TarType.regular : block.toString('latin1', 156, 157);
  const hasDevice = format !== 'v7';
  return {
    type,
    format,
    name: nameOf(block, format),
    linkName: Buffer.from(untilNul(field(block, 'linkName'))),
    mode: unsigned(block, 'mode'),
    uid: unsigned(block, 'uid'),
    gid: unsigned(block, 'gid'),
    size: unsigned(block, 'size'),
    mtimeSec: decodeNumber(block, 'mtime', ...TarField.mtime),
    devMajor: hasDevice ? unsigned(block, 'devMajor') : 0,
    devMinor: hasDevice ? unsigned(block, 'devMinor') : 0,
  };
}

function field(block: Buffer, name: FieldName): Buffer {
  const [at, size] = TarField[name];
  return block.subarray(at, at + size);
}

/** What precedes the first NUL. */
export function untilNul(bytes: Buffer): Buffer {
  const end = bytes.indexOf(0);
  return end < 0 ? bytes : bytes.subarray(0, end);
}

const USTAR = Buffer.from('ustar\0');
const GNU = Buffer.from('ustar  \0');

function formatOf(block: Buffer): TarHeader['format'] {
  const magic = field(block, 'magic');
  if (magic.equals(GNU)) return 'gnu';
  return magic.subarray(0, USTAR.length).equals(USTAR) ? 'ustar' : 'v7';
}

function nameOf(block: Buffer, format: TarHeader['format']): Buffer {
  const name = untilNul(field(block, 'name'));
  const prefix = untilNul(field(block, 'prefix'));
  if (format !== 'ustar' || prefix.length === 0) return Buffer.from(name);
  return Buffer.concat([prefix, Buffer.from('/'), name]);
}

/** The sum of all bytes, the checksum's own taken as spaces. Some old writers summed signed bytes. */
function checkChecksum(block: Buffer): void {
  const [at, size] = TarField.checksum;
  const text = block.toString('latin1', at, at + size);
  const stored = Number.parseInt(text.replaceAll('\0', ' '), 8);
  const sum = sumOf(block, 0);
  if (stored !== sum && stored !== sumOf(block, 256))
    throw bad(
      `the checksum of the header is not that of its bytes, ${sum}: no tar archive, or a damaged one`,
    );
}

/** `bias` is taken from bytes above 127. */
function sumOf(block: Buffer, bias: number): number {
  const [at, size] = TarField.checksum;
  let sum = size * 0x20;
  for (let i = 0; i < TAR_BLOCK; i++) sum += block[i]!;
  for (let i = at; i < at + size; i++) sum -= block[i]!;
  if (bias === 0) return sum;
  for (let i = 0; i < TAR_BLOCK; i++) if (block[i]! > 127 && (i < at || i >= at + size)) sum -= bias;
  return sum;
}

function unsigned(block: Buffer, name: FieldName): number {
  const value = decodeNumber(block, name, ...TarField[name]);
  if (value < 0) throw bad(`${name} = ${value}: negative`);
  return value;
}

/** A number in octal, or in GNU's base 256 (first bit set; two's complement). Blank is 0, as other readers have it. */
function decodeNumber(block: Buffer, name: string, at: number, size: number): number {
  if (block[at]! & 0x80) return decodeBase256(block, name, at, size);
  const end = at + size;
  let i = at;
  while (i < end && (block[i] === 0x20 || block[i] === 0)) i++;
  let value = 0;
  for (; i < end && block[i] !== 0x20 && block[i] !== 0; i++) {
    const digit = block[i]! - 0x30;
    if (digit < 0 || digit > 7)
      throw bad(`${name} = ${JSON.stringify(block.toString('latin1', at, end))}: not an octal number`);
    value = value * 8 + digit;
  }
  return value;
}

function decodeBase256(block: Buffer, name: string, at: number, size: number): number {
  const hex = block.toString('hex', at, at + size);
  const bits = size * 8 - 1;
  // The first bit is the mark; the next one is the sign.
  const value = BigInt.asIntN(bits, BigInt(`0x${hex}`));
  const number = Number(value);
  if (!Number.isSafeInteger(number)) throw bad(`${name} = ${value}: out of range`);
  return number;
}

/** Bytes of a sparse file that are stored; the rest are zeros. */
export interface SparseRegion {
  readonly offset: number;
  readonly size: number;
}

/** What a GNU header of type `S` says beyond the other fields. */
interface GnuSparseHeader {
  readonly regions: readonly SparseRegion[];
  /** A block of more regions follows. */
  readonly isExtended: boolean;
  /** Size of the file, holes included. */
  readonly realSize: number;
}

export function decodeGnuSparse(block: Buffer): GnuSparseHeader {
  const [at, size] = TarField.gnuRegions;
  return {
    regions: decodeRegions(block, at, size),
    isExtended: block[TarField.gnuIsExtended[0]] !== 0,
    realSize: unsigned(block, 'gnuRealSize'),
  };
}

/** A block after a GNU sparse header. */
export function decodeGnuSparseExtension(block: Buffer): Pick<GnuSparseHeader, 'regions' | 'isExtended'> {
  return {
    regions: decodeRegions(block, 0, EXTENSION_REGIONS_SIZE),
    isExtended: block[EXTENSION_REGIONS_SIZE] !== 0,
  };
}

/** The list ends at a region whose numbers are blank. */
function decodeRegions(block: Buffer, from: number, size: number): SparseRegion[] {
  const regions: SparseRegion[] = [];
  for (let at = from; at < from + size && block[at + REGION_NUMBER_SIZE] !== 0; at += REGION_SIZE) {
    regions.push({
      offset: decodeNumber(block, 'sparse offset', at, REGION_NUMBER_SIZE),
      size: decodeNumber(block, 'sparse size', at + REGION_NUMBER_SIZE, REGION_NUMBER_SIZE),
    });
  }
  return regions;
}

/** A record of an extended header. */
export interface PaxRecord {
  /** Bytes as latin1. */
  readonly key: string;
  /** Any bytes. Refers to the header decoded. */
  readonly value: Buffer;
}

/** Digits of a record's length: more than an extended header may have. */
const PAX_LENGTH_DIGITS_MAX = 8;

/**
 * Decodes the data of a pax header: records of `LENGTH KEY=VALUE\n`, where only LENGTH tells the end. Throws TarError.
 */
export function decodePaxRecords(data: Buffer): PaxRecord[] {
  const records: PaxRecord[] = [];
  for (let at = 0; at < data.length; ) {
    const space = data.subarray(0, at + PAX_LENGTH_DIGITS_MAX + 1).indexOf(0x20, at);
    const digits = data.toString('latin1', at, Math.max(at, space));
    const end = at + Number(digits);
    if (!/^[0-9]+$/.test(digits) || end > data.length || end < space + 3 || data[end - 1] !== 0x0a)
      throw bad(`pax header, byte ${at}: not a record of LENGTH KEY=VALUE and a newline`);
    const equals = data.indexOf(0x3d, space + 1);
    if (equals <= space + 1 || equals >= end - 1) throw bad(`pax header, byte ${at}: a record without a key`);
    const key = data.toString('latin1', space + 1, equals);
    records.push({ key, value: data.subarray(equals + 1, end - 1) });
    at = end;
  }
  return records;
}

/** A decimal number of a pax record: whole, not negative. */
export function decodePaxNumber({ key, value }: PaxRecord): number {
  const number = /^[0-9]{1,16}$/.test(value.toString('latin1')) ? Number(value) : Number.NaN;
  if (!Number.isSafeInteger(number)) throw bad(`pax ${key} = ${quote(value)}: not a number below 2^53`);
  return number;
}

/** Seconds of a time in a pax record, rounded down. */
export function decodePaxTime({ key, value }: PaxRecord): number {
  const text = value.toString('latin1');
  const match = /^(-?)([0-9]{1,15})(?:\.([0-9]*))?$/.exec(text);
  if (match === null) throw bad(`pax ${key} = ${quote(value)}: not a time in seconds`);
  const whole = Number(match[2]);
  if (match[1] === '') return whole;
  return /[1-9]/.test(match[3] ?? '') ? -whole - 1 : 0 - whole;
}

function quote(value: Buffer): string {
  return JSON.stringify(value.toString('latin1', 0, 64));
}

/** Bytes of padding after `size` bytes. */
export function tarPadding(size: number): number {
  return (TAR_BLOCK - (size % TAR_BLOCK)) % TAR_BLOCK;
}

/** Prefix of keys of extended attributes. */
export const PAX_XATTR = 'SCHILY.xattr.';

/** A time of a pax record, as short as can be. `nanoseconds` count forward from `seconds`. */
export function paxTime(seconds: number, nanoseconds: number): string {
  if (nanoseconds === 0) return String(seconds);
  // A negative time counts its fraction away from zero, too.
  const sign = seconds < 0 ? '-' : '';
  const whole = seconds < 0 ? -seconds - 1 : seconds;
  const rest = seconds < 0 ? 1_000_000_000 - nanoseconds : nanoseconds;
  return `${sign}${whole}.${String(rest).padStart(9, '0').replace(/0+$/, '')}`;
}

/** A record's length counts its own digits. */
export function encodePaxRecords(records: readonly PaxRecord[]): Buffer {
  const parts: Buffer[] = [];
  for (const { key, value } of records) {
    const rest = key.length + value.length + 3;
    let length = rest + String(rest).length;
    length = rest + String(length).length;
    parts.push(Buffer.from(`${length} ${key}=`, 'latin1'), value, Buffer.from('\n'));
  }
  return Buffer.concat(parts);
}

/** Sets the checksum of a header block. */
export function sealTarHeader(block: Buffer): void {
  const [at, size] = TarField.checksum;
  block.fill(0x20, at, at + size);
  let sum = 0;
  for (const byte of block) sum += byte;
  block.write(`${sum.toString(8).padStart(6, '0')}\0`, at, 'latin1');
}
