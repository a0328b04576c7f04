import { blobSpec } from '../../rafs/blob-spec.ts';
import type { BlobRow, BootstrapV6 } from '../../rafs/bootstrap.ts';
import { ChunkAt, type Image, S_IFMT, S_IFREG } from '../../rafs/image.ts';
import { type BlobSpec, dataRegionSize, isLegacyStargz } from '../../wire/rafs/blob-spec.ts';
import { ChunkFlag, ChunkRecordLayout, type DecodedChunk, decodeChunk } from '../../wire/rafs/chunk.ts';
import { BlobFeature, SuperFlag, UNKNOWN_BLOB_ID } from '../../wire/rafs/flags.ts';
import { CHUNK_FORMAT_INDEXES, ExtendedInode } from '../../wire/rafs/inode-v6.ts';
import { debugText } from '../model/debug-text.ts';
import { isDictionary } from '../read/dictionary.ts';
import type { WalkEntry } from '../read/tree-walk.ts';
import { readXattrs } from '../read/xattrs.ts';
import type { TreeCheck } from './contract.ts';
import type { Faults } from './faults.ts';

const KNOWN_FLAGS = ChunkFlag.compressed | ChunkFlag.encrypted | ChunkFlag.batch | ChunkFlag.hasCrc32c;
/** Bits of the chunk format which hold the size, as a shift of the block size. */
const FORMAT_BITS = 0x1f;

/**
 * Rules of v6 inodes beyond those of the reader: xattrs, chunk addresses, the chunk table and
 * what they say of each other.
 */
export class TreeCheckV6 implements TreeCheck {
  readonly #bootstrap: BootstrapV6;
  readonly #image: Image;
  readonly #faults: Faults;
  readonly #isTarfs: boolean;
  readonly #specs: readonly BlobSpec[];
  readonly #chunk = new ChunkAt();
  readonly chunks: readonly Map<number, number>[];

  constructor(bootstrap: BootstrapV6, image: Image, path: string, faults: Faults) {
    this.#bootstrap = bootstrap;
    this.#image = image;
    this.#faults = faults;
    this.#isTarfs = (bootstrap.flags & SuperFlag.tarfs) !== 0;
    this.#specs = bootstrap.blobs.map((row) => blobSpec(row, bootstrap, path));
    this.chunks = bootstrap.blobs.map(() => new Map());
    this.#checkDevices();
    this.#checkTable();
  }

  entry(entry: WalkEntry): void {
    if (!entry.isFirst) return;
    const { at, lo } = entry;
    const fault = (rule: string) => this.#faults.add(`${debugText(entry.path())} (inode ${lo})`, rule);
    const xattrs = readXattrs(this.#bootstrap, at);
    if (typeof xattrs === 'string') fault(xattrs);
    if ((entry.mode & S_IFMT) === S_IFREG) this.#checkChunks(entry, fault);
  }

  #checkDevices(): void {
    const { devices, blobs, superblock } = this.#bootstrap;
    for (const [i, device] of devices.entries()) {
      const row = blobs[i]!;
      // The reader gives an inlined bootstrap's blob the name of the file.
      if (device.blobId !== row.id && row.id !== UNKNOWN_BLOB_ID)
        this.#faults.add(`device[${i}].blob_id = ${device.blobId}`, `the blob table says ${row.id}`);
      const blocks = Math.floor(row.uncompressedSize / superblock.blockSize);
      if (device.blocks !== blocks)
        this.#faults.add(`device[${i}].blocks = ${device.blocks}`, `the blob has ${blocks}`);
    }
  }

