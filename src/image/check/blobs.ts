import { type Chunk, IndexedChunks, RecordChunks } from '../../blob/chunk-table.ts';
import { decodeUnit, verifyChunk } from '../../blob/decode.ts';
import { loadChunkInfo } from '../../blob/meta.ts';
import { SourceError } from '../../blob/source.ts';
import { ahead } from '../../lib/ahead.ts';
import { blobSpec } from '../../rafs/blob-spec.ts';
import { BlobError } from '../../wire/blob-error.ts';
import type { ChunkInfoTable } from '../../wire/blob-meta.ts';
import { isUnindexed } from '../../wire/rafs/blob-spec.ts';
import { ChunkFlag, type DecodedChunk, decodeChunk } from '../../wire/rafs/chunk.ts';
import { BlobFeature } from '../../wire/rafs/flags.ts';
import { throwIfInterrupted } from '../model/error.ts';
import type { BlobCheckOptions, CheckedBlob, CheckProgress } from './contract.ts';
import { checkMetaBlob, checkToc, idMismatch, type Range } from './toc.ts';

/** Stored bytes that are read and decoded at a time: several chunks of the usual size, or one of the largest. */
const IN_FLIGHT_BYTES_MAX = 16 << 20;
const IN_FLIGHT_MAX = 16;
/** Damaged chunks that are kept to be named. */
const DAMAGED_MAX = 100;
const SHA256_ID = /^[0-9a-f]{64}$/;

/** A chunk whose bytes are not what the image says. */
export interface DamagedChunk {
  readonly blobIndex: number;
  /** Its key in `TreeCheck.chunks`. */
  readonly key: number;
  /** Blob, number and offset. */
  readonly place: string;
  readonly rule: string;
}

/** Reads every blob of an image once and compares it with what bootstrap, chunk info and table of contents say. */
export class BlobChecker {
  readonly #options: BlobCheckOptions;
  readonly #damaged: DamagedChunk[] = [];
  readonly #progress: CheckProgress = { bytes: 0, bytesTotal: 0 };

  constructor(options: BlobCheckOptions) {
    this.#options = options;
  }

  /** Adds faults, and returns the chunks that are damaged, the first of them if there are many. */
  async run(): Promise<readonly DamagedChunk[]> {
    const { bootstrap, path, faults } = this.#options;
    for (const row of bootstrap.blobs) this.#progress.bytesTotal += row.compressedSize;
    let before = 0;
    for (const row of bootstrap.blobs) {
      const blob: CheckedBlob = { row, spec: blobSpec(row, bootstrap, path) };
      try {
        await this.#checkBlob(blob);
      } catch (error) {
        // Anything else is not of the blob's making.
        if (!(error instanceof BlobError) && !(error instanceof SourceError)) throw error;
        faults.add(`blob ${row.index} (${blob.spec.id})`, error.message);
      }
      before += row.compressedSize;
      this.#progress.bytes = before;
    }
    return this.#damaged;
  }

  async #checkBlob(blob: CheckedBlob): Promise<void> {
    const { row, spec } = blob;
    const { source, faults } = this.#options;
    const size = await source.size(spec.objectId);
    if (size < row.compressedSize)
      faults.add(
        `blob ${row.index} (${spec.id})`,
        `has ${size} bytes, the bootstrap says compressed_size = ${row.compressedSize}`,
      );
    const before = faults.count + this.#damaged.length;
    const digests = row.features & BlobFeature.tarfs ? null : await this.#checkContents(blob);
    if (faults.count + this.#damaged.length === before) await this.#checkId(blob, digests);
  }

  /** Everything that has a digest. Resolves with the place of the digest array in the object with the chunks. */
  async #checkContents(blob: CheckedBlob): Promise<Range | null> {
    const { row, spec } = blob;
    const { source, codecs } = this.#options;
    if (spec.version === 6 && row.ciUncompressedSize > 0)
      await this.#checkIndexed(blob, await loadChunkInfo(spec, null, source, codecs, () => {}));
    else await this.#checkRecords(blob);
    const digests = spec.version === 6 ? await checkToc(blob, this.#options) : null;
    if ((row.features & BlobFeature.separate) === 0) return digests;
    await checkMetaBlob(blob, digests, this.#options);
    return null;
  }

  /**
   * A blob's id is the SHA-256 of its bytes, without the digest array if it has one, unless the builder was
   * told another. So it vouches for what no digest covers: chunks no file uses, headers, a tar as it is; but
   * it does not prove damage.
   */
  async #checkId({ row, spec }: CheckedBlob, digests: Range | null): Promise<void> {
    const { source, notes, signal } = this.#options;
    const place = `blob ${row.index} (${spec.id})`;
    const tar = row.features & BlobFeature.tarfs ? ': a tar has no digests in the image' : '';
    if (!SHA256_ID.test(spec.id)) {
      if (tar !== '') notes.push(`${place} was not verified${tar}, and its id is none`);
      return;
    }
    const wanted = Buffer.from(spec.id, 'hex');
    if ((await idMismatch(source, spec.objectId, digests, wanted, signal)) === null) return;
    notes.push(
      `${place}: its id is not the SHA-256 of its bytes. Unless it was built with another id, bytes which no digest covers are damaged${tar}`,
    );
  }

