import type { ChunkRow } from './chunk-row.ts';
import { clusterImages, type ImageGroup, ImagePoints } from './cluster.ts';

/** What is worth to be in a dictionary. */
interface Selection {
  readonly chunks: ReadonlySet<ChunkRow>;
  /** Images that are like no others: a dictionary does little for them. */
  readonly loneImages: readonly string[];
}

/**
 * The part of each image's versions, the oldest, from which is learned; with the others is tried what it is good for.
 */
const TRAIN_SHARE = 0.7;
/** Each round finds groups of images among the chunks that the rounds before left. */
const ROUNDS_MAX = 7;
const RADIUS = { from: 0.5, to: 0.9, step: 0.05 } as const;
const THRESHOLD = { from: 0.5, to: 0.8, step: 0.05 } as const;
/** A round that groups fewer of the images is the last one. */
const GROUPED_MIN = 0.2;
/** Weight of the newest observation. */
const ALPHA = 0.5;

/**
 * Chooses chunks of `chunks`, which are in the order in which images were added. Two things make a chunk worth it: that
 * most images of a group of similar ones have it (DBSCAN over the bytes which images share), and that an image keeps it
 * from version to version (exponential smoothing of how often it does). Radius and threshold are those that leave least
 * of the newest versions' bytes. src/bin/nydus-image/deduplicate.rs; what is left to the order of a hash map there is
 * in the order of names here.
 */
export function selectChunks(chunks: readonly ChunkRow[]): Selection {
  const groups = groupImages(chunks);
  const kept = keptByVersions(chunks, groups);
  const grouped = new Set(groups.flatMap(({ images }) => images));
  const selected = new Set(groups.flatMap((group) => group.chunks));
  for (const chunk of kept) selected.add(chunk);
  const loneImages = new Set(chunks.map(({ image }) => image).filter((image) => !grouped.has(image)));
  return { chunks: selected, loneImages: [...loneImages] };
}

/** Groups of similar images, and the chunks that most of a group have. */
function groupImages(chunks: readonly ChunkRow[]): ImageGroup[] {
  const groups: ImageGroup[] = [];
  let { train, test } = splitVersions(chunks);
  for (let round = 0; round < ROUNDS_MAX; round++) {
    const points = new ImagePoints(byImage(train));
    let best: readonly ImageGroup[] = [];
    let leastBytes = Number.POSITIVE_INFINITY;
    // Points keep their group while the radius grows, and the numbers of groups start again, as upstream.
    for (let radius: number = RADIUS.from; radius <= RADIUS.to; radius += RADIUS.step) {
      const found = clusterImages(points, radius);
      const covered = new Set(found.flatMap((group) => group.chunks));
      const bytes = sizeOf(test.filter((chunk) => !covered.has(chunk)));
      if (bytes > leastBytes) continue;
      leastBytes = bytes;
      best = found;
    }
    const digests = new Set(best.flatMap((group) => group.chunks.map(({ digest }) => digest)));
    train = train.filter(({ digest }) => !digests.has(digest));
    test = test.filter(({ digest }) => !digests.has(digest));
    if (points.groupedCount / points.count < GROUPED_MIN) break;
    groups.push(...best);
  }
  return groups;
}

/** Chunks that images keep from version to version, those of their groups left out. */
function keptByVersions(chunks: readonly ChunkRow[], groups: readonly ImageGroup[]): Set<ChunkRow> {
  const { train, test } = splitVersions(chunks);
  const images = byImage(train);
  for (const [image, rows] of images) {
    const ofGroups = new Set(
      groups.filter((group) => group.images.includes(image)).flatMap((group) => group.chunks),
    );
    images.set(
      image,
      rows.filter((row) => !ofGroups.has(row)),
    );
  }
  const tested = byImage(test);
  let best = new Set<ChunkRow>();
  let leastBytes = Number.POSITIVE_INFINITY;
  for (let threshold: number = THRESHOLD.from; threshold <= THRESHOLD.to; threshold += THRESHOLD.step) {
    const kept = new Set<ChunkRow>();
    const known = new Map<string, ReadonlySet<string>>();
    for (const [image, rows] of images) {
      const ofImage = smoothed(rows, threshold);
      for (const row of ofImage) kept.add(row);
      known.set(image, new Set(ofImage.map(({ digest }) => digest)));
    }
    let bytes = 0;
    for (const [image, rows] of tested) {
      const digests = known.get(image);
      bytes += sizeOf(digests === undefined ? rows : rows.filter(({ digest }) => !digests.has(digest)));
    }
    if (bytes > leastBytes) continue;
    leastBytes = bytes;
    best = kept;
  }
  return best;
}

