/** A tree of two images, with files behind it, for targets that need something to serve. */
import type { BlobView } from '../../src/blob/view.ts';
import { Attr, type DirectorySink } from '../../src/fuse/filesystem.ts';
import { RafsFileSystem } from '../../src/imagefs/filesystem.ts';
import type { Addon } from '../../src/native/addon.ts';
import { openBootstrap } from '../../src/rafs/open-bootstrap.ts';
import { Vfs } from '../../src/vfs/vfs.ts';
import { bootstrapBytes, emptyViews, FIXTURES } from '../support/rafs-fixtures.ts';

/** A node that requests may name. */
export interface Node {
  readonly hi: number;
  readonly lo: number;
  readonly size: number;
  readonly isDirectory: boolean;
  /** Of the nodes below it. */
  readonly names: readonly Buffer[];
}

export type Done = (result: number, pieces: readonly Uint8Array[] | null) => void;

const NODES_MAX = 400;
const ROOT = 1;

/** `Vfs` over images whose chunks lie in one sparse memfd; every other chunk of the first image is missing. */
export class FuzzTree {
  readonly vfs: Vfs = new Vfs();
  readonly nodes: Node[] = [];
  /** Answers that the fetcher owes, each to be called once, with the bits that it sets. */
  readonly owed: { readonly done: Done; readonly set: () => void }[] = [];
  readonly #addon: Addon;
  readonly #fd: number;

  constructor(addon: Addon) {
    this.#addon = addon;
    this.#fd = addon.memfdCreate('blob', 1 << 30);
    this.#mount('/a', 'v6-merge3', 1, true);
    this.#mount('/b/c', 'v5-merge3', 2, false);
    this.#visit(0, ROOT, new Set());
  }

  #mount(path: string, name: string, serial: number, missing: boolean): void {
    const bootstrap = openBootstrap(bootstrapBytes(FIXTURES, name), name);
    const blobs = emptyViews(bootstrap).map((view): BlobView => {
      if (view.ready !== null) new Uint8Array(view.ready).fill(0x55);
      return { ...view, fd: this.#fd, ready: missing ? view.ready : null };
    });
    const fs = new RafsFileSystem(bootstrap, {
      serial,
      blobs,
      fetcher: { fetch: (blob, chunks, done) => this.#owe(blob, chunks, done) },
      uid: 0,
      gid: 0,
      xattrs: true,
      validate: false,
      // Requests name inodes that are none.
      onBadInode: () => {},
    });
    this.vfs.mount(path, fs, serial);
  }

  #owe(blob: BlobView, chunks: readonly { readonly index: number }[], done: Done): void {
    const set = () => {
      if (blob.ready === null) return;
      const bits = new Uint8Array(blob.ready);
      for (const { index } of chunks) bits[index >> 3]! |= 0x80 >> (index & 7);
    };
    this.owed.push({ done, set });
  }

  #visit(hi: number, lo: number, seen: Set<string>): void {
    const key = `${hi}:${lo}`;
    if (seen.has(key) || this.nodes.length >= NODES_MAX) return;
    seen.add(key);
    const attr = new Attr();
    if (this.vfs.getattr(hi, lo, attr) < 0) return;
    const isDirectory = (attr.mode & 0o170000) === 0o040000;
    const names: Buffer[] = [];
    this.nodes.push({ hi, lo, size: attr.size, isDirectory, names });
    if (!isDirectory) return;
    const below: [number, number][] = [];
    const sink: DirectorySink = {
      add: () => true,
      addPlus: (entry, _cookie, _type, bytes, start, end) => {
        names.push(Buffer.from(bytes.subarray(start, end)));
        below.push([entry.nodeHi, entry.nodeLo]);
        return true;
      },
    };
    this.vfs.readdirplus(hi, lo, 0, sink);
    for (const [childHi, childLo] of below) this.#visit(childHi, childLo, seen);
  }

  close(): void {
    this.#addon.closeFd(this.#fd);
  }
}
