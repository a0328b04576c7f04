import { Turns } from '../../lib/turns.ts';
import { StargzStore } from '../blob/archive/stargz-store.ts';
import { ImageError, interrupted } from '../model/error.ts';
import { type ImageNode, inOrder } from '../model/node.ts';
import {
  parseStargzIndex,
  STARGZ_INDEX_BYTES_MAX,
  type StargzEntry,
  tarMemberOf,
} from '../source/archive/stargz-index.ts';
import { openByteSource } from '../source/tar/byte-source.ts';
import { TarTree } from '../source/tar/tree.ts';
import type { CreateOptions, CreateResult } from './create.ts';
import { BuildProgress } from './progress.ts';
import { loadRefEarlier, numberTree, type RefOutput, writeRefImage } from './ref-image.ts';

/** An image over an eStargz layer of which only the index is at hand. */
interface StargzOptions extends RefOutput, Pick<CreateOptions, 'signal' | 'onProgress'> {
  /** The `stargz.index.json`. */
  readonly index: Buffer;
  /** Id and size of the layer, in bytes. */
  readonly blobId: string;
  readonly blobSize: number;
}

/** Builds a v6 image whose data is an eStargz layer that is elsewhere. Throws ImageError, also for a hostile index. */
export async function createStargz(options: StargzOptions): Promise<CreateResult> {
  const turns = new Turns(options.signal, interrupted);
  const progress = new BuildProgress(options.onProgress, turns);
  const name = options.index.toString();
  const entries = parseStargzIndex(await readIndex(options, name), name);
  const { parent, table } = await loadRefEarlier(options);
  const store = new StargzStore(name, options.blobSize, options.chunkSize, table);
  const tree = new TarTree(name, options.explicitUidGid);
  const files = new Set<ImageNode>();
  for (const entry of entries) {
    addEntry(entry, tree, store, files);
    const turn = progress.onEntry();
    if (turn !== undefined) await turn;
  }
  store.finish();
  turns.throwIfAborted();
  const root = tree.finish();
  const reached = new Set(inOrder(root));
  for (const file of files) {
    if (!reached.has(file))
      throw new ImageError('IMAGE_BAD_SOURCE', `${name}: ${file.sourcePath}: more than one entry`);
  }
  const image = { tree: numberTree(root, parent, options), table, data: store };
  return writeRefImage(image, { digest: options.blobId, size: options.blobSize }, options);
}

function addEntry(entry: StargzEntry, tree: TarTree, store: StargzStore, files: Set<ImageNode>): void {
  if (entry.type === 'chunk') {
    store.addChunk(entry);
    return;
  }
  const node = tree.add(tarMemberOf(entry));
  if (entry.type !== 'reg' || node === null) return;
  store.addFile(entry, node);
  files.add(node);
}

async function readIndex(options: StargzOptions, name: string): Promise<Buffer> {
  const source = openByteSource(options.index, options.signal);
  try {
    const pieces: Buffer[] = [];
    let size = 0;
    for (let piece = await source.next(); piece !== null; piece = await source.next()) {
      size += piece.length;
      if (size > STARGZ_INDEX_BYTES_MAX)
        throw new ImageError(
          'IMAGE_TOO_LARGE',
          `${name}: an index of more than ${STARGZ_INDEX_BYTES_MAX} bytes`,
        );
      pieces.push(Buffer.from(piece));
    }
    return Buffer.concat(pieces);
  } finally {
    source.close();
  }
}
