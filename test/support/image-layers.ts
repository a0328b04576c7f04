/** Small images made without a source tree: their files have one chunk each, in blobs that do not exist. */
import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import type { BootstrapOptions } from '../../src/image/bootstrap/options.ts';
import { writeBootstrapV5 } from '../../src/image/bootstrap/write-v5.ts';
import { writeBootstrapV6 } from '../../src/image/bootstrap/write-v6.ts';
import { FEATURES_V5, FEATURES_V6, type ImageBlob, PLAIN_BLOB } from '../../src/image/model/blob.ts';
import type { StoredChunk } from '../../src/image/model/chunk.ts';
import { assignInodes, FileType, type ImageNode, inOrder, newNode } from '../../src/image/model/node.ts';
import type { Xattr } from '../../src/native/xattr.ts';
import { CHUNK_INFO_V1_SIZE } from '../../src/wire/rafs/encode-blob-meta.ts';

export const CHUNK_SIZE = 0x1000;
const FILE_BYTES = 100;

/** A directory of the given children. */
export function directory(
  name: string,
  children: readonly ImageNode[] = [],
  more: Partial<ImageNode> = {},
): ImageNode {
  const sorted = [...children].sort((a, b) => Buffer.compare(a.name, b.name));
  return node(name, FileType.directory | 0o755, { children: sorted, ...more });
}

/** A file whose content is `text`, in the blob at that place of the table; files of the same `link` are one inode. */
export function file(name: string, text = '', link?: string, blobIndex = 0): ImageNode {
  const chunks = text === '' ? [] : [{ ...chunkOf(text), blobIndex }];
  return node(name, FileType.regular | 0o644, {
    size: chunks.length * FILE_BYTES,
    chunks,
    ...(link === undefined ? {} : { linkKey: link }),
  });
}

/** The whiteout device of overlayfs. */
export function device(name: string): ImageNode {
  return node(name, FileType.character, { rdev: 0 });
}

export function xattr(name: string, value: string): Xattr {
  return { name: Buffer.from(name), value: Buffer.from(value) };
}

let keys = 0;

function node(name: string, mode: number, more: Partial<ImageNode>): ImageNode {
  const bytes = Buffer.from(name);
  return newNode({ name: bytes, sourcePath: bytes, mode, linkKey: `${keys++}`, ...more });
}

function chunkOf(text: string): StoredChunk {
  return {
    blobIndex: 0,
    index: 0,
    digest: createHash('sha256').update(text).digest(),
    crc32c: 0,
    uncompressedOffset: 0,
    uncompressedSize: FILE_BYTES,
    compressedOffset: 0,
    compressedSize: FILE_BYTES,
    flags: 0,
  };
}

/** A v6 blob row of `chunks` chunks of 4 KiB, without data behind it. */
export function blobRow(id: string, chunks = 1, changes: Partial<ImageBlob> = {}): ImageBlob {
  const size = Math.max(1, chunks) * 4096;
  return {
    ...PLAIN_BLOB,
    id,
    features: FEATURES_V6,
    compressor: 'none',
    digester: 'sha256',
    chunkCount: chunks,
    compressedSize: size,
    uncompressedSize: size,
    ciOffset: chunks * 4096,
    ciCompressedSize: chunks * CHUNK_INFO_V1_SIZE,
    ciUncompressedSize: chunks * CHUNK_INFO_V1_SIZE,
    ...changes,
  };
}

/**
 * Writes a bootstrap of `root` to `path`; all its data is in one blob of the id `blobId`, unless other blobs are given.
 */
export function writeLayer(
  path: string,
  root: ImageNode,
  blobId: string,
  version: 5 | 6 = 6,
  changes: Partial<BootstrapOptions> = {},
): void {
  const chunks = numberChunks(root);
  const plain = { features: FEATURES_V5, ciOffset: 0, ciCompressedSize: 0, ciUncompressedSize: 0 };
  const row = blobRow(blobId, chunks, version === 6 ? {} : plain);
  const options: BootstrapOptions = {
    chunkSize: CHUNK_SIZE,
    compressor: 'none',
    digester: 'sha256',
    explicitUidGid: true,
    blobs: chunks === 0 ? [] : [row],
    prefetch: [],
    ...changes,
  };
  const write = version === 6 ? writeBootstrapV6 : writeBootstrapV5;
  writeFileSync(path, write(assignInodes(root), options));
}

/**
 * Gives every distinct content its number and place in its blob; aliases share their chunks. Returns the number of
 * chunks in blob 0.
 */
function numberChunks(root: ImageNode): number {
  const known = new Map<string, StoredChunk>();
  const counts: number[] = [0];
  for (const each of inOrder(root)) {
    each.chunks = each.chunks.map((chunk) => {
      const { blobIndex } = chunk;
      const key = `${blobIndex} ${chunk.digest.toString('hex')}`;
      const first = known.get(key);
      if (first !== undefined) return first;
      const index = counts[blobIndex] ?? 0;
      counts[blobIndex] = index + 1;
      const placed = { ...chunk, index, uncompressedOffset: index * 4096, compressedOffset: index * 4096 };
      known.set(key, placed);
      return placed;
    });
  }
  return counts[0]!;
}

/** Paths below the root with `/` for a directory at their ends, in byte order. */
export function paths(root: ImageNode): string[] {
  const list: string[] = [];
  const visit = (each: ImageNode, path: string): void => {
    for (const child of each.children) {
      const isDirectory = (child.mode & FileType.mask) === FileType.directory;
      const name = `${path}${child.name.toString('latin1')}`;
      list.push(isDirectory ? `${name}/` : name);
      visit(child, `${name}/`);
    }
  };
  visit(root, '');
  return list;
}
