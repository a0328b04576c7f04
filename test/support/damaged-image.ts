/** Images of the fixtures in memory, with some bytes changed, and what `check` says of them. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type CheckReport, checkImage } from '../../src/image/check/check.ts';
import { imageOf, type WalkEntry, walkTree } from '../../src/image/read/tree-walk.ts';
import { blobSpec } from '../../src/rafs/blob-spec.ts';
import type { Bootstrap } from '../../src/rafs/bootstrap.ts';
import { openBootstrap } from '../../src/rafs/open-bootstrap.ts';
import { sourceOf } from './images.ts';
import { MemorySource } from './memory-source.ts';
import { bootstrapBytes, FIXTURES } from './rafs-fixtures.ts';

/** An image that may be changed: its bootstrap through `view`, its blobs in `blobs`. */
export class DamagedImage {
  readonly name: string;
  /** Of the unchanged bytes. */
  readonly bootstrap: Bootstrap;
  readonly view: DataView;
  readonly blobs: Map<string, Uint8Array> = new Map();

  constructor(name: string) {
    this.name = name;
    const bytes = bootstrapBytes(FIXTURES, name);
    this.bootstrap = openBootstrap(bytes.slice(0), name);
    this.view = new DataView(bytes);
  }

  get path(): string {
    return sourceOf(FIXTURES, this.name);
  }

  /** Id of the object with a blob's chunks, or with its chunk info. */
  id(blob = 0, kind: 'objectId' | 'metaObjectId' = 'objectId'): string {
    return blobSpec(this.bootstrap.blobs[blob]!, this.bootstrap, this.path)[kind];
  }

  /** A blob's bytes, which may be changed. */
  blob(id: string): Uint8Array {
    const known = this.blobs.get(id) ?? new Uint8Array(readFileSync(join(FIXTURES, 'blobs', id)));
    this.blobs.set(id, known);
    return known;
  }

  /** The entry at a path of the unchanged image: number of its inode and offset of the inode in the bootstrap. */
  entry(path: string): Pick<WalkEntry, 'lo' | 'at'> {
    for (const entry of walkTree(this.bootstrap, imageOf(this.bootstrap), () => {}))
      if (entry.path().toString() === path) return { lo: entry.lo, at: entry.at };
    throw new Error(`${this.name} has no ${path}`);
  }

  /** Checks what the bytes are now; with the blobs if wanted. */
  check(withBlobs = false): Promise<CheckReport> {
    const bootstrap = openBootstrap(this.view.buffer as ArrayBuffer, this.name);
    if (withBlobs)
      for (const { index } of bootstrap.blobs)
        for (const kind of ['objectId', 'metaObjectId'] as const)
          if (!this.blobs.has(this.id(index, kind))) this.blob(this.id(index, kind));
    const source = withBlobs ? new MemorySource(this.blobs) : null;
    return checkImage({ bootstrap, path: this.path, source });
  }
}
