/**
 * Compares the blobs of two images: chunk info, sections, table of contents; and verifies that a blob is what it says.
 */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { zstdDecompressSync } from 'node:zlib';
import {
  type Chunk,
  type ChunkTable,
  IndexedChunks,
  RecordChunks,
  type Unit,
} from '../../src/blob/chunk-table.ts';
import { addonCodecs } from '../../src/blob/codecs.ts';
import { decodeUnit, decrypt, verifyChunk } from '../../src/blob/decode.ts';
import { loadChunkInfo } from '../../src/blob/meta.ts';
import type { StoredChunk } from '../../src/image/model/chunk.ts';
import type { LoadedImage } from '../../src/image/read/load.ts';
import { addon } from '../../src/native/index.ts';
import { blobSpec } from '../../src/rafs/blob-spec.ts';
import { LocalfsSource } from '../../src/source/localfs.ts';
import {
  ChunkInfoFlag,
  ChunkInfoHeader,
  type ChunkInfoTable,
  decodeChunkInfoHeader,
} from '../../src/wire/blob-meta.ts';
import {
  decodeToc,
  decodeTrailingTarHeader,
  Section,
  TAR_HEADER_BYTES,
  type TocEntry,
} from '../../src/wire/blob-toc.ts';
import type { BlobSpec } from '../../src/wire/rafs/blob-spec.ts';
import { BlobFeature } from '../../src/wire/rafs/flags.ts';
import type { Differences } from './differences.ts';
import type { ImagePlace } from './image-place.ts';

const codecs = addonCodecs(addon);

export interface PlacedImage {
  readonly image: LoadedImage;
  readonly place: ImagePlace;
}

/** One blob of an image, opened. */
interface OpenBlob {
  readonly spec: BlobSpec;
  readonly source: LocalfsSource;
  /** Null: v5 and tarfs have none. */
  readonly info: ChunkInfoTable | null;
}

/**
 * Compares all blobs that both sides have, and verifies all that `actual` has. `free`: by row, as in `compareImages`.
 */
export async function compareBlobs(
  differences: Differences,
  expected: PlacedImage,
  actual: PlacedImage,
  free: readonly boolean[],
): Promise<void> {
  for (const i of actual.image.bootstrap.blobs.keys()) {
    const wanted = expected.image.bootstrap.blobs[i] === undefined ? null : await openBlob(expected, i);
    let found: OpenBlob | null = null;
    try {
      found = await openBlob(actual, i);
      if (found === null) {
        if (wanted !== null) differences.add(`blob[${i}]: no such file`);
        continue;
      }
      if (wanted !== null) {
        await compareChunkInfo(differences, `blob[${i}]`, wanted, found, free[i] === true);
        compareSections(
          differences,
          `blob[${i}]`,
          fileOf(expected, wanted),
          fileOf(actual, found),
          found.spec,
        );
      }
      await verifyChunks(differences, `blob[${i}]`, found, actual.image, i);
      verifyIdentity(differences, `blob[${i}]`, found, actual, i);
    } finally {
      await found?.source.close();
      await wanted?.source.close();
    }
  }
}

async function openBlob({ image, place }: PlacedImage, index: number): Promise<OpenBlob | null> {
  const spec = blobSpec(image.bootstrap.blobs[index]!, image.bootstrap, place.bootstrap);
  const [dir, ...others] = place.blobDirs;
  const has = (id: string): boolean => place.blobDirs.some((each) => existsSync(join(each, id)));
  if (!has(spec.objectId) || !has(spec.metaObjectId)) return null;
  const source = new LocalfsSource({ dir, alt_dirs: others });
  const hasInfo = spec.version === 6 && !(spec.features & BlobFeature.tarfs) && spec.ciUncompressedSize > 0;
  try {
    return { spec, source, info: hasInfo ? await loadChunkInfo(spec, null, source, codecs, () => {}) : null };
  } catch (error) {
    await source.close();
    throw error;
  }
}

/** The file with the sections: the meta blob where there is one. */
function fileOf({ place }: PlacedImage, { spec }: OpenBlob): string {
  const dir = place.blobDirs.find((each) => existsSync(join(each, spec.metaObjectId)));
  return join(dir!, spec.metaObjectId);
}

async function compareChunkInfo(
  differences: Differences,
  where: string,
  wanted: OpenBlob,
  found: OpenBlob,
  free: boolean,
): Promise<void> {
  if (wanted.info === null || found.info === null) return;
  differences.fields(`${where} header`, await headerOf(wanted, free), await headerOf(found, free));
  differences.equal(where, 'chunk info entries', wanted.info.count, found.info.count);
  differences.equal(where, 'contexts', wanted.info.contextCount, found.info.contextCount);
  for (let i = 0; i < Math.min(wanted.info.count, found.info.count); i++)
    compareEntry(differences, `${where} entry ${i}`, [wanted.info, found.info], i, free);
  const kind = wanted.spec.features;
  for (let i = 0; i < Math.min(wanted.info.contextCount, found.info.contextCount); i++) {
    if (kind & BlobFeature.batch) {
      differences.equal(
        `${where} batch ${i}`,
        'size',
        wanted.info.batchUncompressedSize(i),
        found.info.batchUncompressedSize(i),
      );
      differences.near(
        `${where} batch ${i}`,
        'csize',
        wanted.info.batchCompressedSize(i),
        found.info.batchCompressedSize(i),
      );
    } else if (kind & BlobFeature.zran)
      differences.fields(`${where} context ${i}`, zranOf(wanted.info, i), zranOf(found.info, i));
  }
}

