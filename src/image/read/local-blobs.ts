import type { BlobSource } from '../../blob/source.ts';
import type { LocalfsConfig } from '../../source/localfs.ts';
import { openSource } from '../../source/open.ts';

/** Where an image's blobs are read from; the caller closes it. */
export type { BlobSource };

/**
 * Blobs in a directory, or as the `localfs` section of a configuration says. Throws SourceError when that says nothing.
 */
export function localBlobs(place: string | LocalfsConfig): BlobSource {
  return openSource({ type: 'localfs', localfs: typeof place === 'string' ? { dir: place } : place });
}
