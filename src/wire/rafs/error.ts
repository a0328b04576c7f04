import { CodedError } from '../../lib/coded-error.ts';

/** Why a bootstrap was refused; stable across releases. */
type RafsErrorCode =
  | 'RAFS_NOT_A_BOOTSTRAP'
  | 'RAFS_TOO_LARGE'
  | 'RAFS_BAD_SUPERBLOCK'
  | 'RAFS_BAD_FLAGS'
  | 'RAFS_BAD_TABLE'
  | 'RAFS_BAD_BLOB'
  | 'RAFS_READ';

/** A bootstrap that cannot be mounted. The message names the field, its value and the rule it breaks. */
export class RafsError extends CodedError<RafsErrorCode> {}

/** Throws a RafsError `field = value: rule` unless `ok`. */
export function check(ok: boolean, code: RafsErrorCode, field: string, value: unknown, rule: string): void {
  if (!ok) throw new RafsError(code, `${field} = ${String(value)}: ${rule}`);
}
