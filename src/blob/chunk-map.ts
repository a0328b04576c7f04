import {
  closeSync,
  constants,
  fdatasyncSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readFileSync,
  readSync,
  writeSync,
} from 'node:fs';
import { BlobError } from '../wire/blob-error.ts';
import {
  ChunkMapHeader,
  chunkMapBytes,
  decodeChunkMapHeader,
  encodeChunkMapHeader,
} from '../wire/chunk-map.ts';

/**
 * The chunk map on disk. Other processes may use the same file: a bit is set by reading its byte again and writing it
 * back, so a bit of theirs may be lost, which costs one more fetch, but no bit is ever set for data that was not
 * written.
 *
 * The calls are synchronous, and the thread that makes them is the storage thread, not the one that controls the
 * daemon: one byte of the page cache costs less than a hop to a pool thread.
 */
export class ChunkMapFile {
  readonly #fd: number;
  readonly #count: number;
  readonly #byte = Buffer.alloc(1);
  #allReady: boolean;

  private constructor(fd: number, count: number, allReady: boolean) {
    this.#fd = fd;
    this.#count = count;
    this.#allReady = allReady;
  }

  /** The header says that all chunks are ready; the bits need not be looked at. */
  get allReady(): boolean {
    return this.#allReady;
  }

  /**
   * Opens or creates the map of `count` chunks. Throws BlobError BLOB_BAD_CHUNK_MAP for a file that is not one or has
   * another size, and BLOB_CACHE_SIZE when it cannot be written (disk full).
   */
  static open(path: string, count: number): ChunkMapFile {
    const fd = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o644);
    try {
      return new ChunkMapFile(fd, count, prepare(fd, path, count));
    } catch (error) {
      closeSync(fd);
      if (error instanceof BlobError) throw error;
      // What comes of a descriptor does not name the file.
      const rule = `${(error as Error).message}; make room or use another work_dir`;
      throw new BlobError('BLOB_CACHE_SIZE', `${path}: ${rule}`, { cause: error });
    }
  }

  /** Whether the map at `path` says of any chunk that it is ready; false when there is no map. */
  static hasBits(path: string): boolean {
    try {
      const bytes = readFileSync(path);
      return (
        bytes.subarray(ChunkMapHeader.allReady, ChunkMapHeader.allReady + 4).some((b) => b !== 0) ||
        bytes.subarray(ChunkMapHeader.size).some((b) => b !== 0)
      );
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
      throw error;
    }
  }

  /** Copies the bits into `into`. */
  load(into: Uint8Array): void {
    if (this.allReady) {
      for (let i = 0; i < this.#count; i++) into[i >> 3]! |= 0x80 >> (i & 7);
      return;
    }
    const bytes = Buffer.alloc(chunkMapBytes(this.#count));
    readFully(this.#fd, bytes, ChunkMapHeader.size);
    into.set(bytes);
  }

  /** Whether the chunk's bit is set in the file now. */
  has(index: number): boolean {
    if (this.allReady) return true;
    const read = readSync(this.#fd, this.#byte, 0, 1, ChunkMapHeader.size + (index >> 3));
    return read === 1 && (this.#byte[0]! & (0x80 >> (index & 7))) !== 0;
  }

  /** Sets the chunk's bit; its data must have been written before. Throws the file's error. */
  set(index: number): void {
    this.#update(index, 0x80 >> (index & 7), 0);
  }

  /** Clears the bit of a chunk whose cached bytes are wrong or are to go. */
  clear(index: number): void {
    if (this.#allReady) this.#spellOut();
    this.#update(index, 0, 0x80 >> (index & 7));
  }

  /** What was set and cleared reaches the disk before this returns. */
  sync(): void {
    fdatasyncSync(this.#fd);
  }

  close(): void {
    closeSync(this.#fd);
  }

  /** What the header says in a word is said by the bits, so that one of them can be taken back. */
  #spellOut(): void {
    const bits = Buffer.alloc(chunkMapBytes(this.#count));
    for (let i = 0; i < this.#count; i++) bits[i >> 3]! |= 0x80 >> (i & 7);
    writeSync(this.#fd, bits, 0, bits.length, ChunkMapHeader.size);
    writeSync(this.#fd, encodeChunkMapHeader(false), 0, ChunkMapHeader.size, 0);
    this.#allReady = false;
  }

  #update(index: number, set: number, clear: number): void {
    const at = ChunkMapHeader.size + (index >> 3);
    const read = readSync(this.#fd, this.#byte, 0, 1, at);
    const old = read === 1 ? this.#byte[0]! : 0;
    const value = (old | set) & ~clear;
    if (value === old) return;
    this.#byte[0] = value;
    writeSync(this.#fd, this.#byte, 0, 1, at);
  }
}

/**
 * Returns whether all chunks are ready, and says so in the header as the original does when it opens a complete map.
 */
function prepare(fd: number, path: string, count: number): boolean {
  const size = ChunkMapHeader.size + chunkMapBytes(count);
  const found = fstatSync(fd).size;
  if (found === 0) ftruncateSync(fd, size);
  else if (found !== size) {
    const rule = `must be ${size} for ${count} chunks; remove the file to start anew`;
    throw new BlobError('BLOB_BAD_CHUNK_MAP', `${path}: size = ${found}, ${rule}`);
  }
  const header = Buffer.alloc(ChunkMapHeader.size);
  readFully(fd, header, 0);
  const state = decodeChunkMapHeader(header, path);
  if (state === 'new') writeSync(fd, encodeChunkMapHeader(false), 0, ChunkMapHeader.size, 0);
  if (state === 'ready') return true;
  const bits = Buffer.alloc(chunkMapBytes(count));
  readFully(fd, bits, ChunkMapHeader.size);
  if (count === 0 || countBits(bits, count) < count) return false;
  writeSync(fd, encodeChunkMapHeader(true), 0, ChunkMapHeader.size, 0);
  return true;
}

function readFully(fd: number, into: Uint8Array, at: number): void {
  let done = 0;
  while (done < into.length) {
    const read = readSync(fd, into, done, into.length - done, at + done);
    if (read === 0) return;
    done += read;
  }
}

function countBits(bytes: Uint8Array, count: number): number {
  let total = 0;
  for (let i = 0; i < count; i++) if (bytes[i >> 3]! & (0x80 >> (i & 7))) total++;
  return total;
}

/** Sets bit `index` (MSB first) of a map shared with queue workers. */
export function setReady(ready: Uint8Array, index: number): void {
  Atomics.or(ready, index >> 3, 0x80 >> (index & 7));
}

/** Takes the bit back; who has just seen it is dealt with as `OpenCache` says. */
export function clearReady(ready: Uint8Array, index: number): void {
  Atomics.and(ready, index >> 3, ~(0x80 >> (index & 7)) & 0xff);
}

export function isReady(ready: Uint8Array, index: number): boolean {
  return (Atomics.load(ready, index >> 3) & (0x80 >> (index & 7))) !== 0;
}
