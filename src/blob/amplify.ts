import type { Chunk, ChunkTable } from './chunk-table.ts';
import { isContiguous } from './plan.ts';

/**
 * Chunks that come cheaply with a read of `asked`: the other members of a batch or slice, which are decoded anyway,
 * and chunks that follow in the blob until a read has `amplifyBytes`. `isWanted` tells whether a chunk is missing; a
 * chunk is answered once.
 */
export function amplified(
  asked: readonly Chunk[],
  table: ChunkTable,
  amplifyBytes: number,
  isWanted: (chunk: Chunk) => boolean,
): Chunk[] {
  const taken = new Map<number, Chunk>();
  const isNew = (chunk: Chunk) => !taken.has(chunk.key) && isWanted(chunk);
  const take = (chunk: Chunk) => taken.set(chunk.key, chunk);
  for (const chunk of asked) if (chunk.context >= 0) addSiblings(chunk, table, isNew, take);
  if (amplifyBytes > 0) {
    const sorted = [...asked, ...taken.values()].sort((a, b) => a.index - b.index);
    for (const [i, chunk] of sorted.entries()) {
      if (sorted[i + 1]?.index === chunk.index + 1) continue;
      extend(chunk, table, amplifyBytes, isNew, take);
    }
  }
  return [...taken.values()];
}

function addSiblings(
  chunk: Chunk,
  table: ChunkTable,
  isNew: (chunk: Chunk) => boolean,
  take: (chunk: Chunk) => void,
): void {
  for (const step of [-1, 1]) {
    for (let index = chunk.index + step; ; index += step) {
      const sibling = table.at(index);
      if (!sibling || sibling.unit !== chunk.unit) break;
      if (isNew(sibling)) take(sibling);
    }
  }
}

function extend(
  from: Chunk,
  table: ChunkTable,
  amplifyBytes: number,
  isNew: (chunk: Chunk) => boolean,
  take: (chunk: Chunk) => void,
): void {
  const start = from.unit.start;
  let end = start + from.unit.size;
  for (let index = from.index + 1; end - start < amplifyBytes; index++) {
    const next = table.at(index);
    if (!next) return;
    const nextEnd = next.unit.start + next.unit.size;
    if (next.unit.start < start || nextEnd - start > amplifyBytes) return;
    if (!isContiguous(end, next.unit.start, end - start) || !isNew(next)) return;
    take(next);
    end = Math.max(end, nextEnd);
  }
}
