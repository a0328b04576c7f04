import { CodedError } from '../../lib/coded-error.ts';

/** Why an image could not be built; stable across releases. */
type ImageErrorCode =
  | 'IMAGE_BAD_SOURCE'
  | 'IMAGE_UNREADABLE'
  | 'IMAGE_CHANGED'
  | 'IMAGE_BAD_XATTR'
  | 'IMAGE_TOO_LARGE'
  | 'IMAGE_DAMAGED'
  | 'IMAGE_INCOMPATIBLE'
  | 'IMAGE_WRITE'
  | 'IMAGE_ABORTED';

/** A build that failed; the message names the path and the rule. */
export class ImageError extends CodedError<ImageErrorCode> {}

/** Message of anything thrown. */
export function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** What work ends with when the user ends it. */
export function interrupted(): ImageError {
  return new ImageError('IMAGE_ABORTED', 'interrupted');
}

/** Throws IMAGE_ABORTED if the signal is aborted. */
export function throwIfInterrupted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw interrupted();
}

/**
 * Why `path` could not be written: IMAGE_ABORTED if the signal is aborted, an ImageError as it is,
 * IMAGE_WRITE for anything else.
 */
export function writeFailure(path: string, cause: unknown, signal?: AbortSignal): ImageError {
  if (signal?.aborted) return interrupted();
  if (cause instanceof ImageError) return cause;
  return new ImageError('IMAGE_WRITE', `${path}: ${reason(cause)}`, { cause });
}
