/** Repeatable randomness and the mutations that all targets use. */

/** A number in [0, limit). */
export type Random = (limit: number) => number;

/** xorshift32: the same seed gives the same numbers. */
export function generator(seed: number): Random {
  let state = Math.imul(seed, 0x9e3779b1) | 0 || 1;
  return (limit) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % limit;
  };
}

/** The generator of one iteration of a run: any iteration can be repeated alone. */
export function iterationRandom(seed: number, iteration: number): Random {
  const random = generator(Math.imul(seed, 0x85ebca6b) ^ Math.imul(iteration + 1, 0xc2b2ae35));
  // Neighbouring seeds differ in few bits: let them spread.
  for (let i = 0; i < 4; i++) random(2);
  return random;
}

/** Numbers at which lengths, indexes and offsets go wrong. */
export const INTERESTING: readonly number[] = [
  0, 1, 2, 3, 4, 7, 8, 15, 16, 39, 40, 41, 63, 64, 127, 128, 255, 256, 257, 1023, 1024, 1025, 4095, 4096,
  4097, 0x7fff, 0x8000, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xfffffff0, 0xffffffff,
];

export function pick<T>(random: Random, from: readonly T[]): T {
  return from[random(from.length)]!;
}

/** True once in `n`. */
export function oneIn(random: Random, n: number): boolean {
  return random(n) === 0;
}

/** A 64-bit number: small, near a power of two, or anything. */
export function random64(random: Random): bigint {
  const kind = random(4);
  if (kind === 0) return BigInt(pick(random, INTERESTING));
  if (kind === 1) return (1n << BigInt(random(64))) - BigInt(random(3));
  if (kind === 2) return 0xffff_ffff_ffff_ffffn - BigInt(pick(random, INTERESTING));
  return (BigInt(random(2 ** 32)) << 32n) | BigInt(random(2 ** 32));
}

/** Changes one to `most` places of `bytes` behind `from`. */
export function mutateBytes(random: Random, bytes: Uint8Array, from = 0, most = 4): void {
  const room = bytes.length - from;
  if (room <= 0) return;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let n = 1 + random(most); n > 0; n--) {
    const at = from + random(room);
    const kind = random(6);
    if (kind === 0) bytes[at] = random(256);
    else if (kind === 1) bytes[at]! ^= 1 << random(8);
    else if (kind === 2 && at + 2 <= bytes.length) view.setUint16(at, pick(random, INTERESTING), true);
    else if (kind === 3 && at + 4 <= bytes.length) view.setUint32(at, pick(random, INTERESTING), true);
    else if (kind === 4 && (at & ~7) + 8 <= bytes.length)
      view.setBigUint64(at & ~7, BigInt.asUintN(64, random64(random)), true);
    else bytes.copyWithin(at, from + random(room), bytes.length);
  }
}
