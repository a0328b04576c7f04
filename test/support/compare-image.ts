/** Compares two images field by field, through the reader that serves them and through their raw records. */

import type { ImageNode } from '../../src/image/model/node.ts';
import { type LoadedImage, loadImage } from '../../src/image/read/load.ts';
import type { BlobRow, Bootstrap, BootstrapV6 } from '../../src/rafs/bootstrap.ts';
import { ChunkFlag, ChunkRecordLayout } from '../../src/wire/rafs/chunk.ts';
import { BlobFeature, UNKNOWN_BLOB_ID } from '../../src/wire/rafs/flags.ts';
import { compareBlobs } from './compare-blob.ts';
import { Differences } from './differences.ts';
import type { ImagePlace } from './image-place.ts';
import { escapeName } from './rafs-fixtures.ts';
import { type ChunkRow, chunkAt, type RawInode, rawInodesV5, rawInodeV6 } from './raw-inodes.ts';

/**
 * Differences of `actual` from `expected`, a line each: `where: field is X, expected Y`. Where bytes depend on the
 * version of a codec or on a random key, sizes are compared with a tolerance and ids not at all; every chunk of
 * `actual` is decoded and its digest verified instead.
 */
export async function compareImages(expected: ImagePlace, actual: ImagePlace): Promise<string[]> {
  const differences = new Differences();
  const [wanted, found] = [await loadImage(expected.bootstrap), await loadImage(actual.bootstrap)];
  if (wanted.bootstrap.version !== found.bootstrap.version) {
    differences.equal('bootstrap', 'version', wanted.bootstrap.version, found.bootstrap.version);
    return differences.lines;
  }
  compareSuperblocks(differences, wanted.bootstrap, found.bootstrap);
  const free = wanted.bootstrap.blobs.map((row, i) => isFree(row, found.bootstrap.blobs[i]));
  compareRows(differences, wanted.bootstrap, found.bootstrap, free);
  compareTrees(differences, wanted, found, free);
  compareChunkTables(differences, wanted.bootstrap, found.bootstrap, free);
  await compareBlobs(differences, { image: wanted, place: expected }, { image: found, place: actual }, free);
  return differences.lines;
}

/**
 * Whether a blob's stored bytes depend on more than the source: on the version of zstd or on a random key. LZ4 blocks
 * are the same bytes everywhere. Blobs of the same id are the same blob.
 */
function isFree(row: BlobRow, other: BlobRow | undefined): boolean {
  const codec = row.compressor === 'zstd' || row.cipherKey !== null;
  return codec && (row.id !== other?.id || row.id === UNKNOWN_BLOB_ID);
}

function compareSuperblocks(differences: Differences, wanted: Bootstrap, found: Bootstrap): void {
  differences.fields('superblock', { ...wanted.superblock }, { ...found.superblock });
  differences.equal('bootstrap', 'size', wanted.bytes.length, found.bytes.length);
  differences.equal('bootstrap', 'prefetch table', wanted.prefetch.join(), found.prefetch.join());
  if (wanted.version === 5 || found.version === 5) return;
  for (const [i, slot] of wanted.devices.entries()) {
    const other = found.devices[i];
    if (other === undefined) continue;
    const { blobId: _, ...rest } = slot;
    const { blobId, ...otherRest } = other;
    differences.fields(`device[${i}]`, rest, otherRest);
    differences.equal(`device[${i}]`, 'blob id as in the blob table', found.blobs[i]?.id, blobId);
  }
}

/** Columns of a blob row that follow from compressed sizes (near) or compressed bytes (unseen). */
const COLUMNS = {
  free: {
    near: ['compressedSize', 'ciOffset', 'ciCompressedSize', 'readaheadSize'],
    unseen: ['id', 'tocDigest', 'metaDigest', 'cipherKey', 'cipherIv'],
  },
  /** The data is the source itself, the chunk info of another object is packed by zstd. */
  separate: { near: ['ciCompressedSize', 'metaSize'], unseen: ['metaDigest', 'tocDigest'] },
  exact: { near: [], unseen: [] },
} as const;

function compareRows(
  differences: Differences,
  wanted: Bootstrap,
  found: Bootstrap,
  free: readonly boolean[],
): void {
  differences.equal('blob table', 'rows', wanted.blobs.length, found.blobs.length);
  for (const [i, row] of wanted.blobs.entries()) {
    const other = found.blobs[i];
    if (other === undefined) continue;
    const where = `blob[${i}]`;
    const separate = (row.features & BlobFeature.separate) !== 0;
    const columns = COLUMNS[free[i] ? 'free' : separate ? 'separate' : 'exact'];
    const near: readonly string[] = columns.near;
    const unseen: readonly string[] = columns.unseen;
    for (const [column, value] of Object.entries(row) as [keyof BlobRow, unknown][]) {
      if (unseen.includes(column))
        differences.equal(where, `presence of ${column}`, isPresent(value), isPresent(other[column]));
      else if (near.includes(column))
        differences.near(where, column, value as number, other[column] as number);
      else differences.equal(where, column, value, other[column]);
    }
  }
}