function compareEntry(
  differences: Differences,
  where: string,
  [wanted, found]: readonly [ChunkInfoTable, ChunkInfoTable],
  i: number,
  free: boolean,
): void {
  const mask = free ? ~ChunkInfoFlag.compressed : ~0;
  const member = (wanted.flags(i) & (ChunkInfoFlag.batch | ChunkInfoFlag.zran)) !== 0;
  const fields = (info: ChunkInfoTable): Record<string, unknown> => ({
    uncompressedOffset: info.uncompressedOffset(i),
    uncompressedSize: info.uncompressedSize(i),
    flags: info.flags(i) & mask,
    ...(member
      ? { context: info.context(i), position: info.contextPosition(i) }
      : { crc32c: info.flags(i) & ChunkInfoFlag.hasCrc32c ? info.crc32c(i) : 'none' }),
  });
  differences.fields(where, fields(wanted), fields(found));
  for (const field of ['compressedOffset', 'compressedSize'] as const) {
    if (free) differences.near(where, field, wanted[field](i), found[field](i));
    else differences.equal(where, field, wanted[field](i), found[field](i));
  }
}

function zranOf(info: ChunkInfoTable, i: number): Record<string, unknown> {
  return {
    inOffset: info.zranInOffset(i),
    inLength: info.zranInLength(i),
    outLength: info.zranOutLength(i),
    bits: info.zranBits(i),
    byte: info.zranByte(i),
    dictOffset: info.zranDictOffset(i),
    dictionary: info.zranDictionary(i),
  };
}

/** The chunk-info header as it lies behind the table; sizes that follow from packed bytes left out. */
async function headerOf({ spec, source }: OpenBlob, free: boolean): Promise<Record<string, unknown>> {
  const stored = Buffer.alloc(ChunkInfoHeader.size);
  await source.read(spec.metaObjectId, spec.ciOffset + spec.ciCompressedSize, stored);
  const plain = spec.cipher === null ? stored : decrypt(spec.cipher, stored);
  const header = decodeChunkInfoHeader(new DataView(plain.buffer, plain.byteOffset, plain.length));
  const { offset, compressedSize: _, ...rest } = header;
  return free ? rest : { ...rest, offset };
}

/** A section of a blob with tar headers behind its sections. */
interface SectionAt {
  readonly name: string;
  readonly start: number;
  readonly size: number;
}

/** Sections from the first to the last; none where the blob has no tar headers. */
function sectionsOf(blob: Buffer): SectionAt[] {
  const sections: SectionAt[] = [];
  for (let end = blob.length; end >= TAR_HEADER_BYTES; ) {
    const header = decodeTrailingTarHeader(blob.subarray(end - TAR_HEADER_BYTES, end));
    if (header === null) break;
    end -= TAR_HEADER_BYTES + header.size;
    if (end < 0) throw new Error(`section ${header.name} is larger than the blob`);
    sections.unshift({ ...header, start: end });
  }
  return sections;
}

function tocOf(blob: Buffer, sections: readonly SectionAt[]): TocEntry[] {
  const toc = sections.find(({ name }) => name === Section.toc);
  return toc === undefined ? [] : decodeToc(blob.subarray(toc.start, toc.start + toc.size), toc.start);
}

function compareSections(
  differences: Differences,
  where: string,
  wantedFile: string,
  foundFile: string,
  { cipher }: BlobSpec,
): void {
  if (statSync(wantedFile).size > 2 ** 31 || statSync(foundFile).size > 2 ** 31) return;
  const [wanted, found] = [readFileSync(wantedFile), readFileSync(foundFile)];
  const [expected, actual] = [sectionsOf(wanted), sectionsOf(found)];
  const names = (sections: readonly { name: string }[]): string => sections.map(({ name }) => name).join(' ');
  differences.equal(where, 'sections', names(expected), names(actual));
  differences.equal(where, 'start of the first section', expected[0]?.start, actual[0]?.start);
  const [wantedToc, foundToc] = [tocOf(wanted, expected), tocOf(found, actual)];
  differences.equal(where, 'toc', names(wantedToc), names(foundToc));
  for (const [i, entry] of wantedToc.entries()) {
    const other = foundToc[i];
    if (other === undefined) return;
    const at = `${where} toc ${entry.name}`;
    differences.equal(at, 'compressor', entry.compressor, other.compressor);
    differences.equal(at, 'uncompressed size', entry.uncompressedSize, other.uncompressedSize);
    differences.near(at, 'compressed size', entry.compressedSize, other.compressedSize);
    differences.near(at, 'compressed offset', entry.compressedOffset, other.compressedOffset);
    if (entry.name === Section.digests) differences.equal(at, 'digest', entry.digest, other.digest);
    // Table and header are encrypted, their digests are not of what is stored.
    const encrypted = cipher !== null && other.name.startsWith(Section.chunkInfo);
    if (!encrypted) verifyTocEntry(differences, at, found, other, actual);
  }
}

