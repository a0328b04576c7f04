import type { ChunkRow } from './chunk-row.ts';

/** Similar images, and the chunks that most of them have. */
export interface ImageGroup {
  readonly images: readonly string[];
  /** Each content once, of the first image that has it. */
  readonly chunks: readonly ChunkRow[];
}

/** Fewer near images than this do not make a group. */
const NEIGHBOURS_MIN = 10;
/** Share of a group's images which must have a chunk. */
const SHARE_MIN = 0.9;

interface Point {
  readonly image: string;
  readonly chunks: readonly ChunkRow[];
  /** Compressed bytes of all chunks. */
  readonly size: number;
  /** Compressed size by digest, where it is seen first. */
  readonly contents: ReadonlyMap<string, number>;
  /** Compressed bytes of `contents`. */
  readonly distinctSize: number;
  /** Number of its group; 0: none. */
  group: number;
  /** Its neighbours have been looked for. */
  visited: boolean;
}

/** Images as points whose distances are known. */
export class ImagePoints {
  readonly points: readonly Point[];
  readonly #distances: Float64Array;

  constructor(images: ReadonlyMap<string, readonly ChunkRow[]>) {
    this.points = [...images].map(([image, chunks]) => pointOf(image, chunks));
    const { length } = this.points;
    this.#distances = new Float64Array(length * length);
    for (let a = 0; a < length; a++)
      for (let b = 0; b < length; b++)
        this.#distances[a * length + b] = distance(this.points[a]!, this.points[b]!);
  }

  get count(): number {
    return this.points.length;
  }

  /** Points that are in a group. */
  get groupedCount(): number {
    return this.points.filter(({ group }) => group !== 0).length;
  }

  /** Points not visited yet within `radius`, the point itself included. */
  near(of: number, radius: number): number[] {
    const near: number[] = [];
    for (const [i, { visited }] of this.points.entries())
      if (!visited && this.#distances[of * this.count + i]! <= radius) near.push(i);
    return near;
  }
}

function pointOf(image: string, chunks: readonly ChunkRow[]): Point {
  const contents = new Map<string, number>();
  let size = 0;
  let distinctSize = 0;
  for (const { digest, compressedSize } of chunks) {
    size += compressedSize;
    if (contents.has(digest)) continue;
    contents.set(digest, compressedSize);
    distinctSize += compressedSize;
  }
  return { image, chunks, size, contents, distinctSize, group: 0, visited: false };
}

/**
 * The part of both images' bytes that remains when what is there twice is stored once: 0.5 for equal images, 1 for
 * images without a common chunk.
 */
function distance(a: Point, b: Point): number {
  let distinct = a.distinctSize;
  for (const [digest, size] of b.contents) if (!a.contents.has(digest)) distinct += size;
  const total = a.size + b.size;
  return 1 - (total - distinct) / total;
}

/** DBSCAN: finds groups among the points that have none yet, and tells what all groups have in common. */
export function clusterImages(points: ImagePoints, radius: number): ImageGroup[] {
  let group = 1;
  for (const [i, point] of points.points.entries()) {
    if (point.visited || point.group !== 0) continue;
    if (points.near(i, radius).length < NEIGHBOURS_MIN) continue;
    expand(points, i, group, radius);
    group++;
  }
  return commonChunks(points.points);
}

/** Everything that is near a point with enough neighbours belongs to its group. */
function expand(points: ImagePoints, start: number, group: number, radius: number): void {
  points.points[start]!.group = group;
  const pending = [start];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const point = points.points[next]!;
    if (point.visited) continue;
    point.visited = true;
    const near = points.near(next, radius);
    if (near.length < NEIGHBOURS_MIN) continue;
    for (const i of near) {
      pending.push(i);
      const neighbour = points.points[i]!;
      if (neighbour.group === 0) neighbour.group = group;
    }
  }
}

function commonChunks(points: readonly Point[]): ImageGroup[] {
  const groups = new Map<number, Point[]>();
  for (const point of points) {
    if (point.group === 0) continue;
    const members = groups.get(point.group);
    if (members === undefined) groups.set(point.group, [point]);
    else members.push(point);
  }
  return [...groups.values()].map((members) => {
    const counts = new Map<string, number>();
    for (const { contents } of members)
      for (const digest of contents.keys()) counts.set(digest, (counts.get(digest) ?? 0) + 1);
    const chunks = new Map<string, ChunkRow>();
    for (const member of members) {
      for (const chunk of member.chunks) {
        const { digest } = chunk;
        if (!chunks.has(digest) && counts.get(digest)! / members.length >= SHARE_MIN)
          chunks.set(digest, chunk);
      }
    }
    return { images: members.map(({ image }) => image), chunks: [...chunks.values()] };
  });
}
