/**
 * Little-endian u64 as a number. Values from 2^53 lose low bits but stay ≥ 2^53, so every bound check refuses them;
 * all bounds in this format are below 2^53.
 */
export function readU64(view: DataView, at: number): number {
  return view.getUint32(at + 4, true) * 0x1_0000_0000 + view.getUint32(at, true);
}

/** Little-endian i64 as a number (times before 1970 are negative). */
export function readI64(view: DataView, at: number): number {
  return view.getInt32(at + 4, true) * 0x1_0000_0000 + view.getUint32(at, true);
}

/** `value` must be an integer in [0, 2^53). */
export function writeU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true);
  view.setUint32(at + 4, Math.floor(value / 0x1_0000_0000), true);
}

/** Next multiple of 8; works beyond 32 bits. */
export function align8(value: number): number {
  return Math.ceil(value / 8) * 8;
}

export function isPowerOfTwo(value: number): boolean {
  return value > 0 && Number.isInteger(Math.log2(value));
}

/** Bytes up to the first NUL, as UTF-8; null if they are not UTF-8. */
export function decodeText(bytes: Uint8Array): string | null {
  const nul = bytes.indexOf(0);
  try {
    return strictUtf8.decode(nul < 0 ? bytes : bytes.subarray(0, nul));
  } catch {
    return null;
  }
}

const strictUtf8 = new TextDecoder('utf-8', { fatal: true });