/** A digest of zeros says that there is none. */
function isPresent(value: unknown): boolean {
  return value instanceof Uint8Array ? value.some((byte) => byte !== 0) : value !== null && value !== '';
}

/** A node with its place among the raw records. */
interface Found {
  readonly node: ImageNode;
  readonly raw: RawInode;
}

function compareTrees(
  differences: Differences,
  wanted: LoadedImage,
  found: LoadedImage,
  free: readonly boolean[],
): void {
  const expected = nodesOf(wanted);
  const actual = nodesOf(found);
  for (const path of actual.keys()) if (!expected.has(path)) differences.add(`${path}: not expected`);
  for (const [path, { node, raw }] of expected) {
    const other = actual.get(path);
    if (other === undefined) {
      differences.add(`${path}: missing`);
      continue;
    }
    differences.fields(path, visible(node), visible(other.node));
    differences.fields(path, raw.fields, other.raw.fields);
    compareChunks(differences, path, raw.chunks ?? node.chunks, other.raw.chunks ?? other.node.chunks, free);
  }
}

/** What a reader sees of a node. */
function visible(node: ImageNode): Record<string, unknown> {
  const { mode, uid, gid, size, rdev, mtimeSec, mtimeNs, nlink, target, xattrs } = node;
  const pairs = xattrs.map(({ name, value }) => `${escapeName(name)}=${value.toString('hex')}`);
  return {
    mode: mode.toString(8),
    uid,
    gid,
    size,
    rdev,
    mtime: `${mtimeSec}.${mtimeNs}`,
    nlink,
    target: escapeName(target),
    xattrs: pairs.join(),
    chunks: node.chunks.length,
  };
}

function nodesOf(image: LoadedImage): Map<string, Found> {
  const { bootstrap } = image;
  const records = bootstrap.version === 5 ? rawInodesV5(bootstrap, escapeName) : null;
  const nodes = new Map<string, Found>();
  const visit = (node: ImageNode, path: string): void => {
    const raw =
      bootstrap.version === 5 ? (records!.get(path) ?? { fields: {} }) : rawInodeV6(bootstrap, node);
    nodes.set(path, { node, raw });
    for (const child of node.children) visit(child, `${path === '/' ? '' : path}/${escapeName(child.name)}`);
  };
  visit(image.root, '/');
  return nodes;
}

function compareChunks(
  differences: Differences,
  where: string,
  wanted: readonly ChunkRow[],
  found: readonly ChunkRow[],
  free: readonly boolean[],
): void {
  for (const [i, chunk] of wanted.entries()) {
    const other = found[i];
    if (other === undefined) return;
    compareChunk(differences, `${where} chunk ${i}`, chunk, other, free);
  }
}

/** Numbers exactly; what follows from compressed bytes with a tolerance where these are free. */
function compareChunk(
  differences: Differences,
  where: string,
  chunk: ChunkRow,
  other: ChunkRow,
  free: readonly boolean[],
): void {
  const exact = (c: ChunkRow): Record<string, unknown> => ({
    blobIndex: c.blobIndex,
    index: c.index,
    digest: hex(c.digest),
    crc32c: c.crc32c,
    uncompressedOffset: c.uncompressedOffset,
    uncompressedSize: c.uncompressedSize,
    fileOffset: c.fileOffset,
  });
  differences.fields(where, exact(chunk), exact(other));
  const isFreeChunk = free[chunk.blobIndex] === true;
  // A chunk that one codec's version just fails to shrink may be stored as it is by the other.
  const mask = isFreeChunk ? ~ChunkFlag.compressed : ~0;
  differences.equal(where, 'flags', chunk.flags & mask, other.flags & mask);
  for (const field of ['compressedOffset', 'compressedSize'] as const) {
    if (isFreeChunk) differences.near(where, field, chunk[field], other[field]);
    else differences.equal(where, field, chunk[field], other[field]);
  }
}

function compareChunkTables(
  differences: Differences,
  wanted: Bootstrap,
  found: Bootstrap,
  free: readonly boolean[],
): void {
  if (wanted.version === 5 || found.version === 5) return;
  const [rows, others] = [chunkTable(wanted), chunkTable(found)];
  for (const [i, row] of rows.entries()) {
    if (others[i] !== undefined) compareChunk(differences, `chunk table[${i}]`, row, others[i], free);
  }
}

function chunkTable(bootstrap: BootstrapV6): ChunkRow[] {
  const { chunkTableOffset, chunkTableSize } = bootstrap.superblock;
  return Array.from({ length: chunkTableSize / ChunkRecordLayout.size }, (_, i) =>
    chunkAt(bootstrap.view, chunkTableOffset + i * ChunkRecordLayout.size),
  );
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
