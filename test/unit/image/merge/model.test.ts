/** Random stacks of layers, merged through files and by a model of OCI layers that knows paths only. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { merge } from '../../../../src/image/merge/merge.ts';
import { type ImageNode, inOrder, isDirectory, newNode } from '../../../../src/image/model/node.ts';
import { loadImage } from '../../../../src/image/read/load.ts';
import { generator, oneIn, pick, type Random } from '../../../fuzz/random.ts';
import { directory, file, writeLayer } from '../../../support/image-layers.ts';

const SEED = 20261125;
const STACKS = 60;
const NAMES = ['a', 'b', 'c', '-', 'a.b', '.x'];
const DEPTH_MAX = 3;

/** What a path shows: the inode it names, a directory or a file of the text. */
interface Shown {
  readonly inode: string;
  readonly text: string | null;
}

/** A layer as a list of entries; a directory stands before what is in it. */
interface Entry {
  readonly path: string;
  readonly shown: Shown;
}

/** A layer without order: entries, removed paths, and directories whose lower contents are hidden. */
interface Layer {
  readonly entries: readonly Entry[];
  readonly removed: readonly string[];
  readonly opaque: readonly string[];
}

function randomLayer(random: Random, number: number): Layer {
  const entries: Entry[] = [];
  const removed: string[] = [];
  const opaque: string[] = [];
  const files: Shown[] = [];
  const fill = (parent: string, depth: number): void => {
    for (const name of NAMES) {
      const path = `${parent}/${name}`;
      if (oneIn(random, 5)) removed.push(path);
      const kind = random(7);
      if (kind < 2 && depth < DEPTH_MAX) {
        entries.push({ path, shown: { inode: `${number}${path}`, text: null } });
        fill(path, depth + 1);
      } else if (kind === 2 || (kind === 3 && files.length === 0)) {
        // Two texts a layer: chunks are shared, within layers and among them.
        const shown = { inode: `${number}${path}`, text: oneIn(random, 4) ? '' : `text ${random(3)}` };
        files.push(shown);
        entries.push({ path, shown });
      } else if (kind === 3) entries.push({ path, shown: pick(random, files) });
    }
    if (oneIn(random, 6)) opaque.push(parent);
  };
  fill('', 0);
  return { entries, removed, opaque };
}

/** The rules of the OCI image specification, said of paths. */
function apply(below: ReadonlyMap<string, Shown>, layer: Layer): Map<string, Shown> {
  const result = new Map(below);
  const hide = (path: string, itself: boolean): void => {
    for (const each of [...result.keys()])
      if ((itself && each === path) || each.startsWith(`${path}/`)) result.delete(each);
  };
  for (const path of layer.removed) hide(path, true);
  for (const path of layer.opaque) hide(path, false);
  for (const { path, shown } of layer.entries) {
    const known = result.get(path);
    if (known !== undefined && (known.text !== null || shown.text !== null)) hide(path, true);
    result.set(path, shown);
  }
  return result;
}

/** The layer as a tree with whiteout files. Times tell entries apart that are otherwise the same. */
function treeOf(layer: Layer, times: Map<string, bigint>): ImageNode {
  const root = directory('/');
  const at = new Map<string, ImageNode>([['', root]]);
  const put = (path: string, node: ImageNode): void => {
    const slash = path.lastIndexOf('/');
    at.get(path.slice(0, slash))!.children.push(node);
    at.set(path, node);
  };
  for (const { path, shown } of layer.entries) {
    const name = path.slice(path.lastIndexOf('/') + 1);
    const mtimeSec = times.get(shown.inode) ?? BigInt(times.size + 1);
    times.set(shown.inode, mtimeSec);
    const node = shown.text === null ? directory(name) : file(name, shown.text, shown.inode);
    put(path, newNode({ ...node, mtimeSec }));
  }
  for (const path of layer.removed) {
    const slash = path.lastIndexOf('/');
    put(path, file(`.wh.${path.slice(slash + 1)}`));
  }
  for (const path of layer.opaque) put(`${path}/opq`, file('.wh..wh..opq'));
  for (const node of [...inOrder(root)]) node.children.sort((a, b) => Buffer.compare(a.name, b.name));
  return root;
}

