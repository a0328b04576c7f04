import { RecordChunks } from '../../blob/chunk-table.ts';
import { blobSpec } from '../../rafs/blob-spec.ts';
import type { BootstrapV5 } from '../../rafs/bootstrap.ts';
import { type Image, S_IFLNK, S_IFMT, S_IFREG } from '../../rafs/image.ts';
import { BlobError } from '../../wire/blob-error.ts';
import { isUnindexed } from '../../wire/rafs/blob-spec.ts';
import { readU64 } from '../../wire/rafs/bytes.ts';
import { ChunkFlag, ChunkRecordLayout, type DecodedChunk, decodeChunk } from '../../wire/rafs/chunk.ts';
import { INODE_OFFSET_UNIT_V5, InodeFlagV5, InodeV5 } from '../../wire/rafs/inode-v5.ts';
import { debugText } from '../model/debug-text.ts';
import { isDictionary } from '../read/dictionary.ts';
import { chunkRecordsV5, imageOf, type WalkEntry } from '../read/tree-walk.ts';
import { readXattrs } from '../read/xattrs.ts';
import type { TreeCheck } from './contract.ts';
import type { Faults } from './faults.ts';

const CHUNK = ChunkRecordLayout;
const KNOWN_FLAGS =
  ChunkFlag.compressed | ChunkFlag.hole | ChunkFlag.encrypted | ChunkFlag.batch | ChunkFlag.hasCrc32c;
/** What all names of a file must agree in; owners and times may come from the archive's entry of each. */
const SHARED_FIELDS = ['mode', 'childCount', 'nlink', 'symlinkSize'] as const;

/** Rules of v5 inodes beyond those of the reader: what records say of each other, and every chunk record. */
export class TreeCheckV5 implements TreeCheck {
  readonly #bootstrap: BootstrapV5;
  readonly #faults: Faults;
  /** Verifies digests: those of a directory cover its children's, so that damage below must not hide what is there. */
  readonly #digests: Image;
  readonly #tables: readonly RecordChunks[];
  readonly #unindexed: readonly boolean[];
  readonly chunks: readonly Map<number, number>[];

  constructor(bootstrap: BootstrapV5, path: string, faults: Faults) {
    const specs = bootstrap.blobs.map((row) => blobSpec(row, bootstrap, path));
    this.#bootstrap = bootstrap;
    this.#faults = faults;
    this.#digests = imageOf(bootstrap, true);
    this.#tables = specs.map((spec) => new RecordChunks(spec));
    this.#unindexed = specs.map(isUnindexed);
    this.chunks = specs.map(() => new Map());
  }

