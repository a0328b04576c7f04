import { addonCodecs } from '../../blob/codecs.ts';
import type { BlobSource } from '../../blob/source.ts';
import { Turns } from '../../lib/turns.ts';
import { addon } from '../../native/index.ts';
import type { Bootstrap } from '../../rafs/bootstrap.ts';
import type { Image } from '../../rafs/image.ts';
import { debugText } from '../model/debug-text.ts';
import { interrupted } from '../model/error.ts';
import { EntryReader } from '../read/entry-reader.ts';
import { imageOf, walkTree } from '../read/tree-walk.ts';
import { BlobChecker, type DamagedChunk } from './blobs.ts';
import type { CheckProgress, TreeCheck } from './contract.ts';
import { Faults } from './faults.ts';
import { TreeCheckV5 } from './tree-v5.ts';
import { TreeCheckV6 } from './tree-v6.ts';

/** What is checked and how. */
interface CheckOptions {
  /** Read by `readBootstrap`. */
  readonly bootstrap: Bootstrap;
  /** Where it came from: an inlined bootstrap's blob is named by it. */
  readonly path: string;
  /** Null: the blobs are not looked at. */
  readonly source: BlobSource | null;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: CheckProgress) => void) | undefined;
}

/** What was found. */
export interface CheckReport {
  /** The first faults: what is damaged, then the rule it breaks. */
  readonly faults: readonly string[];
  /** All faults. */
  readonly faultCount: number;
  /** What could not be verified, and why. */
  readonly notes: readonly string[];
}

/**
 * Verifies an image: superblock and tables were when it was opened; here every inode, entry, xattr and chunk record, v5
 * inode digests, and with `source` each blob's chunk info, table of contents, meta blob and chunks. Memory does not
 * depend on the size of the blobs. Rejects with ImageError IMAGE_ABORTED when the signal says so, with nothing else
 * that the bytes of an image can bring about.
 */
export async function checkImage(options: CheckOptions): Promise<CheckReport> {
  const { bootstrap, path, source, signal, onProgress } = options;
  const faults = new Faults();
  const notes: string[] = [];
  const image = imageOf(bootstrap);
  const tree = await checkTree(bootstrap, image, path, faults, new Turns(signal, interrupted));
  // Records that break rules would only be reported again by the blobs they point into.
  if (source !== null && faults.count === 0) {
    const checker = new BlobChecker({
      bootstrap,
      path,
      source,
      codecs: addonCodecs(addon),
      chunks: tree.chunks,
      faults,
      notes,
      signal,
      onProgress,
    });
    const damaged = await checker.run();
    reportDamaged(bootstrap, image, damaged, faults);
  } else if (source !== null) notes.push('the blobs were not checked: the bootstrap is damaged');
  return { faults: faults.list, faultCount: faults.count, notes };
}

async function checkTree(
  bootstrap: Bootstrap,
  image: Image,
  path: string,
  faults: Faults,
  turns: Turns,
): Promise<TreeCheck> {
  const tree =
    bootstrap.version === 5
      ? new TreeCheckV5(bootstrap, path, faults)
      : new TreeCheckV6(bootstrap, image, path, faults);
  const reached = new Set<number>();
  let entries = 0;
  const report = (at: Buffer, lo: number, fault: string): void =>
    faults.add(`${debugText(at)} (inode ${lo})`, fault);
  for (const entry of walkTree(bootstrap, image, report)) {
    entries++;
    reached.add(entry.lo);
    tree.entry(entry);
    const pause = turns.next();
    if (pause !== undefined) await pause;
  }
  // What was left out because it is damaged is missing in the counts, too.
  if (faults.count === 0) checkCounts(bootstrap, entries, reached, faults);
  return tree;
}

function checkCounts(
  bootstrap: Bootstrap,
  entries: number,
  reached: ReadonlySet<number>,
  faults: Faults,
): void {
  const [field, said] =
    bootstrap.version === 5
      ? ['inode_table_entries', bootstrap.superblock.inodeTableEntries]
      : ['s_inos', bootstrap.superblock.inos];
  if (said !== entries) faults.add(`${field} = ${said}`, `the tree has ${entries} entries`);
  for (const [i, lo] of bootstrap.prefetch.entries())
    if (!reached.has(lo)) faults.add(`prefetch_table[${i}] = ${lo}`, 'no inode of the tree');
}

/** Damaged chunks are named with a file that has them, which takes another walk. */
function reportDamaged(
  bootstrap: Bootstrap,
  image: Image,
  damaged: readonly DamagedChunk[],
  faults: Faults,
): void {
  if (damaged.length === 0) return;
  const users = new Map(damaged.map(({ blobIndex, key }) => [`${blobIndex}:${key}`, { path: '', more: 0 }]));
  const reader = new EntryReader(bootstrap, image);
  const isUnindexed = bootstrap.version === 5 && bootstrap.legacyOffsets !== null;
  for (const entry of walkTree(bootstrap, image, () => {})) {
    if (!entry.isFirst) continue;
    for (const chunk of reader.chunks(entry)) {
      const key = isUnindexed ? chunk.uncompressedOffset : chunk.index;
      const user = users.get(`${chunk.blobIndex}:${key}`);
      if (user === undefined) continue;
      if (user.path === '') user.path = `${debugText(entry.path())} (inode ${entry.lo})`;
      else user.more++;
    }
  }
  for (const { blobIndex, key, place, rule } of damaged) {
    const { path, more } = users.get(`${blobIndex}:${key}`)!;
    const others = more === 0 ? '' : ` and ${more} more`;
    faults.add(`${place}, of ${path === '' ? 'no file' : path + others}`, rule);
  }
}
