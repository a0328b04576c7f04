import { type ImageNode, isRegular, type NumberedTree } from './node.ts';

/** What a list of paths means for a build. */
export interface PrefetchMatch {
  /** Nodes which a path names exactly, in the order of the paths. */
  readonly nodes: readonly ImageNode[];
  /** All nodes in the order in which their data is stored: what is read ahead comes first. */
  readonly dataOrder: readonly ImageNode[];
  /** Those of them whose data is read ahead. */
  readonly early: readonly ImageNode[];
}

/** Absolute paths of the list, each at most once, without those below an earlier one. */
export function parsePrefetchList(text: string): string[] {
  const patterns: string[] = [];
  for (const line of text.split('\n')) {
    const path = line
      .trim()
      .replace(/\/+/g, '/')
      .replace(/(?<=.)\/$/, '');
    if (path.startsWith('/') && !patterns.some((earlier) => covers(earlier, path))) patterns.push(path);
  }
  return patterns;
}

/** Finds the nodes of `patterns` (as `parsePrefetchList` gives them) in a numbered tree. */
export function matchPrefetch(tree: NumberedTree, patterns: readonly string[]): PrefetchMatch {
  if (patterns.length === 0) return { nodes: [], dataOrder: tree.byIndex, early: [] };
  const exact = new Map<number, ImageNode>();
  const groups: ImageNode[][] = patterns.map(() => []);
  const rest: ImageNode[] = [];
  const positions = new Map(patterns.map((pattern, i) => [Buffer.from(pattern).toString('latin1'), i]));
  const paths = new Map<ImageNode, { path: string; within: number | undefined }>();
  const place = (node: ImageNode, path: string, inherited: number | undefined): void => {
    const position = isRegular(node) && node.size === 0 ? undefined : positions.get(path);
    if (position !== undefined) exact.set(position, node);
    const within = position ?? inherited;
    paths.set(node, { path, within });
    const early = within !== undefined && isRegular(node) && node.size > 0;
    (early ? groups[within]! : rest).push(node);
  };
  place(tree.root, '/', undefined);
  for (const node of tree.byIndex) {
    const { path, within } = paths.get(node)!;
    const prefix = path === '/' ? '/' : `${path}/`;
    for (const child of node.children) place(child, prefix + child.name.toString('latin1'), within);
  }
  const nodes = patterns.flatMap((_, i) => exact.get(i) ?? []);
  const early = groups.flatMap(byIndexOrder);
  return { nodes, dataOrder: [...early, ...byIndexOrder(rest)], early };
}

function byIndexOrder(nodes: ImageNode[]): ImageNode[] {
  return nodes.sort((a, b) => a.index - b.index);
}

function covers(pattern: string, path: string): boolean {
  return path === pattern || path.startsWith(pattern === '/' ? '/' : `${pattern}/`);
}
