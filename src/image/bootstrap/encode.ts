import type { NumberedTree } from '../model/node.ts';
import type { BootstrapOptions } from './options.ts';
import { writeBootstrapV5 } from './write-v5.ts';
import { writeBootstrapV6 } from './write-v6.ts';

/** The bootstrap of a tree whose data has been stored. Throws ImageError where the format has no room. */
export function encodeBootstrap(version: 5 | 6, tree: NumberedTree, options: BootstrapOptions): Buffer {
  return version === 6 ? writeBootstrapV6(tree, options) : writeBootstrapV5(tree, options);
}