  #checkTable(): void {
    const { view, superblock } = this.#bootstrap;
    const rows = superblock.chunkTableSize / ChunkRecordLayout.size;
    for (let i = 0; i < rows; i++) {
      const at = superblock.chunkTableOffset + i * ChunkRecordLayout.size;
      const row = decodeChunk(view, at);
      const rule = this.#rowFault(row) ?? this.#remember(row, at);
      if (rule !== null) this.#faults.add(`chunk_table[${i}] (offset ${at})`, rule);
    }
  }

  #rowFault(row: DecodedChunk): string | null {
    const { blobs, chunkSize } = this.#bootstrap;
    const blob = blobs[row.blobIndex];
    if (blob === undefined) return `blob_index = ${row.blobIndex}: must be below ${blobs.length}`;
    if (row.index >= blob.chunkCount) return `index = ${row.index}: must be below ${blob.chunkCount}`;
    // A dictionary of the original says less of its blobs than its rows take.
    if (this.#isTarfs || isDictionary(this.#bootstrap)) return null;
    const { flags, uncompressedSize: size, uncompressedOffset: offset } = row;
    if ((flags & ~KNOWN_FLAGS) !== 0) return `flags = 0x${flags.toString(16)}: unknown bits`;
    if (size === 0 || size > chunkSize) return `uncompressed_size = ${size}: must be 1 to ${chunkSize}`;
    if (offset % 4096 !== 0) return `uncompressed_offset = ${offset}: must be a multiple of 4096`;
    const limit = Math.ceil(blob.uncompressedSize / 4096) * 4096;
    if (offset + size > limit) return `uncompressed_offset+size = ${offset + size}: must be at most ${limit}`;
    return compressedFault(row, blob, this.#specs[row.blobIndex]!);
  }

  #remember(row: DecodedChunk, at: number): string | null {
    const known = this.chunks[row.blobIndex]!.get(row.index);
    if (known !== undefined)
      return `chunk ${row.index} of blob ${row.blobIndex} has a row at offset ${known}, too`;
    this.chunks[row.blobIndex]!.set(row.index, at);
    return null;
  }

  #checkChunks(entry: WalkEntry, fault: (rule: string) => void): void {
    const { view, chunkSize, superblock } = this.#bootstrap;
    const { lo, at } = entry;
    const size = this.#image.size(lo);
    const count = Math.ceil(size / chunkSize);
    if (count === 0) return;
    const format = view.getUint32(at + ExtendedInode.union, true);
    const span = superblock.blockSize * 2 ** (format & FORMAT_BITS);
    if ((format & ~FORMAT_BITS) !== CHUNK_FORMAT_INDEXES || span < chunkSize) {
      fault(
        `i_u = 0x${format.toString(16)}: must be the chunk format ${CHUNK_FORMAT_INDEXES}, chunks of ${chunkSize}`,
      );
      return;
    }
    const first = { blob: 0, offset: 0 };
    for (let i = 0; i < count; i++) {
      const rule = this.#addressFault(lo, i);
      if (rule !== null) fault(`chunk ${i}: ${rule}`);
      const { blob, offset } = this.#chunk;
      if (i === 0) Object.assign(first, { blob, offset });
      // EROFS finds a chunk by the first address of its span.
      const isRun = blob === first.blob && offset === first.offset + i * chunkSize;
      if (rule === null && span !== chunkSize && !isRun)
        fault(`chunk ${i}: not behind the one before, but i_u = 0x${format.toString(16)} joins them`);
    }
  }

  #addressFault(lo: number, i: number): string | null {
    const chunk = this.#chunk;
    if (this.#image.chunk(lo, i, chunk) !== 0) return this.#image.fault;
    const { blob, index, offset, size } = chunk;
    const row = this.#bootstrap.blobs[blob]!;
    const which = `chunk ${index} of blob ${blob}`;
    if (index >= row.chunkCount) return `is ${which}: must be below ${row.chunkCount}`;
    if (this.#isTarfs) {
      const end = offset + size;
      return end <= row.compressedSize ? null : `ends at ${end} of a tar of ${row.compressedSize} bytes`;
    }
    const at = this.chunks[blob]!.get(index);
    if (at === undefined) return `is ${which}, which is not in the chunk table`;
    const known = decodeChunk(this.#bootstrap.view, at);
    if (known.uncompressedOffset !== offset)
      return `is ${which} at ${offset}: the chunk table says ${known.uncompressedOffset}`;
    if (known.uncompressedSize !== size && !isDictionary(this.#bootstrap))
      return `is ${which} of ${size} bytes: the chunk table says ${known.uncompressedSize}`;
    return null;
  }
}

/** Rules on the place of a chunk in its blob. Rows of batches leave it out, and of an OCI layer it only informs. */
function compressedFault(row: DecodedChunk, blob: BlobRow, spec: BlobSpec): string | null {
  const { flags, compressedOffset: offset, compressedSize: size, uncompressedSize } = row;
  const informs = (blob.features & (BlobFeature.zran | BlobFeature.batch)) !== 0;
  if ((informs && size === 0) || isLegacyStargz(spec)) return null;
  const limit = dataRegionSize(spec);
  if (offset + size > limit) return `compressed_offset+size = ${offset + size}: must be at most ${limit}`;
  const isPlain = (flags & (ChunkFlag.compressed | ChunkFlag.encrypted)) === 0;
  if (isPlain && !informs && size !== uncompressedSize)
    return `compressed_size = ${size}: must be ${uncompressedSize}, for it is not compressed`;
  return size === 0 ? 'compressed_size = 0: must not be 0' : null;
}
