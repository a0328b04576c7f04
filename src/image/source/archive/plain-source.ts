import { createHash } from 'node:crypto';
import type { Turns } from '../../../lib/turns.ts';
import type { ByteSource } from '../tar/byte-source.ts';

/** Bytes handed out at most at a time: the reader gets to stop anywhere. */
const PIECE_MAX = 1 << 18;
const NO_BYTES = Buffer.alloc(0);

/** An archive that an image refers to. */
export interface ArchiveSource extends ByteSource {
  /** Byte of the plain archive that is handed out next. */
  readonly position: number;
  /** Size and SHA-256 (hexadecimal) of the file as it is stored, once `next` has returned null. */
  finish(): { readonly size: number; readonly digest: string };
}

/**
 * The bytes of an archive as they are. Counts what has been handed out, never more than is `wanted`, and hashes all.
 */
export class PlainSource implements ArchiveSource {
  readonly name: string;
  readonly #source: ByteSource;
  readonly #turns: Turns;
  readonly #hash = createHash('sha256');
  #rest: Buffer = NO_BYTES;
  #given = 0;

  /** `source` is closed with this one. */
  constructor(source: ByteSource, turns: Turns) {
    this.name = source.name;
    this.#source = source;
    this.#turns = turns;
  }

  async next(wanted: number = PIECE_MAX): Promise<Buffer | null> {
    if (this.#rest.length === 0) {
      const turn = this.#turns.next();
      if (turn !== undefined) await turn;
      const next = this.#source.next();
      const piece = next instanceof Promise ? await next : next;
      if (piece === null) return null;
      this.#hash.update(piece);
      this.#rest = piece;
    }
    const given = this.#rest.subarray(0, Math.min(wanted, PIECE_MAX));
    this.#rest = this.#rest.subarray(given.length);
    this.#given += given.length;
    return given;
  }

  close(): void {
    this.#source.close();
  }

  get position(): number {
    return this.#given;
  }

  finish(): { readonly size: number; readonly digest: string } {
    return { size: this.#given, digest: this.#hash.digest('hex') };
  }
}
