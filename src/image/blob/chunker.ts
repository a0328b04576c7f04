import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { type DigestAlgorithm, digest } from '../../lib/content-hash.ts';
import type { Turns } from '../../lib/turns.ts';
import { addon } from '../../native/index.ts';
import { ChunkFlag } from '../../wire/rafs/chunk.ts';
import { CHUNK_INDEX_MAX, COMPRESSED_LIMIT, type StoredChunk, UNCOMPRESSED_LIMIT } from '../model/chunk.ts';
import { ImageError, reason } from '../model/error.ts';
import { type ImageNode, isRegular } from '../model/node.ts';
import type { FileStream } from '../source/tree-source.ts';
import type { Batch, Batcher } from './batch.ts';
import { type BlobCipher, encrypt } from './cipher.ts';
import { type BuildCompressor, compressSpans, PACK_SLACK, type Span } from './compress.ts';
import type { EarlierChunks } from './earlier-chunks.ts';
import type { OutputFile } from './output-file.ts';

/** How a chunker cuts and packs. */
interface ChunkerOptions {
  readonly chunkSize: number;
  readonly compressor: BuildCompressor;
  readonly digester: DigestAlgorithm;
  /** Start of every chunk in the uncompressed image is a multiple of this: 4096 in v6, 1 in v5. */
  readonly alignment: number;
  /** Chunks that need not be stored because other blobs of the image have them. */
  readonly earlier?: EarlierChunks | null;
  /** Joins small files. */
  readonly batcher?: Batcher | null;
  readonly cipher?: BlobCipher | null;
  /** Called for each distinct chunk; the bytes are good until it returns. */
  readonly onStore?: (chunk: StoredChunk, bytes: Buffer) => void;
  readonly turns: Turns;
  readonly onChunk?: (bytes: number) => void;
}

/** Bytes that are packed with one call: of several small files, or one chunk if that is larger. */
const LOAD_BYTES = 512 << 10;
/** Loads being packed at a time, and their bytes: enough for every pool thread while this one reads ahead. */
const IN_FLIGHT_MAX = 8;
const IN_FLIGHT_BYTES_MAX = 32 << 20;

const NOTHING = Buffer.alloc(0);

/** What is stored as one piece: a chunk, or a batch of small ones. */
type Piece = StoredChunk | Batch;

/** Pieces that a pool thread packs with one call: waking it costs as much as packing a small file. */
interface Load {
  readonly source: Buffer;
  readonly target: Buffer;
  readonly pieces: Piece[];
  readonly spans: Span[];
  /** Bytes of the source in use. */
  used: number;
}

interface InFlight {
  readonly load: Load;
  readonly packed: Promise<Buffer[]>;
}

/** Cuts files into chunks, stores each distinct one once, in order of arrival. */
export class Chunker {
  readonly #out: OutputFile;
  readonly #options: ChunkerOptions;
  readonly #known = new Map<string, StoredChunk>();
  readonly #inFlight: InFlight[] = [];
  #inFlightBytes = 0;
  /** Done with, to be filled again. */
  readonly #spare: Load[] = [];
  /** Being filled: the chunk that is looked at lies behind its pieces. */
  #load: Load;
  /** Distinct chunks in blob order. */
  readonly chunks: StoredChunk[] = [];
  /** Bytes of the uncompressed image, padding included. */
  uncompressedSize = 0;
  /** Chunks found stored already, and their bytes. */
  duplicates = 0;
  duplicateBytes = 0;

  constructor(out: OutputFile, options: ChunkerOptions) {
    this.#out = out;
    this.#options = options;
    this.#load = this.#newLoad();
  }

  /** Stores the data of `node`. Names of one file are read once, under whichever comes first. */
  async add(node: ImageNode): Promise<void> {
    if (!isRegular(node)) return;
    const { first } = node;
    if (node.size > 0 && first.chunks.length === 0) first.chunks = await this.#addFile(node);
    node.chunks = first.chunks;
  }

