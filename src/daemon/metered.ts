import {
  type Attr,
  type DirectorySink,
  type Entry,
  type FileSystem,
  type Opened,
  PENDING,
  type ReadSink,
  type Statfs,
} from '../fuse/filesystem.ts';
import { Fop, type MountCounters } from './counters.ts';

/** A mount's file system with its operations counted. A READ that is parked counts when it is done. */
export class MeteredFileSystem implements FileSystem {
  readonly #inner: FileSystem;
  readonly #counters: MountCounters;

  constructor(inner: FileSystem, counters: MountCounters) {
    this.#inner = inner;
    this.#counters = counters;
  }

  lookup(hi: number, lo: number, bytes: Uint8Array, nameStart: number, nameEnd: number, out: Entry): number {
    return this.#done(Fop.lookup, lo, this.#inner.lookup(hi, lo, bytes, nameStart, nameEnd, out));
  }
  getattr(hi: number, lo: number, out: Attr): number {
    return this.#done(Fop.getattr, lo, this.#inner.getattr(hi, lo, out));
  }
  readlink(hi: number, lo: number, out: Uint8Array, at: number): number {
    return this.#done(Fop.readlink, lo, this.#inner.readlink(hi, lo, out, at));
  }
  open(hi: number, lo: number, flags: number, out: Opened): number {
    const result = this.#inner.open(hi, lo, flags, out);
    if (result >= 0) this.#counters.opens++;
    return this.#done(Fop.open, lo, result);
  }
  opendir(hi: number, lo: number, flags: number, out: Opened): number {
    return this.#done(Fop.opendir, lo, this.#inner.opendir(hi, lo, flags, out));
  }
  release(hi: number, lo: number, fhHi: number, fhLo: number): number {
    return this.#done(Fop.release, lo, this.#inner.release(hi, lo, fhHi, fhLo));
  }
  read(hi: number, lo: number, offset: number, size: number, sink: ReadSink): number {
    const startMs = performance.now();
    const result = this.#inner.read(hi, lo, offset, size, sink);
    if (result === PENDING) return result;
    if (result >= 0) this.#counters.countRead(lo, result, (performance.now() - startMs) * 1000);
    return this.#done(Fop.read, lo, result);
  }
  readdir(hi: number, lo: number, cookie: number, sink: DirectorySink): number {
    return this.#done(Fop.readdir, lo, this.#inner.readdir(hi, lo, cookie, sink));
  }
  readdirplus(hi: number, lo: number, cookie: number, sink: DirectorySink): number {
    return this.#done(Fop.readdirplus, lo, this.#inner.readdirplus(hi, lo, cookie, sink));
  }
  getxattr(
    hi: number,
    lo: number,
    bytes: Uint8Array,
    nameStart: number,
    nameEnd: number,
    out: Uint8Array,
    at: number,
    capacity: number,
  ): number {
    const result = this.#inner.getxattr(hi, lo, bytes, nameStart, nameEnd, out, at, capacity);
    return this.#done(Fop.getxattr, lo, result);
  }
  listxattr(hi: number, lo: number, out: Uint8Array, at: number, capacity: number): number {
    return this.#done(Fop.listxattr, lo, this.#inner.listxattr(hi, lo, out, at, capacity));
  }
  statfs(hi: number, lo: number, out: Statfs): number {
    return this.#done(Fop.statfs, lo, this.#inner.statfs(hi, lo, out));
  }
  lseek(hi: number, lo: number, offset: number, whence: number): number {
    return this.#inner.lseek(hi, lo, offset, whence);
  }
  forget(hi: number, lo: number, lookups: number): void {
    this.#inner.forget(hi, lo, lookups);
    this.#counters.count(Fop.forget, lo, 0);
  }

  #done(fop: number, lo: number, result: number): number {
    this.#counters.count(fop, lo, result);
    return result;
  }
}
