import { FileType, type ImageNode, isDirectory } from './node.ts';

/** How layers say that a lower file is gone: OCI names, overlayfs devices, or not at all. */
export type WhiteoutSpec = 'oci' | 'overlayfs' | 'none';

const OCI_PREFIX = Buffer.from('.wh.');
const OCI_OPAQUE = Buffer.from('.wh..wh..opq');
const OPAQUE_XATTR = Buffer.from('trusted.overlay.opaque');
const OPAQUE_VALUE = Buffer.from('y');

/** What an entry of a layer does to the layers below it, in the words of OCI and of overlayfs. */
type Whiteout =
  | { readonly kind: 'removal'; readonly name: Buffer }
  /** Hides what is below in the directory that holds the entry. */
  | { readonly kind: 'opaque' }
  | { readonly kind: 'none' };

const NOTHING: Whiteout = { kind: 'none' };
const OPAQUE: Whiteout = { kind: 'opaque' };

/**
 * Lays the tree `upper` over `lower` and returns the root of what both show; both are used up. Directories of the same
 * name are merged, any other entry of `upper` takes the place of the one below. Whiteouts act on `lower` alone,
 * whatever their order, and are gone from the result. OCI image spec, layer.md "Whiteouts"; Linux, overlayfs.rst
 * "whiteouts and opaque directories".
 */
export function overlay(lower: ImageNode, upper: ImageNode, spec: WhiteoutSpec): ImageNode {
  upper.children = stack(lower.children, upper, spec);
  return upper;
}

/** Takes the whiteouts out of a tree below which there is nothing. */
export function dropWhiteouts(root: ImageNode, spec: WhiteoutSpec): ImageNode {
  root.children = stack([], root, spec);
  return root;
}

/** Names of different layers are never aliases of one file, even if their inodes have the same number. */
export function setLayer(root: ImageNode, layer: number): void {
  const pending = [root];
  for (let node = pending.pop(); node !== undefined; node = pending.pop()) {
    node.layer = layer;
    pending.push(...node.children);
  }
}

function stack(lower: readonly ImageNode[], upper: ImageNode, spec: WhiteoutSpec): ImageNode[] {
  const merged = new Map<string, ImageNode>();
  for (const node of lower) merged.set(key(node.name), node);
  const additions: ImageNode[] = [];
  for (const node of upper.children) {
    const whiteout = whiteoutOf(node, spec);
    if (whiteout.kind === 'opaque') merged.clear();
    else if (whiteout.kind === 'removal') merged.delete(key(whiteout.name));
    else additions.push(node);
  }
  for (const node of additions) {
    if (isDirectory(node)) {
      const below = merged.get(key(node.name));
      node.children = stack(takeOpaque(node, spec) ? [] : (below?.children ?? []), node, spec);
    }
    merged.set(key(node.name), node);
  }
  return [...merged.values()].sort((a, b) => Buffer.compare(a.name, b.name));
}

/** Whether an entry of a layer stands for something that is gone instead of for a file. */
export function isWhiteout(node: Pick<ImageNode, 'name' | 'mode' | 'rdev'>, spec: WhiteoutSpec): boolean {
  return whiteoutOf(node, spec).kind !== 'none';
}

function whiteoutOf(node: Pick<ImageNode, 'name' | 'mode' | 'rdev'>, spec: WhiteoutSpec): Whiteout {
  const { name } = node;
  if (spec === 'overlayfs') {
    const isDevice = (node.mode & FileType.mask) === FileType.character && node.rdev === 0;
    return isDevice ? { kind: 'removal', name } : NOTHING;
  }
  if (spec === 'none' || !name.subarray(0, OCI_PREFIX.length).equals(OCI_PREFIX)) return NOTHING;
  return name.equals(OCI_OPAQUE) ? OPAQUE : { kind: 'removal', name: name.subarray(OCI_PREFIX.length) };
}

/**
 * Whether overlayfs shows nothing from below in this directory. The mark means nothing in a
 * merged tree and is taken off.
 */
function takeOpaque(directory: ImageNode, spec: WhiteoutSpec): boolean {
  if (spec !== 'overlayfs') return false;
  const mark = directory.xattrs.find(
    ({ name, value }) => name.equals(OPAQUE_XATTR) && value.equals(OPAQUE_VALUE),
  );
  if (mark === undefined) return false;
  directory.xattrs = directory.xattrs.filter((xattr) => xattr !== mark);
  return true;
}

function key(name: Buffer): string {
  return name.toString('latin1');
}
