import { blobSpec } from '../../rafs/blob-spec.ts';
import type { Bootstrap } from '../../rafs/bootstrap.ts';
import { S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from '../../rafs/image.ts';
import { ChunkFlag, type DecodedChunk } from '../../wire/rafs/chunk.ts';
import { BlobFeature, compressorOf } from '../../wire/rafs/flags.ts';
import { debugText } from '../model/debug-text.ts';
import { EntryReader } from '../read/entry-reader.ts';
import { imageOf, type WalkEntry, walkTree } from '../read/tree-walk.ts';

/** Words for features, in the order in which the original lists them. storage/src/meta/mod.rs. */
const FEATURE_WORDS: readonly (readonly [number, string])[] = [
  [BlobFeature.aligned, 'aligned'],
  [BlobFeature.batch, 'batch'],
  [BlobFeature.capTarToc, 'cap_toc'],
  [BlobFeature.inlinedChunkDigest, 'chunk-digest'],
  [BlobFeature.chunkInfoV2, 'chunk-v2'],
  [BlobFeature.inlinedFsMeta, 'fs-meta'],
  [BlobFeature.separate, 'separate'],
  [BlobFeature.hasTarHeader, 'tar-header'],
  [BlobFeature.hasToc, 'toc'],
  [BlobFeature.zran, 'zran'],
  [BlobFeature.encrypted, 'encrypted'],
  [BlobFeature.chunkDictGenerated, 'is-chunkdict-generated'],
];

/**
 * Lines which the original prints of a sound image; `verbose` lists inodes and chunks first.
 * src/bin/nydus-image/validator.rs.
 */
export function* checkLines(bootstrap: Bootstrap, path: string, verbose: boolean): Generator<string> {
  if (verbose) {
    const image = imageOf(bootstrap);
    const reader = new EntryReader(bootstrap, image);
    for (const entry of walkTree(bootstrap, image, () => {})) {
      yield inodeLine(reader, entry);
      for (const chunk of reader.chunks(entry)) yield chunkLine(chunk);
    }
  }
  yield 'RAFS filesystem metadata is valid, referenced data blobs: ';
  for (const [i, row] of bootstrap.blobs.entries()) {
    const { id } = blobSpec(row, bootstrap, path);
    const sizes = `compressed size ${row.compressedSize}, uncompressed size ${row.uncompressedSize}`;
    const chunks = `chunk size: ${bootstrap.chunkSize}, chunk count: ${row.chunkCount}`;
    yield `\t ${i}: ${id}, ${sizes}, ${chunks}, features: ${featureWords(row.features)}`;
  }
}

/** The object which `check --output-json` writes. `seconds` of the whole check. src/bin/nydus-image/main.rs. */
export function checkJson(bootstrap: Bootstrap, path: string, version: string, seconds: number): object {
  return {
    version,
    bootstrap: path,
    blobs: bootstrap.blobs.map((row) => blobSpec(row, bootstrap, path).id),
    external_bootstrap: '',
    external_blobs: [],
    trace: { consumed_time: { load_tree_from_bootstrap: seconds }, registered_events: {} },
    fs_version: String(bootstrap.version),
    compressor: compressorOf(bootstrap.flags),
  };
}

/** Features of a blob in words. */
function featureWords(features: number): string {
  return FEATURE_WORDS.flatMap(([bit, word]) => (features & bit ? [word] : [])).join(' ');
}

/** The line of `check -v` for an entry. builder/src/core/node.rs. */
function inodeLine(reader: EntryReader, entry: WalkEntry): string {
  const { lo, mode, name } = entry;
  const attr = reader.attributes(entry);
  const link = (mode & S_IFMT) === S_IFLNK ? `Some(${debugText(reader.target(lo))})` : 'None';
  const fields = [
    `${typeWord(mode, attr.nlink)} ${debugText(entry.path())}: index 0 ino ${lo} real_ino ${lo}`,
    `child_index ${attr.childIndex} child_count ${attr.childCount} i_nlink ${attr.nlink}`,
    `i_size ${attr.size} i_blocks ${attr.blocks} i_name_size ${name.length}`,
    `i_symlink_size ${attr.symlinkSize} has_xattr ${attr.hasXattrs} link ${link}`,
    `i_mtime ${attr.mtime} i_mtime_nsec ${attr.mtimeNs}`,
  ];
  return `inode: ${fields.join(' ')}`;
}

/** The line of `check -v` for a chunk. rafs/src/metadata/chunk.rs. */
function chunkLine(chunk: DecodedChunk): string {
  const { index, blobIndex, fileOffset, flags, crc32c } = chunk;
  const id = Buffer.from(chunk.digest).toString('hex');
  const compressed = `compressed ${chunk.compressedOffset}/${chunk.compressedSize}`;
  const uncompressed = `uncompressed ${chunk.uncompressedOffset}/${chunk.uncompressedSize}`;
  const crc = flags & ChunkFlag.hasCrc32c ? `, crc32 0x${crc32c.toString(16)}` : '';
  const place = `id ${id}, index ${index}, blob_index ${blobIndex}, file_offset ${fileOffset}`;
  return `\t chunk: ${place}, ${compressed}, ${uncompressed}${crc}`;
}

/** What the original calls a type of file: special ones have no word. */
function typeWord(mode: number, nlink: number): string {
  const type = mode & S_IFMT;
  if (type === S_IFLNK) return 'symlink';
  if (type === S_IFDIR) return 'dir';
  if (type !== S_IFREG) return '';
  return nlink > 1 ? 'hardlink' : 'file';
}