  entry(entry: WalkEntry): void {
    const { view } = this.#bootstrap;
    const { at, lo, mode } = entry;
    const fault = (rule: string) => this.#faults.add(`${debugText(entry.path())} (inode ${lo})`, rule);
    const parent = readU64(view, at + InodeV5.parent);
    const isRoot = entry.depth === 0;
    if (!isRoot && parent !== entry.parentLo) fault(`parent = ${parent}: its directory is ${entry.parentLo}`);
    const targetSize = view.getUint16(at + InodeV5.symlinkSize, true);
    const size = readU64(view, at + InodeV5.fileSize);
    if ((mode & S_IFMT) === S_IFLNK && size !== targetSize)
      fault(`size = ${size}: its target has ${targetSize} bytes`);
    if (entry.isFirst && this.#digests.checkInode(lo) !== 0) fault(this.#digests.fault);
    const alias = entry.isFirst ? null : this.#aliasFault(at, lo);
    if (alias !== null) {
      fault(alias);
      return;
    }
    const xattrs = readXattrs(this.#bootstrap, at);
    if (typeof xattrs === 'string') fault(xattrs);
    if ((mode & S_IFMT) !== S_IFREG) return;
    if (isDictionary(this.#bootstrap)) this.#checkDictionary(at, fault);
    else this.#checkChunks(entry, fault);
  }

  /** Readers use the record of the first name; the others must say the same. */
  #aliasFault(at: number, lo: number): string | null {
    const { view, bytes, superblock } = this.#bootstrap;
    const first = view.getUint32(superblock.inodeTableOffset + (lo - 1) * 4, true) * INODE_OFFSET_UNIT_V5;
    if (at === first) return null;
    const where = `record at offset ${at}, another name of the one at ${first}`;
    for (const field of SHARED_FIELDS) {
      const [own, wanted] = [at, first].map((record) => number(view, record, field));
      if (own !== wanted) return `${where}: ${field} = ${own}, must be ${wanted}`;
    }
    const size = readU64(view, at + InodeV5.fileSize);
    const wanted = readU64(view, first + InodeV5.fileSize);
    if (size !== wanted) return `${where}: size = ${size}, must be ${wanted}`;
    if (!same(bytes, at, first, 32)) return `${where}: another digest`;
    const own = chunkRecordsV5(view, at);
    const theirs = chunkRecordsV5(view, first);
    const length = own.count * CHUNK.size;
    if (own.chunks + length > bytes.length) return `${where}: chunk records outside the bootstrap`;
    return same(bytes, own.chunks, theirs.chunks, length) ? null : `${where}: other chunk records`;
  }

  /**
   * The chunks of a dictionary's file are those of many: no rule of a file's holds, nor do its
   * blobs' sizes count all of them.
   */
  #checkDictionary(at: number, fault: (rule: string) => void): void {
    const { chunks, count } = chunkRecordsV5(this.#bootstrap.view, at);
    for (let i = 0; i < count; i++) {
      const record = chunks + i * CHUNK.size;
      const { blobIndex, index } = decodeChunk(this.#bootstrap.view, record);
      const known = this.chunks[blobIndex];
      if (known === undefined)
        fault(`chunk ${i} (record at offset ${record}): blob_index = ${blobIndex}: no blob`);
      else known.set(index, record);
    }
  }

  #checkChunks(entry: WalkEntry, fault: (rule: string) => void): void {
    const { view, chunkSize } = this.#bootstrap;
    const { at } = entry;
    const { chunks, count } = chunkRecordsV5(view, at);
    const size = readU64(view, at + InodeV5.fileSize);
    const holes = (view.getUint32(at + InodeV5.flags, true) & InodeFlagV5.hasHole) !== 0;
    const needed = Math.ceil(size / chunkSize);
    if (holes ? count > needed : count !== needed) {
      fault(`child_count = ${count}: a file of ${size} bytes has ${needed} chunks`);
      return;
    }
    for (let i = 0; i < count; i++) {
      const record = chunks + i * CHUNK.size;
      const rule = this.#chunkFault(record, holes ? -1 : i * chunkSize, size);
      if (rule !== null) fault(`chunk ${i} (record at offset ${record}): ${rule}`);
    }
  }

  #chunkFault(at: number, fileOffset: number, fileSize: number): string | null {
    const { view, chunkSize } = this.#bootstrap;
    const record = decodeChunk(view, at);
    if (fileOffset >= 0 && record.fileOffset !== fileOffset)
      return `file_offset = ${record.fileOffset}: must be ${fileOffset}`;
    const size = Math.min(chunkSize, fileSize - record.fileOffset);
    if (record.uncompressedSize !== size)
      return `uncompressed_size = ${record.uncompressedSize}: must be ${size}`;
    if ((record.flags & ~KNOWN_FLAGS) !== 0) return `flags = 0x${record.flags.toString(16)}: unknown bits`;
    const table = this.#tables[record.blobIndex];
    if (table === undefined) return `blob_index = ${record.blobIndex}: must be below ${this.#tables.length}`;
    try {
      table.locate({ index: record.index, record });
    } catch (error) {
      if (error instanceof BlobError) return error.message;
      throw error;
    }
    return this.#disagreement(at, record);
  }

  /** A chunk of several files has a record in each: all must say the same. */
  #disagreement(at: number, record: DecodedChunk): string | null {
    const { bytes } = this.#bootstrap;
    const key = this.#unindexed[record.blobIndex] ? record.uncompressedOffset : record.index;
    const known = this.chunks[record.blobIndex]!.get(key);
    if (known === undefined) {
      this.chunks[record.blobIndex]!.set(key, at);
      return null;
    }
    const agree =
      same(bytes, at, known, CHUNK.fileOffset) &&
      same(bytes, at + CHUNK.index, known + CHUNK.index, CHUNK.size - CHUNK.index);
    const which = `chunk ${record.index} of blob ${record.blobIndex}`;
    return agree ? null : `is ${which}, of which the record at offset ${known} says something else`;
  }
}

function number(view: DataView, at: number, field: (typeof SHARED_FIELDS)[number]): number {
  return field === 'symlinkSize'
    ? view.getUint16(at + InodeV5[field], true)
    : view.getUint32(at + InodeV5[field], true);
}

function same(bytes: Uint8Array, a: number, b: number, length: number): boolean {
  return Buffer.compare(bytes.subarray(a, a + length), bytes.subarray(b, b + length)) === 0;
}
