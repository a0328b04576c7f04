import type { BlobSource } from '../../blob/source.ts';
import { type LocalfsConfig, LocalfsSource } from '../../source/localfs.ts';

/** Where an image's blobs are read from; the caller closes it. */
export type { BlobSource };

/**
 * Blobs in a directory, or as the `localfs` section of a configuration says. Throws SourceError when that says nothing.
 */
export function localBlobs(place: string | LocalfsConfig): BlobSource {
  return new LocalfsSource(typeof place === 'string' ? { dir: place } : place);
}
