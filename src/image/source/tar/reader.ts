import type { Xattr } from '../../../native/xattr.ts';
import {
  decodeGnuSparse,
  decodeGnuSparseExtension,
  decodePaxNumber,
  decodePaxRecords,
  decodePaxTime,
  decodeTarHeader,
  EXTENDED_HEADER_MAX,
  isZeroBlock,
  PAX_XATTR,
  type PaxRecord,
  type SparseRegion,
  TAR_BLOCK,
  TarError,
  type TarHeader,
  TarType,
  tarPadding,
  untilNul,
} from '../../../wire/tar.ts';
import type { ByteSource } from './byte-source.ts';
import { checkRegions, paxSparseOf, SPARSE_REGIONS_MAX, SparseMapParser } from './sparse.ts';

/** A member of an archive with what its extended headers say applied. */
export interface TarMember {
  /** One of the first seven TarType: contiguous and sparse files are regular, GNU's directories directories. */
  readonly type: string;
  /** As in the archive: raw bytes, perhaps absolute, with `.` or `..`, or ending in a slash. */
  readonly name: Buffer;
  /** Target of links of both kinds. */
  readonly linkName: Buffer;
  /** Permissions; type bits as the archive has them, mostly 0. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeSec: number;
  readonly devMajor: number;
  readonly devMinor: number;
  /** Sorted by name bytes. */
  readonly xattrs: readonly Xattr[];
  /** Bytes of a regular file, holes included; 0 for anything else. */
  readonly size: number;
  /** What is stored of a sparse file, one region after the other from `dataOffset`; null if all is. */
  readonly regions: readonly SparseRegion[] | null;
  /** Byte of the archive, uncompressed, where the entry's own header is. */
  readonly headerOffset: number;
  /** Byte of the archive, uncompressed, where its data is. */
  readonly dataOffset: number;
  /** Bytes of data there, padding aside. */
  readonly storedSize: number;
}

/** Extended headers in front of an entry. */
interface Extensions {
  longName: Buffer | null;
  longLink: Buffer | null;
  pax: readonly PaxRecord[] | null;
}

/** These describe one file; in a global header they are nonsense or an attack. */
const LOCAL_ONLY = /^(path|linkpath|size|GNU\.sparse\..*)$/;
const NO_BYTES = Buffer.alloc(0);

/**
 * Reads an archive from its first byte to its last, once, in constant memory: `next` gives an entry, `read` its data,
 * and what is not read is passed over. Blocks of zeros between entries are ignored, as by `tar --ignore-zeros`, and the
 * source is read to its end. Throws TarError naming the source, the entry and the rule; errors of the source pass.
 */
export class TarReader {
  readonly #source: ByteSource;
  readonly #header = Buffer.alloc(TAR_BLOCK);
  readonly #globals = new Map<string, PaxRecord>();
  /** Bytes of the source at hand: from `#at`. */
  #piece: Buffer = NO_BYTES;
  #at = 0;
  #position = 0;
  /** What is being read, for messages. */
  #where = 'first header';
  /** Stored bytes and padding of the entry not passed yet. */
  #left = 0;
  #padding = 0;
  #regions: readonly SparseRegion[] | null = null;
  #region = 0;
  #fileSize = 0;
  #fileAt = 0;

  constructor(source: ByteSource) {
    this.#source = source;
  }

  /** Bytes of the archive that have been passed. */
  get position(): number {
    return this.#position;
  }

