import type { Turns } from '../../../lib/turns.ts';
import type { Progress } from '../../create/create.ts';
import type { ImageNode } from '../../model/node.ts';
import { type ByteSource, recognizeGzip } from '../tar/byte-source.ts';
import { type FileStore, readTar } from '../tar/tar-source.ts';
import { GzipSource } from './gzip-source.ts';
import { type ArchiveSource, PlainSource } from './plain-source.ts';

/** An archive to refer to: inflated step by step if it is gzip, otherwise as it is. Closing it closes `source`. */
export async function openArchive(source: ByteSource, turns: Turns): Promise<ArchiveSource> {
  try {
    const { isGzip, source: whole } = await recognizeGzip(source);
    return isGzip ? new GzipSource(whole, turns) : new PlainSource(whole, turns);
  } catch (error) {
    source.close();
    throw error;
  }
}

/** What reading an archive takes from a build's options. */
export interface ReadOptions {
  readonly explicitUidGid: boolean;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

/** Reads the whole archive: the tree, not numbered yet, whose files `store` has seen. */
export async function readArchive(
  source: ArchiveSource,
  store: FileStore,
  options: ReadOptions,
  progress: Progress,
  turns: Turns,
): Promise<ImageNode> {
  const onEntry = (): Promise<void> | undefined => {
    progress.entries++;
    options.onProgress?.(progress);
    return turns.next();
  };
  const root = await readTar(source, {
    explicitUidGid: options.explicitUidGid,
    onEntry,
    chunker: () => store,
  });
  turns.throwIfAborted();
  return root;
}
