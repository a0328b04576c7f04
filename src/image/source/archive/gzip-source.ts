import { createHash } from 'node:crypto';
import type { Turns } from '../../../lib/turns.ts';
import { GzipReport } from '../../../native/gzip-index.ts';
import { addon } from '../../../native/index.ts';
import { ImageError } from '../../model/error.ts';
import type { ByteSource } from '../tar/byte-source.ts';
import type { ArchiveSource } from './plain-source.ts';

/**
 * Compressed bytes inflated from one buffer. The original has the same: where a block ends with the buffer, its end is
 * seen only with the next bytes, so the size decides where slices begin.
 */
const INPUT_SIZE = 1 << 16;
/** Plain bytes handed out at most at a time. */
const OUTPUT_SIZE = 1 << 18;

/** A place in a gzip file where inflating can begin. */
export interface InflateStart {
  /** Byte of the file with the first bit that is not in `byte`, and bytes of plain data before it. */
  readonly inOffset: number;
  readonly outOffset: number;
  /** The upper `bits` bits of the byte before `inOffset` come first. */
  readonly bits: number;
  readonly byte: number;
  /** The window: what precedes `outOffset` in the same member, at most 32 KiB. */
  readonly dictionary: Buffer;
}

/** How far inflating is. */
export interface GzipPosition {
  /** Bytes of the file used. */
  readonly totalIn: number;
  /** Bytes of plain data produced. */
  readonly totalOut: number;
  /** Where the deflate block reached last begins, or a member's trailer. */
  readonly boundaryIn: number;
}

/**
 * The plain bytes of a gzip file of one member or several, with places where inflating could begin anew. It
 * inflates no further than it is asked: `next(wanted)` gives at most `wanted` bytes, which makes `position` and
 * `state` those of the reader.
 */
export class GzipSource implements ArchiveSource {
  readonly name: string;
  readonly #source: ByteSource;
  readonly #turns: Turns;
  readonly #index = newIndex();
  readonly #hash = createHash('sha256');
  readonly #report = new Float64Array(GzipReport.size);
  readonly #input = Buffer.allocUnsafeSlow(INPUT_SIZE);
  readonly #output = Buffer.allocUnsafeSlow(OUTPUT_SIZE);
  #inputStart = 0;
  #inputEnd = 0;
  /** Of the compressed source: what did not fit the input buffer. */
  #rest: Buffer = Buffer.alloc(0);
  #ended = false;
  #size = 0;

  /** `source` gives the compressed bytes; it is closed with this one. */
  constructor(source: ByteSource, turns: Turns) {
    this.name = source.name;
    this.#source = source;
    this.#turns = turns;
  }

  async next(wanted: number = OUTPUT_SIZE): Promise<Buffer | null> {
    const report = this.#report;
    const limit = Math.min(wanted, OUTPUT_SIZE);
    for (let filled = 0; ; ) {
      // A small file may hold gigabytes of zeros behind its last entry, a large one blocks of nothing.
      const turn = this.#turns.next();
      if (turn !== undefined) await turn;
      if (this.#inputStart === this.#inputEnd && !(await this.#refill())) {
        if (report[GzipReport.insideMember] !== 0)
          throw this.#damaged(`ends within a gzip member, at byte ${this.#size}`);
        return filled === 0 ? null : this.#output.subarray(0, filled);
      }
      this.#inflate(filled, limit);
      filled += report[GzipReport.produced]!;
      if (filled === limit) return this.#output.subarray(0, filled);
    }
  }

  #inflate(from: number, to: number): void {
    const report = this.#report;
    const result = addon.gzipIndexRead(
      this.#index,
      this.#input,
      this.#inputStart,
      this.#inputEnd,
      this.#output,
      from,
      to,
      report,
    );
    if (result < 0) throw this.#damaged(`damaged gzip data near byte ${report[GzipReport.totalIn]}`);
    this.#inputStart += report[GzipReport.consumed]!;
  }

  /** Fills the whole input buffer, unless the source ends before; false if it has ended. */
  async #refill(): Promise<boolean> {
    this.#inputStart = this.#inputEnd = 0;
    while (this.#inputEnd < INPUT_SIZE && !this.#ended) {
      if (this.#rest.length === 0) {
        const next = this.#source.next();
        const piece = next instanceof Promise ? await next : next;
        if (piece === null) {
          this.#ended = true;
          break;
        }
        this.#rest = piece;
      }
      const count = this.#rest.copy(this.#input, this.#inputEnd);
      this.#rest = this.#rest.subarray(count);
      this.#inputEnd += count;
    }
    this.#hash.update(this.#input.subarray(0, this.#inputEnd));
    this.#size += this.#inputEnd;
    return this.#inputEnd > 0;
  }

  close(): void {
    this.#source.close();
  }

  /** Byte of the plain data that is handed out next. */
  get position(): number {
    return this.#report[GzipReport.totalOut]!;
  }

  get state(): GzipPosition {
    const report = this.#report;
    return {
      totalIn: report[GzipReport.totalIn]!,
      totalOut: report[GzipReport.totalOut]!,
      boundaryIn: report[GzipReport.boundaryIn]!,
    };
  }

  /** The last place before `state` where inflating could begin. */
  start(): InflateStart {
    const report = this.#report;
    const dictionary = Buffer.alloc(report[GzipReport.dictionarySize]!);
    addon.gzipIndexDictionary(this.#index, dictionary);
    return {
      inOffset: report[GzipReport.blockIn]!,
      outOffset: report[GzipReport.blockOut]!,
      bits: report[GzipReport.blockBits]!,
      byte: report[GzipReport.blockByte]!,
      dictionary,
    };
  }

  /** Size and SHA-256 (hexadecimal) of the file, once `next` has returned null. */
  finish(): { readonly size: number; readonly digest: string } {
    return { size: this.#size, digest: this.#hash.digest('hex') };
  }

  #damaged(rule: string): ImageError {
    return new ImageError('IMAGE_BAD_SOURCE', `${this.name}: ${rule}`);
  }
}

function newIndex(): Exclude<ReturnType<typeof addon.gzipIndexCreate>, number> {
  const index = addon.gzipIndexCreate();
  if (typeof index === 'number') throw new ImageError('IMAGE_BAD_SOURCE', 'no memory to inflate gzip data');
  return index;
}