  /** Stores the data of `node` as it passes. A hole as large as a chunk costs nothing after the first. */
  async addStream(node: ImageNode, stream: FileStream): Promise<void> {
    const { chunkSize, turns } = this.#options;
    if (node.size > chunkSize * CHUNK_INDEX_MAX)
      throw new ImageError(
        'IMAGE_TOO_LARGE',
        `${node.sourcePath}: ${node.size} bytes: use a larger --chunk-size`,
      );
    const chunks: StoredChunk[] = [];
    for (let offset = 0; offset < node.size; offset += chunkSize) {
      const length = Math.min(chunkSize, node.size - offset);
      if (!this.#hasRoom(length)) await this.#submit();
      const bytes = this.#next(length);
      const isHole = stream.hole >= chunkSize;
      if (isHole && this.#zeros !== null) {
        stream.skipHole(chunkSize);
        chunks.push(this.#duplicate(this.#zeros));
      } else {
        await stream.read(bytes);
        const chunk = this.#find(bytes) ?? (await this.#store(bytes, node));
        if (isHole) this.#zeros = chunk;
        chunks.push(chunk);
      }
      const turn = turns.next();
      if (turn !== undefined) await turn;
    }
    node.chunks = chunks;
  }

  /** The chunk that is all zeros, once a hole has needed it. */
  #zeros: StoredChunk | null = null;

  #duplicate(known: StoredChunk): StoredChunk {
    this.#options.onChunk?.(known.uncompressedSize);
    this.duplicates++;
    this.duplicateBytes += known.uncompressedSize;
    return known;
  }

  /** Waits for everything in flight. */
  async finish(): Promise<void> {
    await this.#endBatch(NOTHING);
    await this.#submit();
    while (this.#inFlight.length > 0) await this.#drain();
    await this.#out.flush();
  }

  async #addFile(node: ImageNode): Promise<StoredChunk[]> {
    const fd = openSource(node);
    try {
      const chunks: StoredChunk[] = [];
      for (let offset = 0; offset < node.size; offset += this.#options.chunkSize) {
        const length = Math.min(this.#options.chunkSize, node.size - offset);
        if (!this.#hasRoom(length)) await this.#submit();
        const bytes = this.#next(length);
        readFully(fd, bytes, offset, node);
        chunks.push(this.#find(bytes) ?? (await this.#store(bytes, node)));
        const turn = this.#options.turns.next();
        if (turn !== undefined) await turn;
      }
      return chunks;
    } finally {
      closeSync(fd);
    }
  }

  #find(bytes: Buffer): StoredChunk | undefined {
    this.#options.onChunk?.(bytes.length);
    this.#digest = digest(this.#options.digester, bytes);
    const earlier = this.#options.earlier?.find(this.#digest, bytes.length);
    const known = earlier ?? this.#known.get(this.#digest.toString('latin1'));
    if (known === undefined || known.uncompressedSize !== bytes.length) return undefined;
    this.duplicates++;
    this.duplicateBytes += bytes.length;
    return known;
  }

  /** Of the chunk looked for last. */
  #digest: Buffer = Buffer.alloc(0);

  async #store(bytes: Buffer, node: ImageNode): Promise<StoredChunk> {
    const index = this.chunks.length;
    if (index > CHUNK_INDEX_MAX)
      throw new ImageError(
        'IMAGE_TOO_LARGE',
        `more than ${CHUNK_INDEX_MAX + 1} chunks: use a larger --chunk-size`,
      );
    const chunk: StoredChunk = {
      blobIndex: this.#options.earlier?.ownIndex() ?? 0,
      index,
      digest: this.#digest,
      crc32c: addon.crc32c(bytes),
      uncompressedOffset: this.uncompressedSize,
      uncompressedSize: bytes.length,
      compressedOffset: 0,
      compressedSize: 0,
      flags: ChunkFlag.hasCrc32c | (this.#options.cipher ? ChunkFlag.encrypted : 0),
    };
    const { alignment, batcher } = this.#options;
    this.uncompressedSize += Math.ceil(bytes.length / alignment) * alignment;
    if (this.uncompressedSize > UNCOMPRESSED_LIMIT)
      throw new ImageError('IMAGE_TOO_LARGE', 'more than 16 TiB of file data');
    this.chunks.push(chunk);
    this.#options.onStore?.(chunk, bytes);
    this.#known.set(this.#digest.toString('latin1'), chunk);
    if (batcher && node.size === bytes.length && batcher.takes(bytes.length)) {
      batcher.add(chunk, batcher.hasRoom(bytes.length) ? bytes : await this.#endBatch(bytes));
      return chunk;
    }
    await this.#pack(chunk, await this.#endBatch(bytes));
    return chunk;
  }

  /** Packs the batch that has been collected. It may go where `bytes` are, which are returned from a safe place. */
  async #endBatch(bytes: Buffer): Promise<Buffer> {
    const full = this.#options.batcher?.take();
    if (!full) return bytes;
    const kept = Buffer.from(bytes);
    await this.#pack(full.batch, full.bytes);
    return kept;
  }

  async #pack(piece: Piece, bytes: Buffer): Promise<void> {
    if (this.#options.compressor === 'none') return this.#append(piece, bytes);
    if (!this.#hasRoom(bytes.length)) await this.#submit();
    const load = this.#load;
    const place = this.#next(bytes.length);
    if (bytes.buffer !== place.buffer || bytes.byteOffset !== place.byteOffset) place.set(bytes);
    load.pieces.push(piece);
    load.spans.push({ at: load.used, length: bytes.length });
    load.used += bytes.length;
  }

  #hasRoom(length: number): boolean {
    return this.#load.used + length <= this.#load.source.length;
  }

  /** Where the next chunk is read to. */
  #next(length: number): Buffer {
    return this.#load.source.subarray(this.#load.used, this.#load.used + length);
  }

  /** Gives the load to a pool thread and begins another. */
  async #submit(): Promise<void> {
    const { compressor } = this.#options;
    const load = this.#load;
    if (compressor === 'none' || load.used === 0) return;
    const packed = compressSpans(load.source, load.spans, compressor, load.target);
    // Awaited in #drain; without this a failure before then would be reported as unhandled.
    packed.catch(() => {});
    this.#inFlight.push({ load, packed });
    this.#inFlightBytes += load.used;
    while (this.#inFlight.length > IN_FLIGHT_MAX || this.#inFlightBytes > IN_FLIGHT_BYTES_MAX)
      await this.#drain();
    this.#load = this.#spare.pop() ?? this.#newLoad();
  }

  async #drain(): Promise<void> {
    const { load, packed } = this.#inFlight.shift()!;
    this.#inFlightBytes -= load.used;
    const stored = await packed;
    for (const [i, piece] of load.pieces.entries()) {
      const appended = this.#append(piece, stored[i]!);
      if (appended !== undefined) await appended;
    }
    this.#spare.push({ ...load, pieces: [], spans: [], used: 0 });
  }

  #append(piece: Piece, packed: Buffer): Promise<void> | undefined {
    const { cipher } = this.#options;
    const stored = cipher ? encrypt(cipher, packed) : packed;
    piece.compressedOffset = this.#out.size;
    piece.compressedSize = stored.length;
    if (packed.length !== piece.uncompressedSize) piece.flags |= ChunkFlag.compressed;
    if (this.#out.size + stored.length > COMPRESSED_LIMIT)
      throw new ImageError('IMAGE_TOO_LARGE', 'blob larger than 1 TiB');
    return this.#out.append(stored);
  }

  #newLoad(): Load {
    const { chunkSize, compressor } = this.#options;
    const size = compressor === 'none' ? chunkSize : Math.max(chunkSize, LOAD_BYTES);
    const target = compressor === 'none' ? NOTHING : Buffer.allocUnsafeSlow(size + PACK_SLACK);
    return { source: Buffer.allocUnsafeSlow(size), target, pieces: [], spans: [], used: 0 };
  }
}

/** Opens what the walk saw: neither a link nor a pipe that took the file's place meanwhile. */
function openSource(node: ImageNode): number {
  let fd: number;
  try {
    fd = openSync(node.sourcePath, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (cause) {
    throw new ImageError('IMAGE_UNREADABLE', `${node.sourcePath}: ${reason(cause)}`, { cause });
  }
  if (fstatSync(fd).isFile()) return fd;
  closeSync(fd);
  throw new ImageError('IMAGE_CHANGED', `${node.sourcePath}: no longer a regular file`);
}

function readFully(fd: number, into: Buffer, offset: number, node: ImageNode): void {
  for (let done = 0; done < into.length; ) {
    let count: number;
    try {
      count = readSync(fd, into, done, into.length - done, offset + done);
    } catch (cause) {
      throw new ImageError('IMAGE_UNREADABLE', `${node.sourcePath}: ${reason(cause)}`, { cause });
    }
    if (count === 0) {
      const rule = `shrank from ${node.size} to ${fstatSync(fd).size} bytes while it was read`;
      throw new ImageError('IMAGE_CHANGED', `${node.sourcePath}: ${rule}`);
    }
    done += count;
  }
}