  /** The next entry; null at the end of the source. */
  async next(): Promise<TarMember | null> {
    const extensions: Extensions = { longName: null, longLink: null, pax: null };
    for (;;) {
      await this.#skip(this.#left + this.#padding);
      this.#left = this.#padding = 0;
      const header = await this.#nextHeader();
      if (header === null) {
        this.#where = 'end';
        if (extensions.longName ?? extensions.longLink ?? extensions.pax)
          throw this.#error(bad('an extended header without the entry that it describes'));
        return null;
      }
      if (!(await this.#extend(header, extensions))) return await this.#entry(header, extensions);
    }
  }

  /**
   * Fills `into` with the next bytes of the current entry's file; holes of a sparse one are zeros. Asking for more than
   * is left is a mistake of the caller (RangeError).
   */
  async read(into: Buffer): Promise<void> {
    if (into.length > this.#fileSize - this.#fileAt) throw new RangeError('read beyond the end of the file');
    if (this.#regions === null) await this.#stored(into);
    else await this.#readSparse(into, this.#regions);
    this.#fileAt += into.length;
  }

  /** Bytes of zeros that come next in the current entry's file because it has a hole there. */
  get hole(): number {
    if (this.#regions === null) return 0;
    const next = this.#regions[this.#region]?.offset ?? this.#fileSize;
    return Math.max(0, next - this.#fileAt);
  }

  /** Passes bytes of a hole, at most `hole`. */
  skipHole(size: number): void {
    if (size > this.hole) throw new RangeError('skip beyond the end of the hole');
    this.#fileAt += size;
  }

  async #readSparse(into: Buffer, regions: readonly SparseRegion[]): Promise<void> {
    const end = this.#fileAt + into.length;
    into.fill(0);
    for (let at = this.#fileAt; this.#region < regions.length; this.#region++) {
      const { offset, size } = regions[this.#region]!;
      if (offset >= end) return;
      at = Math.max(at, offset);
      const stop = Math.min(end, offset + size);
      if (stop > at) await this.#stored(into.subarray(at - this.#fileAt, stop - this.#fileAt));
      if (stop < offset + size) return;
    }
  }

  async #stored(into: Buffer): Promise<void> {
    await this.#take(into);
    this.#left -= into.length;
  }

  /** Passes zeros; null at the end of the source. */
  async #nextHeader(): Promise<TarHeader | null> {
    for (;;) {
      const start = this.#position;
      const got = await this.#takeUpTo(this.#header);
      if (got === 0) {
        if (start > 0) return null;
        throw new TarError('TAR_TRUNCATED', `${this.#source.name}: empty, no tar archive`);
      }
      this.#where = `header at byte ${start}`;
      if (got < TAR_BLOCK) throw this.#truncated();
      if (!isZeroBlock(this.#header)) return this.#named(() => decodeTarHeader(this.#header));
    }
  }

  /** Takes in an extended header; false if it is none. */
  async #extend(header: TarHeader, extensions: Extensions): Promise<boolean> {
    switch (header.type) {
      case TarType.gnuLongName:
        if (extensions.longName !== null) throw this.#error(bad('two long names for one entry'));
        extensions.longName = Buffer.from(untilNul(await this.#extendedData(header)));
        return true;
      case TarType.gnuLongLink:
        if (extensions.longLink !== null) throw this.#error(bad('two long link targets for one entry'));
        extensions.longLink = Buffer.from(untilNul(await this.#extendedData(header)));
        return true;
      case TarType.pax:
      case TarType.paxSun: {
        if (extensions.pax !== null) throw this.#error(bad('two pax headers for one entry'));
        const data = await this.#extendedData(header);
        extensions.pax = this.#named(() => decodePaxRecords(data));
        return true;
      }
      case TarType.paxGlobal: {
        const data = await this.#extendedData(header);
        this.#named(() => this.#addGlobals(decodePaxRecords(data)));
        return true;
      }
      case TarType.gnuVolume:
        // The archive's label; its size means nothing.
        return true;
      default:
        return false;
    }
  }

  async #extendedData(header: TarHeader): Promise<Buffer> {
    if (header.size > EXTENDED_HEADER_MAX) {
      const rule = `extended header (type ${header.type}) of ${header.size} bytes: more than ${EXTENDED_HEADER_MAX}`;
      throw this.#error(new TarError('TAR_TOO_LARGE', rule));
    }
    const data = Buffer.alloc(header.size);
    await this.#take(data);
    await this.#skip(tarPadding(header.size));
    return data;
  }

  #addGlobals(records: readonly PaxRecord[]): void {
    let size = 0;
    for (const record of records) {
      if (LOCAL_ONLY.test(record.key)) throw bad(`global pax header sets ${record.key} for every file`);
      if (record.value.length === 0) this.#globals.delete(record.key);
      else this.#globals.set(record.key, { key: record.key, value: Buffer.from(record.value) });
    }
    for (const { key, value } of this.#globals.values()) size += key.length + value.length;
    if (size > EXTENDED_HEADER_MAX)
      throw new TarError('TAR_TOO_LARGE', `global pax headers of more than ${EXTENDED_HEADER_MAX} bytes`);
  }

  async #entry(header: TarHeader, extensions: Extensions): Promise<TarMember> {
    const headerOffset = this.#position - TAR_BLOCK;
    const local = extensions.pax ?? [];
    const records = new Map(this.#globals);
    for (const record of local) records.set(record.key, record);
    const pathOf = (key: string, long: Buffer | null, short: Buffer): Buffer => {
      const value = records.get(key)?.value;
      return long ?? (value === undefined || value.length === 0 ? short : Buffer.from(value));
    };
    let name = pathOf('path', extensions.longName, header.name);
    this.#where = `${printable(name)} (header at byte ${headerOffset})`;
    const sparse = this.#named(() => paxSparseOf(local));
    if (sparse?.name !== undefined) {
      name = Buffer.from(sparse.name);
      this.#where = `${printable(name)} (header at byte ${headerOffset})`;
    }
    const linkName = pathOf('linkpath', extensions.longLink, header.linkName);
    if (name.includes(0) || linkName.includes(0)) throw this.#error(bad('a path with a NUL byte in it'));
    return this.#named(async () => {
      const type = typeOf(header, name);
      const size = paxNumber(records, 'size', header.size);
      if (type === TarType.directory && header.type === TarType.regular && size > 0)
        throw bad('a regular file with data whose name ends in a slash');
      const data = await this.#startData(header, type, size, sparse);
      const ids = { uid: paxNumber(records, 'uid', header.uid), gid: paxNumber(records, 'gid', header.gid) };
      const mtime = records.get('mtime');
      return {
        type,
        name,
        linkName,
        mode: header.mode,
        ...ids,
        mtimeSec: mtime === undefined || mtime.value.length === 0 ? header.mtimeSec : decodePaxTime(mtime),
        devMajor: paxNumber(records, 'SCHILY.devmajor', header.devMajor),
        devMinor: paxNumber(records, 'SCHILY.devminor', header.devMinor),
        xattrs: xattrsOf(records),
        headerOffset,
        ...data,
      };
    });
  }

  /** Prepares `read`: reads what maps of sparse files there are. */
  async #startData(
    header: TarHeader,
    type: string,
    size: number,
    sparse: ReturnType<typeof paxSparseOf>,
  ): Promise<Pick<TarMember, 'size' | 'regions' | 'dataOffset' | 'storedSize'>> {
    this.#left = hasData(header.type, type) ? size : 0;
    this.#padding = tarPadding(this.#left);
    this.#regions = null;
    this.#region = this.#fileAt = 0;
    this.#fileSize = type === TarType.regular ? size : 0;
    if (header.type === TarType.gnuSparse) await this.#readGnuMap(header);
    else if (sparse !== null && type === TarType.regular) {
      this.#fileSize = sparse.realSize;
      const regions = sparse.regions ?? (await this.#readPaxMap());
      this.#regions = checkRegions(regions, sparse.realSize, this.#left);
    }
    return {
      size: this.#fileSize,
      regions: this.#regions,
      dataOffset: this.#position,
      storedSize: this.#left,
    };
  }

  /** Old GNU format: the map is in the header and in blocks behind it, which its size does not count. */
  async #readGnuMap(header: TarHeader): Promise<void> {
    if (header.format !== 'gnu')
      throw new TarError('TAR_UNSUPPORTED', "a sparse file (type S) in a header that is not GNU tar's");
    const { regions: first, isExtended, realSize } = decodeGnuSparse(this.#header);
    const regions = [...first];
    const block = Buffer.alloc(TAR_BLOCK);
    for (let more = isExtended; more; ) {
      await this.#take(block);
      const extension = decodeGnuSparseExtension(block);
      regions.push(...extension.regions);
      if (regions.length > SPARSE_REGIONS_MAX) break;
      more = extension.isExtended;
    }
    this.#fileSize = realSize;
    this.#regions = checkRegions(regions, realSize, this.#left);
  }

  async #readPaxMap(): Promise<readonly SparseRegion[]> {
    const parser = new SparseMapParser();
    const block = Buffer.alloc(TAR_BLOCK);
    for (let read = 0; this.#left >= TAR_BLOCK && read < EXTENDED_HEADER_MAX; read += TAR_BLOCK) {
      await this.#stored(block);
      const regions = parser.add(block);
      if (regions !== null) return regions;
    }
    throw bad(`sparse map: does not end within the entry and ${EXTENDED_HEADER_MAX} bytes`);
  }

  /** Fills `into`. */
  async #take(into: Buffer): Promise<void> {
    if ((await this.#takeUpTo(into)) < into.length) throw this.#truncated();
  }

  /** Fills `into` unless the source ends; returns the bytes got. */
  async #takeUpTo(into: Buffer): Promise<number> {
    for (let done = 0; ; ) {
      const count = this.#piece.copy(into, done, this.#at, this.#at + into.length - done);
      this.#pass(count);
      done += count;
      if (done === into.length || !(await this.#nextPiece(into.length - done))) return done;
    }
  }

  async #skip(size: number): Promise<void> {
    for (let left = size; left > 0; ) {
      const count = Math.min(left, this.#piece.length - this.#at);
      this.#pass(count);
      left -= count;
      if (left > 0 && !(await this.#nextPiece(left))) throw this.#truncated();
    }
  }

  #pass(count: number): void {
    this.#at += count;
    this.#position += count;
  }

  /** `wanted`: bytes that will be used for certain. */
  async #nextPiece(wanted: number): Promise<boolean> {
    const next = this.#source.next(wanted);
    const piece = next instanceof Promise ? await next : next;
    this.#piece = piece ?? NO_BYTES;
    this.#at = 0;
    return piece !== null;
  }

  #truncated(): TarError {
    return this.#error(new TarError('TAR_TRUNCATED', `the archive ends here, at byte ${this.#position}`));
  }

  #error(error: TarError): TarError {
    const message = `${this.#source.name}: ${this.#where}: ${error.message}`;
    return new NamedTarError(error.code, message, { cause: error });
  }

  /** Runs what may throw a TarError that does not name the entry. */
  #named<T>(run: () => T): T {
    const rethrow = (error: unknown): never => {
      throw error instanceof TarError && !(error instanceof NamedTarError) ? this.#error(error) : error;
    };
    try {
      const result = run();
      return result instanceof Promise ? (result.catch(rethrow) as T) : result;
    } catch (error) {
      return rethrow(error);
    }
  }
}

/** Its message says which archive and entry. */
class NamedTarError extends TarError {}

function bad(message: string): TarError {
  return new TarError('TAR_BAD_HEADER', message);
}

/** A path in a message: on one line, short. */
function printable(path: Buffer): string {
  const text = JSON.stringify(path.toString('utf8', 0, 200));
  return path.length > 200 ? `${text}…` : text;
}

/** A name that ends in a slash is a directory: archives older than ustar have no other sign. */
function typeOf(header: TarHeader, name: Buffer): string {
  switch (header.type) {
    case TarType.regular:
      return name.at(-1) === 0x2f ? TarType.directory : TarType.regular;
    case TarType.contiguous:
    case TarType.gnuSparse:
      return TarType.regular;
    case TarType.gnuDirectory:
      return TarType.directory;
    case TarType.link:
    case TarType.symlink:
    case TarType.character:
    case TarType.block:
    case TarType.directory:
    case TarType.fifo:
      return header.type;
    default:
      throw new TarError(
        'TAR_UNSUPPORTED',
        `entry type ${JSON.stringify(header.type)}: no known kind of file`,
      );
  }
}

/** Whether the size field counts bytes that follow: POSIX defines none for links, directories, devices and fifos. */
function hasData(typeField: string, type: string): boolean {
  return type === TarType.regular || typeField === TarType.gnuDirectory;
}

function paxNumber(records: ReadonlyMap<string, PaxRecord>, key: string, otherwise: number): number {
  const record = records.get(key);
  return record === undefined || record.value.length === 0 ? otherwise : decodePaxNumber(record);
}

function xattrsOf(records: ReadonlyMap<string, PaxRecord>): readonly Xattr[] {
  const xattrs: Xattr[] = [];
  for (const { key, value } of records.values()) {
    if (!key.startsWith(PAX_XATTR)) continue;
    const name = Buffer.from(unescapeXattr(key.slice(PAX_XATTR.length)), 'latin1');
    if (name.length === 0 || name.includes(0))
      throw bad(`pax ${JSON.stringify(key)}: no name of an attribute`);
    xattrs.push({ name, value: Buffer.from(value) });
  }
  return xattrs.sort((a, b) => Buffer.compare(a.name, b.name));
}

/** GNU tar writes the two characters of a name that would end the key, or look as if they had, as `%3D` and `%25`. */
function unescapeXattr(name: string): string {
  return name.replace(/%(?:3D|25)/g, (escaped) => (escaped === '%3D' ? '=' : '%'));
}