  /** v6: the chunk info lists every chunk, also those that no file of this image uses. */
  async #checkIndexed(blob: CheckedBlob, info: ChunkInfoTable): Promise<void> {
    const known = this.#knownChunks(blob, info);
    await this.#verifyAll(blob, unitsOf(known));
  }

  /** The chunks of the chunk info that the chunk table does not contradict, with the digests it has. */
  *#knownChunks(blob: CheckedBlob, info: ChunkInfoTable): Generator<Chunk> {
    const { bootstrap, chunks } = this.#options;
    const { row, spec } = blob;
    const table = new IndexedChunks(spec, info, null);
    for (let index = 0; index < info.count; index++) {
      const chunk = table.at(index)!;
      const at = chunks[row.index]!.get(index);
      const record = at === undefined ? null : decodeChunk(bootstrap.view, at);
      if (record !== null && !this.#compare(blob, chunk, record)) continue;
      yield { ...chunk, digest: record?.digest ?? null };
    }
  }

  /** Chunk info and chunk table describe the same chunk. */
  #compare(blob: CheckedBlob, chunk: Chunk, record: DecodedChunk): boolean {
    const fields: [string, number, number][] = [
      ['uncompressed_offset', chunk.uncompressedOffset, record.uncompressedOffset],
      ['uncompressed_size', chunk.uncompressedSize, record.uncompressedSize],
    ];
    if (chunk.context < 0 && (record.flags & ChunkFlag.batch) === 0) {
      fields.push(['compressed_offset', chunk.unit.start, record.compressedOffset]);
      fields.push(['compressed_size', chunk.unit.size, record.compressedSize]);
    }
    if (chunk.crc32c !== null && record.flags & ChunkFlag.hasCrc32c)
      fields.push(['crc32c', chunk.crc32c, record.crc32c]);
    const wrong = fields.find(([, own, other]) => own !== other);
    if (wrong === undefined) return true;
    const [field, own, other] = wrong;
    this.#damage(blob, chunk, `the chunk info says ${field} = ${own}, the chunk table ${other}`);
    return false;
  }

  /** v5, and v6 without chunk info: the chunks that the bootstrap knows, in the order of the blob. */
  async #checkRecords(blob: CheckedBlob): Promise<void> {
    const { bootstrap, chunks } = this.#options;
    const { row, spec } = blob;
    const table = new RecordChunks(spec);
    const unindexed = isUnindexed(spec);
    const records = [...chunks[row.index]!].sort((a, b) => this.#start(a[1]) - this.#start(b[1]));
    const located = records.values().map(([key, at], i) => {
      const record = decodeChunk(bootstrap.view, at);
      return [table.locate({ index: unindexed ? i : key, record })];
    });
    await this.#verifyAll(blob, located);
  }

  /** Chunks of one unit together. */
  async #verifyAll(blob: CheckedBlob, units: Iterable<readonly Chunk[]>): Promise<void> {
    const verify = (chunks: readonly Chunk[]) => this.#verify(blob, chunks);
    const sizeOf = ([chunk]: readonly Chunk[]) => chunk!.unit.size + chunk!.unit.uncompressedSize;
    const limits = { countMax: IN_FLIGHT_MAX, sizeMax: IN_FLIGHT_BYTES_MAX, sizeOf };
    for await (const _ of ahead(units, verify, limits));
  }

  #start(at: number): number {
    return decodeChunk(this.#options.bootstrap.view, at).compressedOffset;
  }

  /** Reads and decodes the chunks' common unit and verifies each. */
  async #verify(blob: CheckedBlob, chunks: readonly Chunk[]): Promise<void> {
    const { source, codecs, signal, onProgress } = this.#options;
    throwIfInterrupted(signal);
    const { spec } = blob;
    const { unit } = chunks[0]!;
    try {
      const stored = Buffer.allocUnsafeSlow(unit.size);
      await source.read(spec.objectId, unit.start, stored);
      const plain = await decodeUnit(spec, codecs, unit, stored);
      for (const chunk of chunks) this.#verifyOne(blob, chunk, plain);
    } catch (error) {
      if (!(error instanceof BlobError) && !(error instanceof SourceError)) throw error;
      for (const chunk of chunks) this.#damage(blob, chunk, error.message);
    }
    this.#progress.bytes += unit.size;
    onProgress?.(this.#progress);
  }

  #verifyOne(blob: CheckedBlob, chunk: Chunk, plain: Uint8Array): void {
    const bytes = plain.subarray(chunk.unitPosition, chunk.unitPosition + chunk.uncompressedSize);
    try {
      // What no file of this image uses has no digest here.
      verifyChunk(blob.spec, this.#options.codecs, chunk, bytes, chunk.digest !== null);
    } catch (error) {
      if (!(error instanceof BlobError)) throw error;
      this.#damage(blob, chunk, error.message);
    }
  }

  #damage({ row, spec }: CheckedBlob, chunk: Chunk, rule: string): void {
    if (this.#damaged.length === DAMAGED_MAX) {
      this.#options.faults.count++;
      return;
    }
    const prefix = `blob ${spec.id} chunk ${chunk.index}: `;
    this.#damaged.push({
      blobIndex: row.index,
      key: chunk.key,
      place: `blob ${row.index} (${spec.id}) chunk ${chunk.index} at offset ${chunk.unit.start}`,
      rule: rule.startsWith(prefix) ? rule.slice(prefix.length) : rule,
    });
  }
}

/** Neighbours that share a unit. */
function* unitsOf(chunks: Iterable<Chunk>): Generator<Chunk[]> {
  let group: Chunk[] = [];
  for (const chunk of chunks) {
    if (group.length > 0 && (chunk.context < 0 || chunk.unit !== group[0]!.unit)) {
      yield group;
      group = [];
    }
    group.push(chunk);
  }
  if (group.length > 0) yield group;
}
