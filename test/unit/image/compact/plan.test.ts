import { describe, expect, test } from 'vitest';
import { type CompactInput, type CompactRules, planCompaction } from '../../../../src/image/compact/plan.ts';
import { type ImageBlob, PLAIN_BLOB } from '../../../../src/image/model/blob.ts';
import type { StoredChunk } from '../../../../src/image/model/chunk.ts';
import { assignInodes, FileType, newNode } from '../../../../src/image/model/node.ts';

const RULES: CompactRules = { minUsedPercent: 0, compactBlobSize: 0, maxCompactSize: 1000 };

function blob(id: string, compressedSize: number): ImageBlob {
  return {
    ...PLAIN_BLOB,
    id,
    features: 0,
    compressor: 'none',
    digester: 'sha256',
    chunkCount: 10,
    compressedSize,
    uncompressedSize: compressedSize,
  };
}

/** Chunk `index` of a blob; the same content, the same digest. */
function chunk(blobIndex: number, index: number, content: string, size = 10): StoredChunk {
  return {
    blobIndex,
    index,
    digest: Buffer.alloc(32, content),
    crc32c: 0,
    uncompressedOffset: index * size,
    uncompressedSize: size,
    compressedOffset: index * size,
    compressedSize: size,
    flags: 0,
  };
}

function input(
  blobs: readonly ImageBlob[],
  files: readonly (readonly StoredChunk[])[],
  more: Partial<CompactInput> = {},
): CompactInput {
  const root = newNode({
    name: Buffer.from('/'),
    sourcePath: Buffer.from('/'),
    mode: FileType.directory,
    linkKey: '/',
  });
  for (const [i, chunks] of files.entries()) {
    const name = Buffer.from(`${i}`);
    root.children.push(newNode({ name, sourcePath: name, mode: FileType.regular, linkKey: `${i}`, chunks }));
  }
  const tree = assignInodes(root);
  return { tree, blobs, dictionaryBlobs: new Set(), findInDictionary: () => undefined, ...more };
}

describe('a blob', () => {
  test('that is used is kept, one that is not goes', () => {
    const used = chunk(1, 0, 'a');
    const { blobs } = planCompaction(input([blob('x', 10), blob('y', 10)], [[used]]), RULES);
    expect(blobs).toEqual([{ kept: 1 }]);
  });

  test('of which too little is used is written anew, in the order in which its chunks lie', () => {
    const [first, second] = [chunk(0, 3, 'a'), chunk(0, 1, 'b')];
    const given = input([blob('x', 100)], [[first, second]]);
    expect(planCompaction(given, { ...RULES, minUsedPercent: 20 }).blobs).toEqual([{ kept: 0 }]);
    expect(planCompaction(given, { ...RULES, minUsedPercent: 21 }).blobs).toEqual([
      { chunks: [second, first] },
    ]);
  });

  test('whose chunks are in other blobs, too, goes', () => {
    const [first, second] = [chunk(0, 0, 'a'), chunk(1, 0, 'a')];
    const { blobs, substitutes } = planCompaction(
      input([blob('x', 10), blob('y', 10)], [[first], [second]]),
      RULES,
    );
    expect(blobs).toEqual([{ kept: 0 }]);
    expect(substitutes.get(second)).toBe(first);
  });

  test('has chunks of its own if they only have the digest, or only the size in common with others', () => {
    const chunks = [chunk(0, 0, 'a', 10), chunk(1, 0, 'a', 11), chunk(2, 0, 'b', 10)];
    const sha256 = [blob('x', 10), blob('y', 11), blob('z', 10)];
    expect(planCompaction(input(sha256, [chunks]), RULES).blobs).toHaveLength(3);
    const mixed = [blob('x', 10), { ...blob('y', 10), digester: 'blake3' as const }];
    const same = [chunk(0, 0, 'a'), chunk(1, 0, 'a')];
    expect(planCompaction(input(mixed, [same]), RULES).blobs).toHaveLength(2);
  });
});

describe('small blobs', () => {
  const sizes = [30, 10, 20, 200];
  const blobs = sizes.map((size, i) => blob(`${i}`, size));
  const chunks = sizes.map((size, i) => chunk(i, 0, `${i}`, size));

  test('are joined, in the place of the smallest', () => {
    const plan = planCompaction(input(blobs, [chunks]), { ...RULES, compactBlobSize: 100 });
    expect(plan.blobs).toEqual([{ chunks: [chunks[0], chunks[1], chunks[2]] }, { kept: 3 }]);
  });

  test('are joined from the smallest on, as long as they fit', () => {
    const plan = planCompaction(input(blobs, [chunks]), {
      ...RULES,
      compactBlobSize: 100,
      maxCompactSize: 59,
    });
    expect(plan.blobs).toEqual([{ kept: 0 }, { chunks: [chunks[1], chunks[2]] }, { kept: 3 }]);
  });

  test('stay as they are if there is one only, or if they are as large as the limit', () => {
    expect(planCompaction(input(blobs, [chunks]), { ...RULES, compactBlobSize: 20 }).blobs).toEqual([
      { kept: 0 },
      { kept: 1 },
      { kept: 2 },
      { kept: 3 },
    ]);
  });

  test('count as what is left of them when they are written anew', () => {
    const large = [blob('x', 1000), blob('y', 10)];
    const used = [chunk(0, 5, 'a'), chunk(1, 0, 'b')];
    const rules = { ...RULES, minUsedPercent: 50, compactBlobSize: 11 };
    expect(planCompaction(input(large, [used]), rules).blobs).toEqual([{ chunks: used }]);
  });
});

describe('a dictionary', () => {
  const dictionaryBlobs = new Set([1]);
  const known = chunk(1, 7, 'a');
  const findInDictionary = (wanted: StoredChunk): StoredChunk | undefined =>
    wanted.digest.equals(known.digest) ? known : undefined;

  test('gives its chunks; its blobs are never written anew', () => {
    const [own, other] = [chunk(0, 0, 'a'), chunk(0, 1, 'b')];
    const given = input([blob('x', 20), blob('dict', 1000)], [[own, other]], {
      dictionaryBlobs,
      findInDictionary,
    });
    const { blobs, substitutes } = planCompaction(given, {
      ...RULES,
      minUsedPercent: 60,
      compactBlobSize: 5000,
    });
    expect(blobs).toEqual([{ chunks: [other] }, { kept: 1 }]);
    expect(substitutes.get(own)).toBe(known);
  });

  test('that is of no use leaves no trace', () => {
    const given = input([blob('x', 20), blob('dict', 1000)], [[chunk(0, 1, 'b')]], {
      dictionaryBlobs,
      findInDictionary,
    });
    expect(planCompaction(given, RULES).blobs).toEqual([{ kept: 0 }]);
  });
});
