/**
 * Cache files in use, and the order in which they are filled, read and emptied. Whoever touches them keeps to it:
 *
 * - filled: the bytes are written, then the bit on disk is set, then the bit in memory (`setReady`). Kill -9 in
 *   between costs a fetch.
 * - read, by a queue worker: it notes the count of evictions, looks at the bit in memory, moves the bytes, then looks
 *   at the count again.
 *   If that has changed, what was moved may be zeros: the read begins anew, and finds the bit gone. A count, not the
 *   bit, is compared: the
 *   bit may be back by then, over bytes that were moved before they came.
 * - emptied: the bits in memory go, of all that serve the file, then those on disk, and that reaches the disk; then
 *   the count is raised,
 *   then the hole is punched. A chunk that is on its way is left alone.
 *
 * The count is one for all blobs of the process: an eviction makes every read that is under way look twice, which is
 * cheap and rare.
 */
import { punchHole } from '../native/libc.ts';
import type { CacheFile } from './cache-file.ts';
import { type ChunkMapFile, clearReady } from './chunk-map.ts';

/** Raised by every eviction of the process; shared with the queue workers. */
export class EvictionCount {
  /** One u32, which wraps. */
  readonly shared: SharedArrayBuffer = new SharedArrayBuffer(4);
  readonly #word = new Int32Array(this.shared);

  raise(): void {
    Atomics.add(this.#word, 0, 1);
  }
}

/** Who serves chunks out of a cache file. */
export interface CacheUser {
  /** Bits shared with queue workers; null: nobody reads the file without asking. */
  readonly ready: Uint8Array | null;
  /** The chunk is being fetched, so its bytes may be written any moment. */
  isFetching(index: number): boolean;
}

/** Where a chunk is in the cache file, in bytes. */
export interface CachedChunk {
  readonly index: number;
  readonly offset: number;
  readonly size: number;
}

/**
 * A cache file and its map while somebody uses them: blobs that several bootstraps describe in their own ways share
 * them.
 */
export class OpenCache {
  readonly file: CacheFile;
  /** Null: readiness is not kept on disk. */
  readonly map: ChunkMapFile | null;
  readonly #evictions: EvictionCount;
  readonly #users = new Set<CacheUser>();
  /** Chunks whose bytes were found wrong and have not been written anew. */
  readonly #distrusted = new Set<number>();

  constructor(file: CacheFile, map: ChunkMapFile | null, evictions: EvictionCount) {
    this.file = file;
    this.map = map;
    this.#evictions = evictions;
  }

  join(user: CacheUser): void {
    this.#users.add(user);
  }

  leave(user: CacheUser): void {
    this.#users.delete(user);
  }

  /** Whether the map on disk says that the chunk is here, and nobody has found otherwise. False without a map. */
  has(index: number): boolean {
    return this.map !== null && !this.#distrusted.has(index) && this.map.has(index);
  }

  /** The chunk's data was written. Throws the file's error where that cannot be noted. */
  mark(index: number): void {
    this.#distrusted.delete(index);
    this.map?.set(index);
  }

  /**
   * The cached bytes of a chunk are not what they should be: nobody serves them any more, and the next reader fetches
   * anew, also where a full or broken disk keeps the bit.
   */
  distrust(index: number): void {
    this.#distrusted.add(index);
    for (const { ready } of this.#users) if (ready !== null) clearReady(ready, index);
    this.#evictions.raise();
    try {
      this.map?.clear(index);
    } catch {
      // Remembered above; the next process verifies or finds the same.
    }
  }

  /**
   * Gives the room of chunks back to the disk and answers how many bytes that were. Throws the file's error; then no
   * byte is lost.
   */
  evict(chunks: readonly CachedChunk[]): number {
    const users = [...this.#users];
    const idle = chunks.filter(({ index }) => !users.some((user) => user.isFetching(index)));
    if (idle.length === 0) return 0;
    for (const { ready } of users) {
      if (ready !== null) for (const { index } of idle) clearReady(ready, index);
    }
    for (const { index } of idle) this.map?.clear(index);
    this.map?.sync();
    this.#evictions.raise();
    for (const { offset, size } of idle) punchHole(this.file.fd, offset, size);
    return idle.reduce((sum, { size }) => sum + size, 0);
  }

  close(): void {
    this.map?.close();
    this.file.close();
  }
}
