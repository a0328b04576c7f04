/** `nydus-image check` on images whose bootstrap or blobs were changed in a few places. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { checkImage } from '../../src/image/check/check.ts';
import { checkLines } from '../../src/image/check/text.ts';
import { EntryReader } from '../../src/image/read/entry-reader.ts';
import { imageOf, walkTree } from '../../src/image/read/tree-walk.ts';
import { blobSpec } from '../../src/rafs/blob-spec.ts';
import type { Bootstrap } from '../../src/rafs/bootstrap.ts';
import { openBootstrap } from '../../src/rafs/open-bootstrap.ts';
import { RafsError } from '../../src/wire/rafs/error.ts';
import { sourceOf } from '../support/images.ts';
import { MemorySource } from '../support/memory-source.ts';
import { bootstrapBytes, FIXTURES } from '../support/rafs-fixtures.ts';
import { mutateBytes, oneIn, pick, type Random } from './random.ts';
import type { Counts, Target } from './runner.ts';

/** Most iterations take a small image: the others take 20 times as long. */
const SMALL = ['v5-merge3', 'v6-merge3', 'v6-dict'];
const LARGE = [
  'v5-inline-meta',
  'v6-batch',
  'v6-encrypt',
  'v6-targz-ref',
  'v6-tarfs',
  'v6-toc-inline',
  'v5-zstd-sha256',
];
const LARGE_ONCE_IN = 8;
/** Behind the superblocks of both versions and the tables of blobs: in front of it nearly nothing would be accepted. */
const BODY = 8192;

interface Seed {
  readonly path: string;
  readonly bootstrap: Uint8Array;
  /** By id. */
  readonly blobs: ReadonlyMap<string, Uint8Array>;
}

function load(name: string): Seed {
  const path = sourceOf(FIXTURES, name);
  const bootstrap = new Uint8Array(bootstrapBytes(FIXTURES, name));
  const opened = openBootstrap(bootstrap.slice().buffer, name);
  const blobs = new Map<string, Uint8Array>();
  for (const row of opened.blobs) {
    const { objectId, metaObjectId } = blobSpec(row, opened, path);
    for (const id of [objectId, metaObjectId]) blobs.set(id, readFileSync(join(FIXTURES, 'blobs', id)));
  }
  return { path, bootstrap, blobs };
}

/** A bootstrap with some bytes changed. */
function mutateBootstrap(random: Random, original: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(original);
  mutateBytes(random, bytes, oneIn(random, 6) ? 0 : BODY);
  return bytes;
}

function mutateBlobs(random: Random, blobs: ReadonlyMap<string, Uint8Array>): Map<string, Uint8Array> {
  const id = pick(random, [...blobs.keys()]);
  const copy = new Map(blobs);
  if (oneIn(random, 20)) copy.delete(id);
  else {
    const bytes = new Uint8Array(blobs.get(id)!);
    // What describes the data is at the end.
    mutateBytes(random, bytes, oneIn(random, 2) ? 0 : Math.max(0, bytes.length - BODY));
    copy.set(id, oneIn(random, 10) ? bytes.subarray(0, random(bytes.length)) : bytes);
  }
  return copy;
}

/** What was accepted can be listed without an error, each entry once. */
function list(bootstrap: Bootstrap): void {
  const image = imageOf(bootstrap);
  const reader = new EntryReader(bootstrap, image);
  const refuse = (path: Buffer, _lo: number, fault: string): never => {
    throw new Error(`accepted, but ${path}: ${fault}`);
  };
  for (const entry of walkTree(bootstrap, image, refuse)) {
    for (const chunk of reader.chunks(entry)) {
      const blob = bootstrap.blobs[chunk.blobIndex];
      if (blob === undefined) throw new Error(`accepted, but a chunk of blob ${chunk.blobIndex}`);
    }
  }
  for (const line of checkLines(bootstrap, 'fuzzed', true))
    if (line.includes('\n')) throw new Error('an entry of two lines');
}

class CheckTarget implements Target {
  readonly #small = SMALL.map(load);
  readonly #large = LARGE.map(load);

  async iterate(random: Random, counts: Counts): Promise<void> {
    const seed = pick(random, oneIn(random, LARGE_ONCE_IN) ? this.#large : this.#small);
    const kind = random(4);
    const bytes = kind === 0 ? new Uint8Array(seed.bootstrap) : mutateBootstrap(random, seed.bootstrap);
    const blobs = kind === 1 ? seed.blobs : mutateBlobs(random, seed.blobs);
    let bootstrap: Bootstrap;
    try {
      bootstrap = openBootstrap(bytes.buffer, 'mutant');
    } catch (error) {
      if (!(error instanceof RafsError)) throw error;
      counts.refused++;
      return;
    }
    const source = kind === 2 ? null : new MemorySource(blobs);
    const { faultCount, faults } = await checkImage({ bootstrap, path: seed.path, source });
    if (faults.length > faultCount || (faultCount > 0 && faults.length === 0))
      throw new Error(`${faultCount} faults, ${faults.length} of them told`);
    const twoLines = faults.find((fault) => fault.includes('\n'));
    if (twoLines !== undefined) throw new Error(`a fault of two lines: ${JSON.stringify(twoLines)}`);
    if (faultCount > 0) counts.refused++;
    else {
      counts.accepted++;
      list(bootstrap);
    }
  }

  close(): void {}
}

export function checkTarget(): Target {
  return new CheckTarget();
}
