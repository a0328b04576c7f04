import type { FileSystem } from '../fuse/filesystem.ts';
import { splitPath } from './path.ts';

/** A file system that can be mounted: it fills entries with its own serial as the high word of nodeids. */
export interface MountedFs extends FileSystem {
  readonly rootLo: number;
}

/** A mount at its place in the tree. */
interface Mount {
  readonly serial: number;
  readonly fs: MountedFs;
  readonly node: PseudoNode;
}

/** A directory that exists because a mount needs it. */
export class PseudoNode {
  /** Inode number, the low word of its nodeid (the high one is 0). Never used again. */
  readonly lo: number;
  readonly name: Uint8Array;
  readonly key: string;
  readonly parent: PseudoNode | null;
  readonly children: Map<string, PseudoNode> = new Map();
  mount: Mount | null = null;
  /** Time of the last change of its entries. */
  changedMs: number = Date.now();

  constructor(lo: number, name: string, parent: PseudoNode | null) {
    this.lo = lo;
    this.key = name;
    this.name = Buffer.from(name);
    this.parent = parent;
  }
}

export const ROOT_LO = 1;

/**
 * The directories above and at mountpoints. A mount hides what is mounted below it until it goes; directories that no
 * mount needs any more disappear.
 */
export class PseudoTree {
  readonly root: PseudoNode = new PseudoNode(ROOT_LO, '', null);
  readonly #nodes = new Map<number, PseudoNode>([[ROOT_LO, this.root]]);
  readonly #mounts = new Map<number, Mount>();
  #nextLo = ROOT_LO + 1;

  node(lo: number): PseudoNode | undefined {
    return this.#nodes.get(lo);
  }

  mount(serial: number): Mount | undefined {
    return this.#mounts.get(serial);
  }

  get mountCount(): number {
    return this.#mounts.size;
  }

  /** Directories there are, the root included. */
  get nodeCount(): number {
    return this.#nodes.size;
  }

  /** Mounts `fs` at `path`; a mount which is there already is replaced, as by `remove`. Throws PathError. */
  add(path: string, fs: MountedFs, serial: number): void {
    let node = this.root;
    for (const name of splitPath(path)) node = this.#child(node, name);
    const mount = { serial, fs, node };
    node.mount = mount;
    node.changedMs = Date.now();
    this.#mounts.set(serial, mount);
  }

  #child(parent: PseudoNode, name: string): PseudoNode {
    const found = parent.children.get(name);
    if (found !== undefined) return found;
    const node = new PseudoNode(this.#nextLo++, name, parent);
    parent.children.set(name, node);
    parent.changedMs = Date.now();
    this.#nodes.set(node.lo, node);
    return node;
  }

  /**
   * Takes a mount from its path, and the directories away that only it needed. Its nodes are served on until `forget`.
   * False when it is not at any path (replaced, or gone).
   */
  remove(serial: number): boolean {
    const node = this.#mounts.get(serial)?.node;
    if (node?.mount?.serial !== serial) return false;
    node.mount = null;
    node.changedMs = Date.now();
    for (
      let at: PseudoNode = node;
      at.parent !== null && at.mount === null && at.children.size === 0;
      at = at.parent
    ) {
      at.parent.children.delete(at.key);
      at.parent.changedMs = Date.now();
      this.#nodes.delete(at.lo);
    }
    return true;
  }

  /** From now on nodes of this mount do not exist. */
  forget(serial: number): void {
    this.#mounts.delete(serial);
  }
}
