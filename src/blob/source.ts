import { CodedError } from '../lib/coded-error.ts';

/** Where compressed blob bytes come from: localfs now; registry, OSS, S3, http-proxy and peers implement the same. */
export interface BlobSource {
  /** Name of the back end for logs and metrics, e.g. `localfs`. */
  readonly kind: string;
  /** Size of the object in bytes. Rejects with a SourceError that names the object and the place. */
  size(objectId: string): Promise<number>;
  /** Reads exactly `into.length` bytes at `offset`; rejects on a short read. */
  read(objectId: string, offset: number, into: Uint8Array): Promise<void>;
  /** A local fd with the object's bytes, if there is one (localfs); the caller closes it. Null otherwise. */
  openLocal(objectId: string): Promise<number | null>;
  close(): Promise<void>;
}

/** `size` bytes at `offset` in a buffer of their own. The caller has bound `size`. Rejects as `BlobSource.read`. */
export async function readAt(
  source: BlobSource,
  objectId: string,
  offset: number,
  size: number,
): Promise<Uint8Array> {
  const bytes = Buffer.allocUnsafeSlow(size);
  await source.read(objectId, offset, bytes);
  return bytes;
}

/** A back end could not give the bytes. `code` is stable: SOURCE_NOT_FOUND, SOURCE_SHORT_READ, SOURCE_IO. */
export class SourceError extends CodedError<string> {}