/**
 * The chunks of one image, versions in order, whose score is above `threshold`, each content once. The score of a
 * chunk is the mean of whether the version before has its content and of the score of the chunk before it; the
 * first version's chunks have 0.
 */
export function smoothed(chunks: readonly ChunkRow[], threshold: number): ChunkRow[] {
  const selected = new Map<string, ChunkRow>();
  let before = new Set<string>();
  let current = new Set<string>();
  let previous: ChunkRow | null = null;
  let score = 0;
  for (const chunk of chunks) {
    const isFirstVersion = chunk.version === chunks[0]!.version;
    if (!isFirstVersion && chunk.version !== previous?.version) {
      before = current;
      current = new Set();
    }
    current.add(chunk.digest);
    score = isFirstVersion ? 0 : ALPHA * (before.has(chunk.digest) ? 1 : 0) + (1 - ALPHA) * score;
    if (score > threshold && !selected.has(chunk.digest)) selected.set(chunk.digest, chunk);
    previous = chunk;
  }
  return [...selected.values()];
}

/**
 * Versions of each image in order, the older and the newer ones. Chunks of one image stay
 * together, images sorted by name.
 */
export function splitVersions(chunks: readonly ChunkRow[]): { train: ChunkRow[]; test: ChunkRow[] } {
  const train: ChunkRow[] = [];
  const test: ChunkRow[] = [];
  for (const [, rows] of [...byImage(chunks)].sort(([a], [b]) =>
    Buffer.compare(Buffer.from(a), Buffer.from(b)),
  )) {
    const versions = new Map<string, { numbers: readonly number[]; rows: ChunkRow[] }>();
    for (const row of rows) {
      const numbers = versionNumbers(row.version);
      const key = numbers.join('.');
      const group = versions.get(key) ?? { numbers, rows: [] };
      group.rows.push(row);
      versions.set(key, group);
    }
    const groups = [...versions.values()].sort((a, b) => compareNumbers(a.numbers, b.numbers));
    const trained = Math.floor(groups.length * TRAIN_SHARE);
    for (const [i, group] of groups.entries()) {
      const set = i < trained ? train : test;
      for (const row of group.rows) set.push(row);
    }
  }
  return { train, test };
}

/**
 * The numbers in a version's name, by which versions are ordered; versions with the same numbers are one. Larger ones
 * than an i32 are left out.
 */
function versionNumbers(version: string): number[] {
  return (version.match(/[0-9]+/g) ?? []).map(Number).filter((number) => number <= 0x7fff_ffff);
}

function compareNumbers(a: readonly number[], b: readonly number[]): number {
  for (let i = 0; i < Math.min(a.length, b.length); i++) if (a[i] !== b[i]) return a[i]! - b[i]!;
  return a.length - b.length;
}

function byImage(chunks: readonly ChunkRow[]): Map<string, ChunkRow[]> {
  const images = new Map<string, ChunkRow[]>();
  for (const chunk of chunks) {
    const rows = images.get(chunk.image);
    if (rows === undefined) images.set(chunk.image, [chunk]);
    else rows.push(chunk);
  }
  return images;
}

function sizeOf(chunks: readonly ChunkRow[]): number {
  return chunks.reduce((sum, { compressedSize }) => sum + compressedSize, 0);
}
