import { decodeText, isPlainText } from './bytes.ts';
import { check } from './error.ts';

/**
 * The blob id in `bytes`, which ends at the first NUL. Throws RafsError where it is empty, not UTF-8, or has control
 * characters.
 */
export function decodeBlobId(bytes: Uint8Array, field: string): string {
  const id = decodeText(bytes);
  const ok = id !== null && id !== '' && isPlainText(id);
  check(ok, 'RAFS_BAD_BLOB', field, JSON.stringify(id), 'UTF-8, not empty, no control characters');
  return id!;
}
