/**
 * Units of blobs in every form, mutated with their tables: what is called good is what the digests say, and so is the
 * file.
 */
import { createCipheriv } from 'node:crypto';
import { closeSync, fstatSync, ftruncateSync, mkdtempSync, openSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { deflateRawSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { digest } from '../../src/lib/content-hash.ts';
import type { Addon } from '../../src/native/addon.ts';
import { UnitDigest, UnitKind, UnitPiece, UnitVerdict } from '../../src/native/unit.ts';
import { onPool } from '../support/pool.ts';
import { INTERESTING, mutateBytes, oneIn, pick, type Random } from './random.ts';
import type { Counts, Target } from './runner.ts';

const { EBADMSG, EINVAL, ERANGE, ECANCELED, ENOSPC } = {
  ...{ EBADMSG: -74, EINVAL: -22, ERANGE: -34 },
  ...{ ECANCELED: -125, ENOSPC: -28 },
};
const DIGEST_BYTES = 32;
/** Bytes on both sides of the target which nobody may write. */
const BORDER = 64;
const BORDER_BYTE = 0xaa;
/** What a file may grow to: it is compared as a whole. */
const FILE_BYTES_MAX = 1 << 20;

/** Arguments of `landUnit`. */
interface Unit {
  kind: number;
  bits: number;
  byte: number;
  src: Uint8Array;
  readonly area: Buffer;
  dst: Buffer;
  cipher: Buffer | null;
  dictionary: Buffer | null;
  readonly pieces: Float64Array;
  readonly digests: Buffer;
}

function content(random: Random): Buffer {
  const size = pick(random, [0, 1, 15, 16, 17, 1024, 1025, 4096, random(5000), random(40_000)]);
  const bytes = Buffer.alloc(size, `text ${random(10)} of a unit, `);
  if (oneIn(random, 3)) for (let i = 0; i < size; i++) bytes[i] = random(256);
  return bytes;
}

function encrypted(cipher: Buffer, bytes: Uint8Array): Buffer {
  const fill = 16 - bytes.length;
  const plain =
    fill > 0 ? Buffer.concat([bytes, Buffer.alloc(fill, fill), Buffer.from([0x78, 0x90])]) : bytes;
  const stream = createCipheriv('aes-128-xts', cipher.subarray(0, 32), cipher.subarray(32));
  return Buffer.concat([stream.update(plain), stream.final()]);
}

/** Rows of pieces with their digests and CRCs, all right. */
function tableOf(random: Random, addon: Addon, plain: Buffer): Pick<Unit, 'pieces' | 'digests'> {
  const count = random(6);
  const pieces = new Float64Array(count * UnitPiece.columns);
  const digests = Buffer.alloc(count * DIGEST_BYTES);
  for (let i = 0; i < count; i++) {
    const at = random(plain.length + 1);
    const length = random(plain.length - at + 1);
    const bytes = plain.subarray(at, at + length);
    const kind = random(3);
    const algorithm = kind === UnitDigest.sha256 ? 'sha256' : 'blake3';
    digest(algorithm, bytes).copy(digests, i * DIGEST_BYTES);
    const place = oneIn(random, 4) ? -1 : random(FILE_BYTES_MAX - length);
    const crc = oneIn(random, 2) ? -1 : addon.crc32c(bytes);
    pieces.set([at, length, place, crc, kind, i * DIGEST_BYTES], i * UnitPiece.columns);
  }
  return { pieces, digests };
}

function stored(addon: Addon, kind: number, plain: Buffer, dictionary: Buffer | null): Buffer {
  if (kind === UnitKind.gzip) return gzipSync(plain);
  if (kind === UnitKind.zstd) return zstdCompressSync(plain);
  if (kind === UnitKind.zran) return deflateRawSync(plain, dictionary === null ? {} : { dictionary });
  if (kind === UnitKind.none) return plain;
  const block = Buffer.alloc(2 * plain.length + 64);
  return block.subarray(0, addon.lz4Encode(plain, block));
}

function unitOf(random: Random, addon: Addon): Unit {
  const plain = content(random);
  const kind = random(5);
  const dictionary = kind === UnitKind.zran && oneIn(random, 2) ? Buffer.alloc(100, 'text of a unit') : null;
  const cipher = oneIn(random, 3) ? Buffer.from(Array.from({ length: 48 }, () => random(256))) : null;
  const maybeRaw = kind !== UnitKind.zran && oneIn(random, 4);
  const bytes = stored(addon, maybeRaw && oneIn(random, 2) ? UnitKind.none : kind, plain, dictionary);
  // Compressed bytes that are by chance as many as the plain ones are not what a builder keeps.
  const isRaw = maybeRaw && bytes.length === plain.length;
  const kept = isRaw ? plain : bytes;
  const area = Buffer.alloc(plain.length + 2 * BORDER, BORDER_BYTE);
  return {
    kind: kind | (maybeRaw ? UnitKind.maybeRaw : 0),
    ...{ bits: 0, byte: 0, cipher, dictionary, area },
    src: cipher === null ? kept : encrypted(cipher, kept),
    dst: area.subarray(BORDER, BORDER + plain.length),
    ...tableOf(random, addon, plain),
  };
}

/** Changes one thing. */
function mutate(random: Random, unit: Unit): void {
  const what = random(8);
  const src = Buffer.from(unit.src);
  if (what === 0) mutateBytes(random, src);
  unit.src = what === 1 ? src.subarray(0, random(src.length + 1)) : src;
  if (what === 2) unit.dst = unit.dst.subarray(random(unit.dst.length + 1));
  if (what === 3) mutateBytes(random, unit.digests);
  if (what === 4) unit.cipher = oneIn(random, 2) ? null : Buffer.alloc(pick(random, [0, 47, 48, 49]));
  if (what === 5) unit.kind = random(18);
  if (what === 6) [unit.bits, unit.byte] = [random(10), random(260)];
  if (what !== 7 || unit.pieces.length === 0) return;
  const at = random(unit.pieces.length);
  const near = unit.pieces[at]! + random(64) - 32;
  const cell = pick(random, [near, near, -1, 0.5, Number.NaN, 2 ** 53 - 1, pick(random, INTERESTING)]);
  const isPlace = at % UnitPiece.columns === UnitPiece.cacheOffset;
  // A place far behind makes a sparse file too large to be compared.
  unit.pieces[at] = isPlace && cell > FILE_BYTES_MAX && cell < 2 ** 40 ? FILE_BYTES_MAX : cell;
}

class UnitTarget implements Target {
  readonly #addon: Addon;
  readonly #directory = mkdtempSync(join(tmpdir(), 'unit-'));
  readonly #fd = openSync(join(this.#directory, 'cache'), 'w+');
  readonly #full = openSync('/dev/full', 'w');

  constructor(addon: Addon) {
    this.#addon = addon;
  }

  async iterate(random: Random, counts: Counts): Promise<void> {
    const unit = unitOf(random, this.#addon);
    const isMutated = !oneIn(random, 4);
    if (isMutated) for (let n = 1 + random(2); n > 0; n--) mutate(random, unit);
    const fd = pick(random, [this.#fd, this.#fd, this.#fd, this.#full, -1]);
    const verdicts = new Int32Array(unit.pieces.length / UnitPiece.columns);
    const { kind, bits, byte, src, dst, cipher, dictionary, pieces, digests } = unit;
    ftruncateSync(this.#fd);
    const result = await onPool((done) =>
      this.#addon.landUnit(
        ...([fd, kind, bits, byte, src, dst, cipher, dictionary, pieces, digests, verdicts, done] as const),
      ),
    );
    const isGood = result === 0 && verdicts.every((verdict) => verdict <= 0);
    if (!isMutated && !isGood) throw new Error(`refused, but nothing is wrong: ${result}, ${verdicts}`);
    if (isGood) counts.accepted++;
    else counts.refused++;
    this.#checkTarget(unit);
    this.#checkResult(result, verdicts, fd === this.#full);
    this.#checkPieces(unit, result, verdicts);
    this.#checkFile(unit, result, fd === this.#fd ? verdicts : verdicts.fill(ECANCELED));
  }

  #checkTarget({ area, dst }: Unit): void {
    const [from, to] = [dst.byteOffset - area.byteOffset, dst.byteOffset - area.byteOffset + dst.length];
    const isClean = (bytes: Buffer): boolean => bytes.every((byte) => byte === BORDER_BYTE);
    if (!isClean(area.subarray(0, from)) || !isClean(area.subarray(to)))
      throw new Error('bytes beside the target were written');
  }

  #checkResult(result: number, verdicts: Int32Array, isFull: boolean): void {
    if (![0, EBADMSG, ERANGE, EINVAL].includes(result)) throw new Error(`a result of ${result}`);
    const { good, wrongCrc, wrongDigest } = UnitVerdict;
    const known: readonly number[] = [good, wrongCrc, wrongDigest, ...(isFull ? [ENOSPC] : [])];
    for (const verdict of verdicts) {
      const isKnown = result === 0 ? known.includes(verdict) : verdict === 0 || verdict === ECANCELED;
      if (!isKnown) throw new Error(`a verdict of ${verdict} with result ${result}`);
    }
  }

  #checkPieces({ dst, pieces, digests }: Unit, result: number, verdicts: Int32Array): void {
    if (result !== 0) return;
    for (const [i, verdict] of verdicts.entries()) {
      const row = pieces.subarray(i * UnitPiece.columns);
      const bytes = dst.subarray(row[UnitPiece.at]!, row[UnitPiece.at]! + row[UnitPiece.length]!);
      const algorithm = row[UnitPiece.digest] === UnitDigest.sha256 ? 'sha256' : 'blake3';
      const expected = digests.subarray(row[UnitPiece.digestAt]!, row[UnitPiece.digestAt]! + DIGEST_BYTES);
      const isRight = row[UnitPiece.digest] === UnitDigest.none || digest(algorithm, bytes).equals(expected);
      if (verdict <= 0 && !isRight) throw new Error(`accepted, but piece ${i} has not its digest`);
      if (verdict === UnitVerdict.wrongDigest && isRight) throw new Error(`piece ${i} has its digest`);
    }
  }

  /** Every byte of the file is that of a good piece there, or a hole. */
  #checkFile({ dst, pieces }: Unit, result: number, verdicts: Int32Array): void {
    const size = fstatSync(this.#fd).size;
    const good = Array.from(verdicts, (verdict, i) => ({
      verdict,
      row: pieces.subarray(i * UnitPiece.columns),
    }))
      .filter(({ verdict, row }) => result === 0 && verdict === 0 && row[UnitPiece.cacheOffset]! >= 0)
      .map(({ row }) => ({
        place: row[UnitPiece.cacheOffset]!,
        bytes: dst.subarray(row[UnitPiece.at]!, row[UnitPiece.at]! + row[UnitPiece.length]!),
      }))
      .filter(({ bytes }) => bytes.length > 0);
    const ends = good.map(({ place, bytes }) => place + bytes.length);
    if (size !== Math.max(0, ...ends)) throw new Error(`a file of ${size} bytes`);
    if (size > 4 * FILE_BYTES_MAX) return;
    const file = Buffer.alloc(size);
    readSync(this.#fd, file, 0, size, 0);
    const holes = Buffer.from(file);
    for (const { place, bytes } of good) {
      const others = good.filter(
        (other) => other.place < place + bytes.length && place < other.place + other.bytes.length,
      );
      if (others.length === 1 && !file.subarray(place, place + bytes.length).equals(bytes))
        throw new Error(`the file has other bytes at ${place}`);
      holes.fill(0, place, place + bytes.length);
    }
    if (holes.some((byte) => byte !== 0)) throw new Error('the file has bytes that nobody landed');
  }

  close(): void {
    closeSync(this.#fd);
    closeSync(this.#full);
    rmSync(this.#directory, { recursive: true });
  }
}

/** Fuzzes the landing of units. */
export function unitTarget(addon: Addon): Target {
  return new UnitTarget(addon);
}
