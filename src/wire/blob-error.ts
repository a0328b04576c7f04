import { CodedError } from '../lib/coded-error.ts';

/** Why a blob, its chunk info or its cache was refused; stable across releases. */
type BlobErrorCode =
  | 'BLOB_BAD_SPEC'
  | 'BLOB_BAD_META'
  | 'BLOB_BAD_TOC'
  | 'BLOB_BAD_CHUNK_MAP'
  | 'BLOB_BAD_CHUNK'
  | 'BLOB_CACHE_SIZE'
  | 'BLOB_CORRUPT'
  | 'BLOB_CLOSED'
  | 'BLOB_NOT_SUPPORTED';

/** A blob that cannot be used, or one of its chunks. The message names the field, its value and the rule it breaks. */
export class BlobError extends CodedError<BlobErrorCode> {}

/** Throws a BlobError `field = value: rule` unless `ok`. */
export function checkBlob(
  ok: boolean,
  code: BlobErrorCode,
  field: string,
  value: unknown,
  rule: string,
): void {
  if (!ok) throw new BlobError(code, `${field} = ${String(value)}: ${rule}`);
}
