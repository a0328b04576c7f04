export { readU64, writeU64 } from '../../lib/u64.ts';

/** Little-endian i64 as a number (times before 1970 are negative). */
export function readI64(view: DataView, at: number): number {
  return view.getInt32(at + 4, true) * 0x1_0000_0000 + view.getUint32(at, true);
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

/**
 * Whether text has no control characters: a line break or an escape sequence would forge lines of the logs and reports
 * that name it.
 */
export function isPlainText(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit < 0x20 || unit === 0x7f) return false;
  }
  return true;
}
