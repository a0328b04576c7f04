import type { ChunkRef } from '../blob/view.ts';
import { decodeChunk } from '../wire/rafs/chunk.ts';
import type { Bootstrap } from './bootstrap.ts';
import { ChunkAt, DirectoryAt, type Image, S_IFDIR, S_IFMT, S_IFREG } from './image.ts';
import { ImageV5 } from './image-v5.ts';
import { ImageV6 } from './image-v6.ts';

/**
 * Chunks of the given inodes, a directory standing for all below it, each inode once; by default the bootstrap's own list. Lazy, so that a
 * caller may stop or pace. Damaged inodes are passed over: prefetching is a hint.
 */
export function* prefetchChunks(
  bootstrap: Bootstrap,
  roots: readonly number[] = bootstrap.prefetch,
): Generator<{ readonly blobIndex: number; readonly chunk: ChunkRef }> {
  const image = bootstrap.version === 5 ? new ImageV5(bootstrap, false) : new ImageV6(bootstrap);
  const seen = new Set<number>();
  const stack = [...roots].reverse();
  for (let lo = stack.pop(); lo !== undefined; lo = stack.pop()) {
    if (seen.has(lo) || image.check(lo) !== 0) continue;
    seen.add(lo);
    const type = image.mode(lo) & S_IFMT;
    if (type === S_IFDIR) for (const child of children(image, lo)) stack.push(child);
    else if (type === S_IFREG) yield* chunksOf(bootstrap, image, lo);
  }
}

/** In reverse, so that a stack gives them back in order. */
function children(image: Image, lo: number): number[] {
  const entry = new DirectoryAt();
  const all: number[] = [];
  for (let cookie = 0; image.entry(lo, cookie, entry) === 1; cookie = entry.cookie)
    if (!entry.dot) all.push(entry.lo);
  return all.reverse();
}

function* chunksOf(
  bootstrap: Bootstrap,
  image: Image,
  lo: number,
): Generator<{ readonly blobIndex: number; readonly chunk: ChunkRef }> {
  const at = new ChunkAt();
  const chunks = Math.ceil(image.size(lo) / bootstrap.chunkSize);
  for (let i = 0; i < chunks; i++) {
    // Holes of a sparse file of hostile size would make this endless.
    if (image.chunk(lo, i, at) !== 0 || at.hole) return;
    const record = at.record < 0 ? null : { ...decodeChunk(bootstrap.view, at.record), index: at.index };
    yield { blobIndex: at.blob, chunk: { index: at.index, record } };
  }
}
