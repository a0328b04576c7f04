import { Turns } from '../../lib/turns.ts';
import { RefStore } from '../blob/archive/ref-store.ts';
import { CacheFiles } from '../blob/cache-files.ts';
import { interrupted } from '../model/error.ts';
import { openArchive } from '../source/archive/archive.ts';
import { openByteSource } from '../source/tar/byte-source.ts';
import { readTar } from '../source/tar/tar-source.ts';
import type { CreateOptions, CreateResult } from './create.ts';
import { BuildProgress } from './progress.ts';
import { loadRefEarlier, numberTree, type RefOutput, writeRefImage } from './ref-image.ts';

/** An image over an archive that stays as it is. */
interface RefOptions extends RefOutput, Pick<CreateOptions, 'signal' | 'onProgress'> {
  /** The tar or tar.gz; `-` for standard input. */
  readonly archive: Buffer;
}

/**
 * Builds a v6 image whose data is the archive itself: a tar.gz with places where inflating can begin ("zran"), or a
 * plain tar. Beside the bootstrap it makes a meta blob, named by its SHA-256. Throws ImageError; aborting the signal
 * ends the build with IMAGE_ABORTED.
 */
export async function createRef(options: RefOptions): Promise<CreateResult> {
  const turns = new Turns(options.signal, interrupted);
  const progress = new BuildProgress(options.onProgress, turns);
  const { parent, table } = await loadRefEarlier(options);
  const source = await openArchive(openByteSource(options.archive, options.signal), turns);
  // Made with the first chunk: an archive that is refused leaves no trace.
  const made: { cache: CacheFiles | null } = { cache: null };
  try {
    const data = new RefStore(source, {
      chunkSize: options.chunkSize,
      turns,
      earlier: table,
      onStore: (chunk, bytes) => {
        if (options.cacheDir === undefined) return;
        made.cache ??= new CacheFiles(options.cacheDir);
        made.cache.addChunk(chunk, bytes);
      },
      onChunk: progress.onChunk,
    });
    const root = await readTar(source, {
      explicitUidGid: options.explicitUidGid,
      store: () => data,
      onEntry: progress.onEntry,
    });
    turns.throwIfAborted();
    const tree = numberTree(root, parent, options);
    return await writeRefImage({ tree, table, data, ...made }, source.finish(), options);
  } finally {
    made.cache?.discard();
    source.close();
  }
}