/**
 * The digest of a section is that of its uncompressed bytes; of the data, that of its bytes as stored with their tar
 * header.
 */
function verifyTocEntry(
  differences: Differences,
  where: string,
  blob: Buffer,
  entry: TocEntry,
  sections: readonly SectionAt[],
): void {
  const { compressedOffset: start, compressedSize: size } = entry;
  const isData = entry.name === Section.data;
  const stored = blob.subarray(start, start + size + (isData ? TAR_HEADER_BYTES : 0));
  const bytes = entry.compressor === 'zstd' ? zstdDecompressSync(stored) : stored;
  if (entry.compressor === 'lz4_block') return;
  differences.equal(where, 'recorded sha256', sha256(bytes), entry.digest);
  if (!isData)
    differences.equal(where, 'uncompressed size of the bytes', bytes.length, entry.uncompressedSize);
  const section = sections.find(({ name }) => name === entry.name);
  if (section !== undefined && entry.name !== Section.chunkInfo)
    differences.equal(
      where,
      'place by its tar header',
      `${section.start}+${section.size}`,
      `${start}+${size}`,
    );
}

/** Decodes everything the blob holds and verifies each chunk against digest and CRC. */
async function verifyChunks(
  differences: Differences,
  where: string,
  blob: OpenBlob,
  image: LoadedImage,
  blobIndex: number,
): Promise<void> {
  const { spec, source, info } = blob;
  if (spec.features & BlobFeature.tarfs) return;
  const chunks = image.chunks.filter((chunk) => chunk.blobIndex === blobIndex);
  const table: ChunkTable = info === null ? new RecordChunks(spec) : new IndexedChunks(spec, info, null);
  let last = null as { unit: Unit; bytes: Uint8Array } | null;
  for (const stored of chunks.sort((a, b) => a.index - b.index)) {
    try {
      const chunk: Chunk = {
        ...table.locate({ index: stored.index, record: stored }),
        digest: stored.digest,
      };
      if (last?.unit !== chunk.unit)
        last = { unit: chunk.unit, bytes: await readUnit(spec, source, chunk.unit) };
      const bytes = last.bytes.subarray(chunk.unitPosition, chunk.unitPosition + chunk.uncompressedSize);
      verifyChunk(spec, codecs, chunk, bytes, true);
      verifyRecord(differences, `${where} chunk ${stored.index}`, stored, chunk);
    } catch (error) {
      differences.add(`${where} chunk ${stored.index}: ${(error as Error).message}`);
    }
  }
}

async function readUnit(spec: BlobSpec, source: LocalfsSource, unit: Unit): Promise<Uint8Array> {
  const stored = Buffer.allocUnsafeSlow(unit.size);
  await source.read(spec.objectId, unit.start, stored);
  return decodeUnit(spec, codecs, unit, stored);
}

/** The bootstrap's record and the chunk info say the same. */
function verifyRecord(differences: Differences, where: string, stored: StoredChunk, chunk: Chunk): void {
  differences.equal(
    where,
    'uncompressed offset in the chunk info',
    stored.uncompressedOffset,
    chunk.uncompressedOffset,
  );
  differences.equal(
    where,
    'uncompressed size in the chunk info',
    stored.uncompressedSize,
    chunk.uncompressedSize,
  );
  if (chunk.context >= 0) return;
  differences.equal(where, 'compressed offset in the chunk info', stored.compressedOffset, chunk.unit.start);
  differences.equal(where, 'compressed size in the chunk info', stored.compressedSize, chunk.unit.size);
}

/** An object named by a digest has it; the digest array is not part of what is hashed. */
function verifyIdentity(
  differences: Differences,
  where: string,
  { spec }: OpenBlob,
  { place }: PlacedImage,
  index: number,
): void {
  const dir = place.blobDirs[0];
  for (const id of new Set([spec.objectId, spec.metaObjectId])) {
    const file = join(dir, id);
    if (!/^[0-9a-f]{64}$/.test(id) || !existsSync(file) || statSync(file).size > 2 ** 31) continue;
    const bytes = readFileSync(file);
    const digests = sectionsOf(bytes).find(({ name }) => name === Section.digests);
    const [from, to] = digests === undefined ? [0, 0] : [digests.start, digests.start + digests.size];
    const hash = createHash('sha256').update(bytes.subarray(0, from)).update(bytes.subarray(to));
    differences.equal(`${where} (${index})`, 'sha256 of its file', id, hash.digest('hex'));
  }
}

function sha256(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest();
}
