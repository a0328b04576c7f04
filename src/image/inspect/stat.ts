import { S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from '../../rafs/image.ts';
import type { DecodedChunk } from '../../wire/rafs/chunk.ts';
import { type Digester, digesterOf } from '../../wire/rafs/flags.ts';
import { debugText } from '../model/debug-text.ts';
import { ImageError } from '../model/error.ts';
import { EntryReader } from '../read/entry-reader.ts';
import { readBootstrap } from '../read/load.ts';
import { imageOf, type WalkEntry, walkTree } from '../read/tree-walk.ts';

/** Chunk sizes, as powers of two, for which `chunk_sizes` counts. */
const CHUNK_BITS_MIN = 12;
const CHUNK_BITS_MAX = 20;
/** Longer sizes are counted with the ones of this many bits. */
const FILE_BITS_MAX = 44;
/** Thresholds of the table of deduplication. */
const THRESHOLDS = 20;

/** Counts of one or several images, in the original's words: they are its JSON. src/bin/nydus-image/stat.rs. */
interface ImageInfo {
  dirs: number;
  files: number;
  symlinks: number;
  chunks: number;
  /** Bytes of files, aliases counted once; as stored; as read, with `padding_size` (to 4 KiB) in the end. */
  file_size: number;
  comp_size: number;
  uncomp_size: number;
  padding_size: number;
  /** Chunks there would be with chunks of 2^12 … 2^20 bytes. */
  chunk_sizes: number[];
  /** Files by the number of bits of their size. */
  file_sizes: number[];
  dedup_chunks: number;
  dedup_comp_size: number;
  dedup_uncomp_size: number;
  own_chunks: number;
  own_comp_size: number;
  own_uncomp_size: number;
  ref_chunks: number;
  ref_comp_size: number;
  ref_uncomp_size: number;
}

interface DedupRow {
  rawChunks: number;
  dedupChunks: number;
  compContent: number;
  compBase: number;
  compImage: number;
  uncompContent: number;
  uncompBase: number;
  uncompImage: number;
}

type Chunk = Pick<DecodedChunk, 'compressedSize' | 'uncompressedSize'>;

function noInfo(): ImageInfo {
  return {
    dirs: 0,
    files: 0,
    symlinks: 0,
    chunks: 0,
    file_size: 0,
    comp_size: 0,
    uncomp_size: 0,
    padding_size: 0,
    chunk_sizes: new Array<number>(CHUNK_BITS_MAX - CHUNK_BITS_MIN + 1).fill(0),
    file_sizes: new Array<number>(FILE_BITS_MAX + 1).fill(0),
    dedup_chunks: 0,
    dedup_comp_size: 0,
    dedup_uncomp_size: 0,
    own_chunks: 0,
    own_comp_size: 0,
    own_uncomp_size: 0,
    ref_chunks: 0,
    ref_comp_size: 0,
    ref_uncomp_size: 0,
  };
}

/** Statistics over base images and one target, which is compared with them. */
export class ImageStat {
  readonly #digester: Digester;
  readonly #base = noInfo();
  #target: ImageInfo | null = null;
  /** Chunks of base images with the wanted digester, by digest, and how many of these images have each. */
  readonly #dict = new Map<string, { chunk: Chunk; images: number }>();
  readonly #dedup: boolean;

  /**
   * `digester`: base images with another one are not compared. `dedup`: several base images, whose
   * chunks are compared, too.
   */
  constructor(digester: Digester, dedup: boolean) {
    this.#digester = digester;
    this.#dedup = dedup;
  }

  /** Adds the image at `path`. Rejects with RafsError, BlobError or ImageError, and then nothing of it is counted. */
  async addBase(path: string): Promise<void> {
    const { info, chunks, digester } = await count(path);
    for (const [digest, chunk] of chunks) {
      add(info, 'own', chunk);
      if (digester !== this.#digester) continue;
      const known = this.#dict.get(digest);
      if (known === undefined) this.#dict.set(digest, { chunk, images: 1 });
      else known.images++;
    }
    sum(this.#base, info);
  }

  /** Counts the image at `path` as the target, after all base images. Rejects as `addBase`. */
  async setTarget(path: string): Promise<void> {
    const { info, chunks } = await count(path);
    for (const [digest, chunk] of chunks) {
      const known = this.#dict.get(digest)?.chunk.uncompressedSize;
      add(info, known === 0 || known === chunk.uncompressedSize ? 'ref' : 'own', chunk);
    }
    this.#target = info;
  }

  /** The object which `--output-json` writes. */
  json(): {
    dedup_enabled: boolean;
    target_enabled: boolean;
    base_image: ImageInfo;
    target_image: ImageInfo;
  } {
    const base = { ...this.#base, uncomp_size: this.#base.uncomp_size + this.#base.padding_size };
    const target = this.#target ?? noInfo();
    if (this.#dedup) for (const { chunk } of this.#dict.values()) add(base, 'dedup', chunk);
    return {
      dedup_enabled: this.#dedup,
      target_enabled: this.#target !== null,
      base_image: base,
      target_image: { ...target, uncomp_size: target.uncomp_size + target.padding_size },
    };
  }

  /** The same for people, and how much would be shared if chunks in more than n images were. */
  text(): string {
    const { base_image: base, target_image: target } = this.json();
    const parts = this.#target === null ? [] : ['Target Image Statistics:\n', infoText(target)];
    parts.push('\n\nBase Image Statistics:\n', infoText(base));
    if (this.#dedup) parts.push('\n\nChunk Deduplication Statistics:\n', this.#dedupText());
    return parts.join('');
  }

  #dedupText(): string {
    const columns = ['Global Dedup Thresh:', 'Raw Chunks:', 'Dedup Chunks:', 'Comp Content Size:'];
    columns.push('Comp Base Size:', 'Comp Image Size:', 'Uncomp Content Size:', 'Uncomp Base Size');
    const lines = [[...columns, 'Uncomp Image Size'].join('\t')];
    for (let threshold = 1; threshold <= THRESHOLDS; threshold++) {
      const row = this.#dedupRow(threshold);
      if (row.dedupChunks === 0) break;
      const numbers = [row.rawChunks, row.dedupChunks, row.compContent, row.compBase, row.compImage];
      numbers.push(row.uncompContent, row.uncompBase, row.uncompImage);
      const cells = numbers.map((value) => `0x${value.toString(16).padEnd(14)}`);
      lines.push(`${String(threshold).padEnd(24)}${cells.join('')}`);
    }
    return `${lines.join('\n')}\n`;
  }

  /** Chunks that at least `threshold` images have are stored once, in a base; the others in each image. */
  #dedupRow(threshold: number): DedupRow {
    const row: DedupRow = {
      rawChunks: 0,
      dedupChunks: 0,
      compContent: 0,
      compBase: 0,
      compImage: 0,
      uncompContent: 0,
      uncompBase: 0,
      uncompImage: 0,
    };
    for (const { chunk, images } of this.#dict.values()) {
      const { compressedSize, uncompressedSize } = chunk;
      const shared = threshold <= images;
      row.rawChunks += images;
      row.dedupChunks += shared ? 1 : images;
      row.compContent += images * compressedSize;
      row.uncompContent += images * uncompressedSize;
      if (shared) row.compBase += compressedSize;
      else row.compImage += images * compressedSize;
      if (shared) row.uncompBase += uncompressedSize;
      else row.uncompImage += images * uncompressedSize;
    }
    return row;
  }
}

interface Counted {
  readonly info: ImageInfo;
  /** Each digest's first chunk. */
  readonly chunks: ReadonlyMap<string, Chunk>;
  readonly digester: Digester;
}

async function count(path: string): Promise<Counted> {
  const bootstrap = await readBootstrap(path);
  const image = imageOf(bootstrap);
  const digests = imageOf(bootstrap, true);
  const reader = new EntryReader(bootstrap, image);
  const info = noInfo();
  const chunks = new Map<string, Chunk & { directory: number }>();
  /** Numbers of the directories above, by depth: the original sees all children of a directory before theirs. */
  const directories: number[] = [];
  const refuse = (at: Buffer, lo: number, fault: string): never => {
    throw new ImageError('IMAGE_DAMAGED', `${path}: ${debugText(at)} (inode ${lo}): ${fault}`);
  };
  for (const entry of walkTree(bootstrap, image, refuse)) {
    if (entry.isFirst && digests.checkInode(entry.lo) !== 0) refuse(entry.path(), entry.lo, digests.fault);
    const type = entry.mode & S_IFMT;
    if (type === S_IFDIR) directories[entry.depth] = info.dirs++;
    else if (type === S_IFLNK) info.symlinks++;
    if (type !== S_IFREG) continue;
    info.files++;
    const { nlink, size } = reader.attributes(entry);
    // An alias by link count is counted once; without it, the original counts every name.
    if (nlink > 1 && !entry.isFirst) continue;
    countFile(info, size);
    countChunks(info, reader, entry, directories[entry.depth - 1]!, chunks);
  }
  return { info, chunks, digester: digesterOf(bootstrap.flags) };
}

function countFile(info: ImageInfo, size: number): void {
  info.file_size += size;
  info.padding_size += Math.ceil(size / 4096) * 4096 - size;
  info.file_sizes[Math.min(bitLength(size), FILE_BITS_MAX)]!++;
  for (let bits = CHUNK_BITS_MIN; bits <= CHUNK_BITS_MAX; bits++) {
    const count = Math.ceil(size / 2 ** bits);
    if (count < 2 ** 32) info.chunk_sizes[bits - CHUNK_BITS_MIN]! += count;
  }
}

function countChunks(
  info: ImageInfo,
  reader: EntryReader,
  entry: WalkEntry,
  directory: number,
  chunks: Map<string, Chunk & { directory: number }>,
): void {
  for (const { digest, compressedSize, uncompressedSize } of reader.chunks(entry)) {
    info.chunks++;
    info.comp_size += compressedSize;
    info.uncomp_size += uncompressedSize;
    const id = Buffer.from(digest).toString('latin1');
    const known = chunks.get(id);
    if (known === undefined || known.directory > directory)
      chunks.set(id, { compressedSize, uncompressedSize, directory });
  }
}

function bitLength(size: number): number {
  const high = Math.floor(size / 2 ** 32);
  return high > 0 ? 64 - Math.clz32(high) : 32 - Math.clz32(size);
}

function add(info: ImageInfo, kind: 'own' | 'ref' | 'dedup', chunk: Chunk): void {
  info[`${kind}_chunks`]++;
  info[`${kind}_comp_size`] += chunk.compressedSize;
  info[`${kind}_uncomp_size`] += chunk.uncompressedSize;
}

function sum(into: ImageInfo, from: ImageInfo): void {
  for (const key of Object.keys(into) as (keyof ImageInfo)[]) {
    const value = from[key];
    if (key === 'chunk_sizes' || key === 'file_sizes')
      for (const [i, count] of from[key].entries()) into[key][i]! += count;
    else into[key] += value as number;
  }
}

function infoText(info: ImageInfo): string {
  return `
Directories:            ${info.dirs}
Files:                  ${info.files}
Symlinks:               ${info.symlinks}
Chunks:                 ${info.chunks}
File Size:              ${info.file_size}
Padding Size:           ${info.padding_size}
Uncompressed Size:      ${info.uncomp_size}
Compressed Size:        ${info.comp_size}

File Size Bits:\t\tFile Count:
${info.file_sizes.map((count, bits) => `${bits}:\t\t\t${count}\n`).join('')}
Chunk Size Bits:\tChunk Count:
${info.chunk_sizes.map((count, i) => `${CHUNK_BITS_MIN + i}:\t\t\t${count}\n`).join('')}
Raw Content Size:\t${info.file_size}
Comp Content Size:\t${info.comp_size}
Raw Chunk Count:\t${info.chunks}
Dedup Comp Size:\t${info.dedup_comp_size}
Dedup Uncomp Size:\t${info.dedup_uncomp_size}
Dedup Chunk Count:\t${info.dedup_chunks}
Owned Comp Size:\t${info.own_comp_size}
Owned Uncomp Size:\t${info.own_uncomp_size}
Owned Chunk Count:\t${info.own_chunks}
Referenced Comp Size:\t${info.ref_comp_size}
Referenced Uncomp Size:\t${info.ref_uncomp_size}
Referenced Chunk Count:\t${info.ref_chunks}
`;
}
