const TWO_32 = 0x1_0000_0000;

/**
 * Little-endian u64 as a number. Values from 2^53 lose low bits but stay ≥ 2^53, so that every bound check against a
 * size refuses them.
 */
export function readU64(view: DataView, at: number): number {
  return view.getUint32(at + 4, true) * TWO_32 + view.getUint32(at, true);
}

/** Writes an integer in (-2^53, 2^53) as little-endian u64; negative ones in two's complement. */
export function writeU64(view: DataView, at: number, value: number): void {
  const high = Math.floor(value / TWO_32);
  view.setUint32(at, value - high * TWO_32, true);
  view.setUint32(at + 4, high, true);
}
