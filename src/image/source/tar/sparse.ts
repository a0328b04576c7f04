import {
  decodePaxNumber,
  type PaxRecord,
  type SparseRegion,
  TarError,
  tarPadding,
} from '../../../wire/tar.ts';

/** Regions of one file: a map of them is kept while the file passes. */
export const SPARSE_REGIONS_MAX: number = 1 << 18;

/** How a pax header says that its file is sparse (GNU tar's manual, "Sparse Formats"). */
interface PaxSparse {
  /** Size of the file, holes included. */
  readonly realSize: number;
  /** The file's name, where the header has a substitute for readers that do not know sparse files. */
  readonly name: Buffer | undefined;
  /** `null`: the map precedes the data (version 1.0). */
  readonly regions: readonly SparseRegion[] | null;
}

function bad(message: string): TarError {
  return new TarError('TAR_BAD_HEADER', message);
}

/** What the records of one entry say of holes; null if nothing. Throws TarError. */
export function paxSparseOf(records: readonly PaxRecord[]): PaxSparse | null {
  const last = new Map<string, PaxRecord>();
  for (const record of records) if (record.key.startsWith('GNU.sparse.')) last.set(record.key, record);
  if (last.size === 0) return null;
  const size = last.get('GNU.sparse.realsize') ?? last.get('GNU.sparse.size');
  if (size === undefined) throw bad('pax GNU.sparse records without a size');
  const realSize = decodePaxNumber(size);
  const name = last.get('GNU.sparse.name')?.value;
  const major = last.get('GNU.sparse.major');
  if (major !== undefined) {
    const version = `${decodePaxNumber(major)}.${last.get('GNU.sparse.minor')?.value ?? '0'}`;
    if (version === '1.0') return { realSize, name, regions: null };
    throw new TarError(
      'TAR_UNSUPPORTED',
      `sparse file of version ${version}: only 0.0, 0.1 and 1.0 are known`,
    );
  }
  const map = last.get('GNU.sparse.map');
  const numbers = map === undefined ? pairs00(records) : pairs01(map);
  return { realSize, name, regions: regionsOf(numbers) };
}

/** Version 0.0: a record for each offset and each size, in turn. */
function pairs00(records: readonly PaxRecord[]): number[] {
  const numbers: number[] = [];
  for (const record of records) {
    const isOffset = record.key === 'GNU.sparse.offset';
    if (!isOffset && record.key !== 'GNU.sparse.numbytes') continue;
    if (isOffset !== (numbers.length % 2 === 0))
      throw bad('pax GNU.sparse.offset and GNU.sparse.numbytes: not in turn');
    numbers.push(decodePaxNumber(record));
  }
  return numbers;
}

/** Version 0.1: offsets and sizes in one list. */
function pairs01({ key, value }: PaxRecord): number[] {
  if (value.length === 0) return [];
  const items = value.toString('latin1').split(',');
  return items.map((item) => decodePaxNumber({ key, value: Buffer.from(item, 'latin1') }));
}

function regionsOf(numbers: readonly number[]): SparseRegion[] {
  if (numbers.length % 2 !== 0) throw bad('sparse map: an offset without a size');
  const regions: SparseRegion[] = [];
  for (let i = 0; i < numbers.length; i += 2) regions.push({ offset: numbers[i]!, size: numbers[i + 1]! });
  return regions;
}

/** Version 1.0: reads the map in front of the data: decimal lines, first how many regions. Fed block by block. */
export class SparseMapParser {
  readonly #numbers: number[] = [];
  #digits = '';

  /** The regions, once the last one is in `block`. Throws TarError. */
  add(block: Buffer): readonly SparseRegion[] | null {
    for (const byte of block) {
      if (byte !== 0x0a) {
        this.#digits += String.fromCharCode(byte);
        if (this.#digits.length > 16) break;
        continue;
      }
      const record = { key: 'sparse map', value: Buffer.from(this.#digits, 'latin1') };
      this.#numbers.push(decodePaxNumber(record));
      this.#digits = '';
      const count = this.#numbers[0]!;
      if (count > SPARSE_REGIONS_MAX) throw tooMany();
      if (this.#numbers.length === 1 + 2 * count) return regionsOf(this.#numbers.slice(1));
    }
    if (this.#digits.length > 16) throw bad('sparse map: not decimal lines');
    return null;
  }
}

function tooMany(): TarError {
  return new TarError('TAR_TOO_LARGE', `sparse file of more than ${SPARSE_REGIONS_MAX} regions`);
}

/** Throws TarError unless the regions are in order, within the file, and as large as what is stored. */
export function checkRegions(
  regions: readonly SparseRegion[],
  realSize: number,
  storedSize: number,
): readonly SparseRegion[] {
  if (regions.length > SPARSE_REGIONS_MAX) throw tooMany();
  let end = 0;
  let stored = 0;
  for (const { offset, size } of regions) {
    if (offset < end) throw bad(`sparse region at ${offset}: overlaps the one before or is out of order`);
    end = offset + size;
    if (end > realSize)
      throw bad(`sparse region at ${offset} of ${size} bytes: beyond the file's ${realSize}`);
    stored += size;
  }
  // The last region may be stored padded to a block.
  if (stored !== storedSize && stored + tarPadding(stored) !== storedSize)
    throw bad(`sparse regions have ${stored} bytes, the entry ${storedSize}`);
  return regions;
}
