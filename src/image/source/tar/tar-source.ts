import { TarError } from '../../../wire/tar.ts';
import { ImageError } from '../../model/error.ts';
import type { ImageNode } from '../../model/node.ts';
import type { TreeContext, TreeSource } from '../tree-source.ts';
import { type ByteSource, openByteSource, openDecompressed } from './byte-source.ts';
import { TarReader } from './reader.ts';
import { TarTree } from './tree.ts';

/**
 * A tar, plain or gzip, as the source of an image: a file, fifo or device, `-` for standard input. It is read once and
 * in constant memory, the tree aside; data is stored in its order.
 */
export function tarSource(path: Buffer): TreeSource {
  return {
    read: async (context) => {
      const source = await openDecompressed(openByteSource(path, context.signal));
      try {
        return await readTar(source, context);
      } finally {
        source.close();
      }
    },
  };
}

/** What reading a tar needs of a build. */
type TarContext = Pick<TreeContext, 'explicitUidGid' | 'store' | 'onEntry'>;

/**
 * The tree of a plain tar, whose data goes to `context.store()`. Reads `source` to its end. Rejects with ImageError.
 */
export async function readTar(source: ByteSource, context: TarContext): Promise<ImageNode> {
  try {
    const reader = new TarReader(source);
    const tree = new TarTree(source.name, context.explicitUidGid);
    for (let entry = await reader.next(); entry !== null; entry = await reader.next()) {
      const turn = context.onEntry?.();
      if (turn !== undefined) await turn;
      const node = tree.add(entry);
      if (node !== null && entry.size > 0) await context.store().addStream(node, reader);
    }
    return tree.finish();
  } catch (error) {
    throw error instanceof TarError
      ? new ImageError('IMAGE_BAD_SOURCE', error.message, { cause: error })
      : error;
  }
}
