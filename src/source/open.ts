import type { BlobSource } from '../blob/source.ts';
import { type LocalfsConfig, LocalfsSource } from './localfs.ts';

/** A back end as a configuration names it. */
type SourceConfig = { readonly type: 'localfs'; readonly localfs: LocalfsConfig };

/** The back end of a configuration. Throws SourceError for one that says too little. The caller closes it. */
export function openSource(config: SourceConfig): BlobSource {
  return new LocalfsSource(config.localfs);
}
