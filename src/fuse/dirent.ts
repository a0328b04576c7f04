import { DirentLayout, EntryOut, OutHeader, writeU64 } from '../wire/fuse.ts';
import { encodeEntry } from './attr.ts';
import type { DirectorySink, Entry } from './filesystem.ts';

/** A directory reply is at most this long; the client asks again from the last cookie. */
const REPLY_MAX = 64 << 10;

/**
 * Builds READDIR and READDIRPLUS replies in one buffer that is used again for every request.
 */
export class DirentBuffer implements DirectorySink {
  readonly bytes: Uint8Array = new Uint8Array(REPLY_MAX);
  /** Bytes of whole records so far. */
  length = 0;
  /** An entry did not fit. */
  full = false;
  readonly #view: DataView = new DataView(this.bytes.buffer);
  #limit = 0;

  /** Begins a reply of at most `size` bytes behind the out header; the client left `capacity` bytes for both. */
  begin(size: number, capacity: number): void {
    this.length = 0;
    this.full = false;
    this.#limit = Math.min(size, capacity - OutHeader.size, REPLY_MAX);
  }

  add(
    inoHi: number,
    inoLo: number,
    cookie: number,
    type: number,
    bytes: Uint8Array,
    nameStart: number,
    nameEnd: number,
  ): boolean {
    const at = this.#take(0, nameEnd - nameStart);
    if (at < 0) return false;
    this.#record(at, inoHi, inoLo, cookie, type, bytes, nameStart, nameEnd);
    return true;
  }

  addPlus(
    entry: Entry,
    cookie: number,
    type: number,
    bytes: Uint8Array,
    nameStart: number,
    nameEnd: number,
  ): boolean {
    const at = this.#take(EntryOut.bytes, nameEnd - nameStart);
    if (at < 0) return false;
    const { attr } = entry;
    encodeEntry(this.#view, at, entry);
    this.#record(at + EntryOut.bytes, attr.inoHi, attr.inoLo, cookie, type, bytes, nameStart, nameEnd);
    return true;
  }

  /** Room for a record, padded to 8 bytes; -1 when it does not fit. */
  #take(head: number, nameBytes: number): number {
    const at = this.length;
    const next = (at + head + DirentLayout.name + nameBytes + 7) & ~7;
    if (next > this.#limit) {
      this.full = true;
      return -1;
    }
    this.length = next;
    return at;
  }

  #record(
    at: number,
    inoHi: number,
    inoLo: number,
    cookie: number,
    type: number,
    bytes: Uint8Array,
    nameStart: number,
    nameEnd: number,
  ): void {
    const view = this.#view;
    const length = nameEnd - nameStart;
    view.setUint32(at + DirentLayout.ino, inoLo, true);
    view.setUint32(at + DirentLayout.ino + 4, inoHi, true);
    writeU64(view, at + DirentLayout.off, cookie);
    view.setUint32(at + DirentLayout.namelen, length, true);
    view.setUint32(at + DirentLayout.type, type, true);
    const to = at + DirentLayout.name;
    // A loop beats subarray() and set() for the names of real directories, and allocates nothing.
    for (let i = 0; i < length; i++) this.bytes[to + i] = bytes[nameStart + i]!;
    this.bytes.fill(0, to + length, this.length);
  }
}
