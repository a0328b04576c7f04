import type { DigestAlgorithm } from '../../lib/content-hash.ts';
import { type Compressor, SuperFlag } from '../../wire/rafs/flags.ts';
import type { ImageBlob } from '../model/blob.ts';
import type { ImageNode, NumberedTree } from '../model/node.ts';

/** What a bootstrap says beside its tree. */
export interface BootstrapOptions {
  readonly chunkSize: number;
  readonly compressor: Compressor;
  readonly digester: DigestAlgorithm;
  readonly explicitUidGid: boolean;
  /** The blob table; chunks name their blob by its place here. */
  readonly blobs: readonly ImageBlob[];
  /** Whether the HAS_XATTR flag is set; by default, whether a node has attributes. */
  readonly hasXattr?: boolean;
  /** The blobs are tars as they are: blocks have 512 bytes, and a chunk's place in the image is that in the tar. */
  readonly tarfs?: boolean;
  /** Whether the superblock says that data is encrypted; by default, whether that of a blob is. */
  readonly encrypt?: boolean;
  /** Nodes to be read ahead at mount, in the order asked for; may be directories. */
  readonly prefetch: readonly ImageNode[];
}

/** Superblock flags common to both versions. */
export function superFlags(options: BootstrapOptions, tree: NumberedTree): number {
  const hasXattr = options.hasXattr ?? tree.byIndex.some((node) => node.xattrs.length > 0);
  const compressor = {
    none: SuperFlag.compressorNone,
    lz4_block: SuperFlag.compressorLz4Block,
    gzip: SuperFlag.compressorGzip,
    zstd: SuperFlag.compressorZstd,
  }[options.compressor];
  const digester = options.digester === 'blake3' ? SuperFlag.digesterBlake3 : SuperFlag.digesterSha256;
  const owners = options.explicitUidGid ? SuperFlag.explicitUidGid : 0;
  return compressor | digester | owners | (hasXattr ? SuperFlag.hasXattr : 0);
}