/** Lines `path kind time digest nlink`, and the sets of paths that are one inode. */
function describeImage(root: ImageNode): { lines: string[]; links: string[] } {
  const lines: string[] = [];
  const groups = new Map<string, string[]>();
  const visit = (node: ImageNode, path: string): void => {
    for (const child of node.children) {
      const name = `${path}/${child.name}`;
      const chunk = child.chunks[0]?.digest.toString('hex') ?? '-';
      const links = isDirectory(child) ? '-' : child.nlink;
      lines.push(`${name} ${isDirectory(child) ? 'd' : 'f'} ${child.mtimeSec} ${chunk} ${links}`);
      if (!isDirectory(child)) groups.set(child.linkKey, [...(groups.get(child.linkKey) ?? []), name]);
      visit(child, name);
    }
  };
  visit(root, '');
  return { lines: lines.sort(), links: [...groups.values()].map((group) => group.sort().join()).sort() };
}

/** The same of the model. */
function describeModel(
  paths: ReadonlyMap<string, Shown>,
  times: ReadonlyMap<string, bigint>,
): ReturnType<typeof describeImage> {
  const groups = new Map<string, string[]>();
  for (const [path, { inode, text }] of paths)
    if (text !== null) groups.set(inode, [...(groups.get(inode) ?? []), path]);
  const lines = [...paths].map(([path, { inode, text }]) => {
    const chunk = text ? file('f', text).chunks[0]!.digest.toString('hex') : '-';
    const links = text === null ? '-' : groups.get(inode)!.length;
    return `${path} ${text === null ? 'd' : 'f'} ${times.get(inode)} ${chunk} ${links}`;
  });
  return { lines: lines.sort(), links: [...groups.values()].map((group) => group.sort().join()).sort() };
}

test.each([5, 6] as const)('random stacks of layers show what the model shows (v%i)', async (version) => {
  const dir = mkdtempSync(join(tmpdir(), 'merge-model-'));
  const random = generator(SEED + version);
  let shown = 0;
  try {
    for (let stack = 0; stack < STACKS; stack++) {
      const layers = Array.from({ length: 1 + random(4) }, (_, i) => randomLayer(random, i));
      const hasParent = layers.length > 1 && oneIn(random, 3);
      // Nothing takes whiteouts out of a parent, which is an image and not a layer.
      if (hasParent) layers[0] = { ...layers[0]!, removed: [], opaque: [] };
      const times = new Map<string, bigint>();
      const sources = layers.map((layer, i) => {
        const path = join(dir, `blob${i}`);
        writeLayer(path, treeOf(layer, times), `blob${i}`, version);
        return { path, blob: {} };
      });
      const options = hasParent
        ? { layers: sources.slice(1), parent: sources[0]!.path }
        : { layers: sources };
      const bootstrap = { kind: 'file', path: join(dir, 'merged') } as const;
      const { blobIds } = await merge({ ...options, bootstrap, prefetchPatterns: [] });
      const expected = layers.reduce<ReadonlyMap<string, Shown>>(apply, new Map());
      const image = await loadImage(bootstrap.path);
      const name = `seed ${SEED + version}, stack ${stack}`;
      expect(describeImage(image.root), name).toEqual(describeModel(expected, times));
      expect(blobIds.toSorted(), name).toEqual(blobsOf(expected));
      shown += expected.size;
    }
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
  expect(shown).toBeGreaterThan(STACKS);
});

/** Blobs of the layers from which a file with data is still shown: an inode's name begins with its layer. */
function blobsOf(paths: ReadonlyMap<string, Shown>): string[] {
  const layers = new Set([...paths.values()].filter(({ text }) => text).map(({ inode }) => inode[0]));
  return [...layers].map((layer) => `blob${layer}`).sort();
}
