import type { ImageBlob } from '../model/blob.ts';
import type { StoredChunk } from '../model/chunk.ts';
import type { NumberedTree } from '../model/node.ts';
import { contentKey } from '../rewrite/carry-over.ts';

/** Which blobs are worth to be written anew. Sizes in compressed bytes. */
export interface CompactRules {
  /** Blobs of which less than this many percent are used lose the rest; 0: none. */
  readonly minUsedPercent: number;
  /** Blobs smaller than this are put together. */
  readonly compactBlobSize: number;
  /** As long as the result is not larger than this. */
  readonly maxCompactSize: number;
}

/** The blobs before, and who uses them. */
export interface CompactInput {
  readonly tree: NumberedTree;
  readonly blobs: readonly ImageBlob[];
  /** Places in `blobs` of those that a chunk dictionary has: they stay as they are. */
  readonly dictionaryBlobs: ReadonlySet<number>;
  /** A chunk of the dictionary with the same content. */
  readonly findInDictionary: (chunk: StoredChunk) => StoredChunk | undefined;
}

/** A blob afterwards: one that was there before, or chunks for a new one in their order. */
type PlannedBlob = { readonly kept: number } | { readonly chunks: readonly StoredChunk[] };

/** What is to be done. */
export interface CompactPlan {
  /** In the order of the new blob table. */
  readonly blobs: readonly PlannedBlob[];
  /** For each chunk of the tree the one that takes its place: itself, or an equal one. */
  readonly substitutes: ReadonlyMap<StoredChunk, StoredChunk>;
}

interface Usage {
  readonly chunks: StoredChunk[];
  /** Compressed bytes of `chunks`. */
  size: number;
  state: 'kept' | 'rebuilt' | 'dropped';
}

/**
 * Decides which blobs are kept, dropped, stripped of unused chunks and put together: equal chunks are stored once,
 * blobs without a used chunk go, and small ones are joined greedily in the order of their size. builder/src/compact.rs
 * describes the rules; the program built from it drops every blob that is not of a dictionary, because two of its
 * conditions are the wrong way round.
 */
export function planCompaction(input: CompactInput, rules: CompactRules): CompactPlan {
  const { substitutes, usages } = countUses(input);
  for (const [i, usage] of usages.entries()) {
    if (usage.chunks.length === 0) usage.state = 'dropped';
    else if (!input.dictionaryBlobs.has(i) && usedPercent(usage, input.blobs[i]!) < rules.minUsedPercent)
      usage.state = 'rebuilt';
  }
  joinSmall(input, usages, rules);
  const blobs: PlannedBlob[] = [];
  for (const [i, { state, chunks }] of usages.entries()) {
    if (state === 'kept') blobs.push({ kept: i });
    else if (state === 'rebuilt') blobs.push({ chunks: chunks.sort(byPlace) });
  }
  return { blobs, substitutes };
}

function countUses({ tree, blobs, dictionaryBlobs, findInDictionary }: CompactInput): {
  substitutes: Map<StoredChunk, StoredChunk>;
  usages: Usage[];
} {
  const usages = blobs.map((): Usage => ({ chunks: [], size: 0, state: 'kept' }));
  const substitutes = new Map<StoredChunk, StoredChunk>();
  const byContent = new Map<string, StoredChunk>();
  const used = new Set<StoredChunk>();
  for (const node of tree.byIndex) {
    for (const chunk of node.chunks) {
      if (substitutes.has(chunk)) continue;
      const inDictionary = dictionaryBlobs.has(chunk.blobIndex) ? chunk : findInDictionary(chunk);
      const key = contentKey(chunk, blobs);
      const substitute = inDictionary ?? (key === null ? chunk : (byContent.get(key) ?? chunk));
      if (inDictionary === undefined && key !== null) byContent.set(key, substitute);
      substitutes.set(chunk, substitute);
      if (used.has(substitute)) continue;
      used.add(substitute);
      const usage = usages[substitute.blobIndex]!;
      usage.chunks.push(substitute);
      usage.size += substitute.compressedSize;
    }
  }
  return { substitutes, usages };
}

function usedPercent(usage: Usage, blob: ImageBlob): number {
  return (usage.size * 100) / (blob.compressedSize || usage.size);
}

/** Each small blob goes into the one before it, in the order of their sizes, until that is full. */
function joinSmall(
  { blobs, dictionaryBlobs }: CompactInput,
  usages: readonly Usage[],
  rules: CompactRules,
): void {
  const small: { readonly usage: Usage; readonly size: number }[] = [];
  for (const [i, usage] of usages.entries()) {
    if (usage.state === 'dropped' || dictionaryBlobs.has(i)) continue;
    const size = usage.state === 'rebuilt' ? usage.size : blobs[i]!.compressedSize || usage.size;
    if (size < rules.compactBlobSize) small.push({ usage, size });
  }
  small.sort((a, b) => a.size - b.size);
  let target: Usage | null = null;
  for (const { usage } of small) {
    if (target === null || target.size + usage.size > rules.maxCompactSize) {
      target = usage;
      continue;
    }
    target.state = 'rebuilt';
    target.chunks.push(...usage.chunks);
    target.size += usage.size;
    usage.state = 'dropped';
  }
}

/** As the chunks lie in the old blobs, which is how they are likely to be read. */
function byPlace(a: StoredChunk, b: StoredChunk): number {
  return a.blobIndex - b.blobIndex || a.compressedOffset - b.compressedOffset || a.index - b.index;
}
