/** Gzip files of odd members and blocks, mutated, cut into slices: what is accepted comes out of every slice again. */

import { refChunkInfo, refFeatures } from '../../src/image/blob/archive/ref-data.ts';
import { RefStore } from '../../src/image/blob/archive/ref-store.ts';
import { ImageError, interrupted } from '../../src/image/model/error.ts';
import { openArchive } from '../../src/image/source/archive/archive.ts';
import { readTar } from '../../src/image/source/tar/tar-source.ts';
import { digest } from '../../src/lib/content-hash.ts';
import { Turns } from '../../src/lib/turns.ts';
import type { Addon } from '../../src/native/addon.ts';
import { decodeChunkInfo } from '../../src/wire/blob-meta.ts';
import { gzipMembers } from '../support/gzip.ts';
import { onPool } from '../support/pool.ts';
import { bytesSource, END, member } from '../support/tars.ts';
import { mutateBytes, oneIn, pick, type Random } from './random.ts';
import type { Counts, Target } from './runner.ts';

const REFUSALS: readonly string[] = ['IMAGE_BAD_SOURCE', 'IMAGE_BAD_XATTR', 'IMAGE_TOO_LARGE'];
const SOURCE_NAME = 'test.tar';

/** Noise, runs or text. */
function content(random: Random): Buffer {
  const size = pick(random, [0, 1, 100, 511, 512, 513, 4096, 5000, random(100_000)]);
  const kind = random(3);
  const bytes = Buffer.alloc(size, kind === 0 ? random(256) : `text ${random(10)} of files, `);
  if (kind === 2) for (let i = 0; i < size; i++) bytes[i] = random(256);
  return bytes;
}

function gzipOf(random: Random): Buffer {
  const members = Array.from({ length: 1 + random(8) }, (_, i) =>
    member({ name: `file${i}` }, content(random)),
  );
  const tar = Buffer.concat([...members, END]);
  const starts = members.map((_, i) => members.slice(0, i).reduce((sum, { length }) => sum + length, 0));
  // Where data begins, where headers begin, or anywhere: also twice at one place, which gives an empty member.
  const cut = (): number =>
    pick(random, [pick(random, starts) + 512, pick(random, starts), random(tar.length)]);
  const cuts = Array.from({ length: random(8) }, cut).sort((a, b) => a - b);
  const packed = gzipMembers(tar, cuts);
  if (oneIn(random, 2)) return packed;
  const copy = Buffer.from(packed);
  mutateBytes(random, copy, oneIn(random, 10) ? 0 : 3, 2);
  return oneIn(random, 4) ? copy.subarray(0, 3 + random(copy.length)) : copy;
}

class GzipTarget implements Target {
  readonly #addon: Addon;

  constructor(addon: Addon) {
    this.#addon = addon;
  }

  async iterate(random: Random, counts: Counts): Promise<void> {
    const bytes = gzipOf(random);
    const pieceSize = pick(random, [1, 1000, 65_536, bytes.length + 1]);
    const chunkSize = pick(random, [0x1000, 0x10000, 0x100000]);
    let data: RefStore;
    try {
      const turns = new Turns(undefined, interrupted);
      const source = await openArchive(bytesSource(bytes, pieceSize), turns);
      const earlier = { find: () => undefined, ownIndex: () => 0 };
      data = new RefStore(source, { chunkSize, turns, earlier });
      const store = data;
      await readTar(source, { explicitUidGid: true, store: () => store });
      source.close();
    } catch (error) {
      if (!(error instanceof ImageError) || !REFUSALS.includes(error.code)) throw error;
      if (!error.message.startsWith(SOURCE_NAME))
        throw new Error(`a refusal that does not name its source: ${error.message}`);
      counts.refused++;
      return;
    }
    counts.accepted++;
    await this.#checkSlices(bytes, data);
  }

  /** Reads all chunks as a daemon would: through the checked table, each slice alone. */
  async #checkSlices(file: Buffer, data: RefStore): Promise<void> {
    if (data.slices === null || data.chunks.length === 0) return;
    const info = refChunkInfo(data);
    const header = { ...info, features: 0, compressor: 0, offset: 0, compressedSize: 0, uncompressedSize: 0 };
    const limits = { features: refFeatures(data), chunkCount: info.count, compressedSize: file.length };
    const table = decodeChunkInfo(info.bytes, header, { ...limits, uncompressedSize: data.uncompressedSize });
    const slices: Uint8Array[] = [];
    for (let i = 0; i < table.contextCount; i++) {
      const stored = file.subarray(table.zranInOffset(i), table.zranInOffset(i) + table.zranInLength(i));
      const out = new Uint8Array(table.zranOutLength(i));
      const [bits, byte, dictionary] = [table.zranBits(i), table.zranByte(i), table.zranDictionary(i)];
      const result = await onPool((done) =>
        this.#addon.zranDecodeAsync(stored, out, bits, byte, dictionary, done),
      );
      if (result !== out.length) throw new Error(`accepted, but slice ${i} does not inflate: ${result}`);
      slices.push(out);
    }
    for (const [i, chunk] of data.chunks.entries()) {
      const at = table.contextPosition(i);
      const bytes = slices[table.context(i)]!.subarray(at, at + chunk.uncompressedSize);
      if (!digest('sha256', bytes).equals(chunk.digest))
        throw new Error(`accepted, but chunk ${i} is not in its slice`);
    }
  }

  close(): void {}
}

/** Fuzzes the indexing of gzip files. */
export function gzipTarget(addon: Addon): Target {
  return new GzipTarget(addon);
}
