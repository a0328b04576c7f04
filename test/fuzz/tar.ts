/** Archives of every kind of member, mutated, built into images, and read back. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { create } from '../../src/image/create/create.ts';
import { ImageError } from '../../src/image/model/error.ts';
import { type ImageNode, isDirectory, isRegular } from '../../src/image/model/node.ts';
import { loadImage } from '../../src/image/read/load.ts';
import { openDecompressed } from '../../src/image/source/tar/byte-source.ts';
import { TarReader } from '../../src/image/source/tar/reader.ts';
import { readTar } from '../../src/image/source/tar/tar-source.ts';
import type { FileStream } from '../../src/image/source/tree-source.ts';
import { sealTarHeader, TAR_BLOCK, TarError, TarField, TarType } from '../../src/wire/tar.ts';
import { bytesSource, END, gnuMember, member, padded, paxMember } from '../support/tars.ts';
import { mutateBytes, oneIn, pick, type Random, random64 } from './random.ts';
import type { Counts, Target } from './runner.ts';

const CHUNK_SIZE = 4096;
/** Trees with more data, which means with larger holes, are not built: that takes long and shows nothing new. */
const BUILT_BYTES_MAX = 1 << 20;
const SOURCE_NAME = 'test.tar';
const REFUSALS: readonly string[] = [
  'IMAGE_BAD_SOURCE',
  'IMAGE_BAD_XATTR',
  'IMAGE_TOO_LARGE',
  'IMAGE_UNREADABLE',
];

const octal = (number: number): string => `${number.toString(8).padStart(11, '0')}\0`;
const xattrs = [
  { name: Buffer.from('user.newline'), value: Buffer.from('a\nb=c\n') },
  { name: Buffer.from('security.capability'), value: Buffer.alloc(20, 1) },
];
const sparseRecords = [
  [
    ['GNU.sparse.size', '9000'],
    ['GNU.sparse.offset', '600'],
    ['GNU.sparse.numbytes', '6'],
  ],
  [
    ['GNU.sparse.size', '9000'],
    ['GNU.sparse.map', '600,6'],
    ['GNU.sparse.name', 'sparse/b'],
  ],
  [
    ['GNU.sparse.major', '1'],
    ['GNU.sparse.minor', '0'],
    ['GNU.sparse.realsize', '9000'],
    ['GNU.sparse.name', 'sparse/c'],
  ],
] as const;

/** What archives are put together from: each stands alone. */
const MEMBERS: readonly Buffer[] = [
  member({ name: './', type: TarType.directory, mode: 0o755 }),
  member({ name: 'dir/', type: TarType.directory, mode: 0o755, uid: 1, gid: 2, xattrs }),
  member({ name: 'dir/file', xattrs }, 'data of a file'),
  member({ name: 'file' }, Buffer.alloc(10_000, 'large ')),
  member({ name: 'hard', type: TarType.link, linkName: 'dir/file' }),
  member({ name: 'dir/hard', type: TarType.link, linkName: './file' }),
  member({ name: 'dir/link', type: TarType.symlink, linkName: '../file' }),
  member({ name: 'null', type: TarType.character, devMajor: 1, devMinor: 3 }),
  member({ name: 'block', type: TarType.block, devMajor: 259, devMinor: 70000 }),
  member({ name: 'fifo', type: TarType.fifo }),
  member({ name: `${'long/'.repeat(60)}name`, uid: 5_000_000, mtimeSec: -3, mtimeNs: 5 }, 'x'),
  member({ name: 'dir/.wh.gone' }),
  member({ name: '.prefetch.landmark' }, 'y'),
  member({ name: 'contiguous', type: TarType.contiguous }, 'z'),
  member({ name: 'label', type: TarType.gnuVolume }),
  paxMember(
    [
      ['mtime', '1.5'],
      ['comment', 'all'],
    ],
    TarType.paxGlobal,
  ),
  Buffer.concat([
    gnuMember({ name: '././@LongLink', type: TarType.gnuLongName }, `${'gnu/'.repeat(50)}\0`),
    gnuMember({ name: 'x' }, 'gnu'),
  ]),
  Buffer.concat([
    gnuMember({ name: '././@LongLink', type: TarType.gnuLongLink }, `${'t'.repeat(150)}\0`),
    gnuMember({ name: 's', type: TarType.symlink }),
  ]),
  Buffer.concat([paxMember(sparseRecords[0]), member({ name: 'sparse/a' }, 'middle')]),
  Buffer.concat([paxMember(sparseRecords[1]), member({ name: 'substitute' }, 'middle')]),
  Buffer.concat([
    paxMember(sparseRecords[2]),
    member(
      { name: 'substitute' },
      Buffer.concat([padded(Buffer.from('1\n600\n6\n')), Buffer.from('middle')]),
    ),
  ]),
  gnuMember({ name: 'sparse/d', type: TarType.gnuSparse }, 'middle', (block) => {
    block.write(octal(600) + octal(6), TarField.gnuRegions[0], 'latin1');
    block.write(octal(9000), TarField.gnuRealSize[0], 'latin1');
  }),
  END,
];

const NAMES: readonly string[] = [
  '',
  '.',
  '/',
  '..',
  '../up',
  'dir/../../up',
  'dir/..',
  'file/below',
  'dir/link/below',
  'dir',
  'file',
  'file/',
  'hard',
  '//dir//file',
  'a\nb',
  'n'.repeat(100),
];
const FIELDS = Object.keys(TarField) as (keyof typeof TarField)[];

/** Offsets of the header blocks in whole members: what is not data or a map. */
function headersOf(bytes: Buffer): number[] {
  const headers: number[] = [];
  for (let at = 0; at + TAR_BLOCK <= bytes.length; at += TAR_BLOCK)
    if (bytes.toString('latin1', at + TarField.magic[0], at + TarField.magic[0] + 5) === 'ustar')
      headers.push(at);
  return headers;
}

/** Writes something odd into a field. The checksum is that of the result, nearly always. */
function mutateHeader(random: Random, block: Buffer): void {
  const [at, size] = TarField[pick(random, FIELDS)];
  const kind = random(5);
  if (kind === 0) mutateBytes(random, block.subarray(at, at + size), 0, 1);
  else if (kind === 1)
    block.write(
      random64(random)
        .toString(8)
        .padStart(size - 1, '0')
        .slice(-size),
      at,
      'latin1',
    );
  else if (kind === 2) {
    block.fill(oneIn(random, 2) ? 0x80 : 0xff, at, at + size);
    block.writeBigUInt64BE(BigInt.asUintN(64, random64(random)), Math.max(at, at + size - 8));
  } else if (kind === 3)
    block[TarField.type[0]] = pick(random, [...Object.values(TarType), 'M', '\0']).charCodeAt(0);
  else {
    const field = pick(random, [TarField.name, TarField.linkName]);
    block.fill(0, field[0], field[0] + field[1]);
    block.write(pick(random, NAMES), field[0], field[1], 'latin1');
  }
  if (!oneIn(random, 20)) sealTarHeader(block);
}

/** An archive of some members in some order, changed in some places. */
function mutant(random: Random): Buffer {
  const parts = Array.from({ length: 1 + random(12) }, () => pick(random, MEMBERS));
  let bytes: Buffer = Buffer.concat([...(oneIn(random, 2) ? MEMBERS.slice(0, 4) : []), ...parts]);
  for (let n = random(4); n > 0; n--) {
    const headers = headersOf(bytes);
    const at = pick(random, headers);
    if (headers.length > 0 && !oneIn(random, 3)) mutateHeader(random, bytes.subarray(at, at + TAR_BLOCK));
    else {
      // Behind a header there may be pax records or a map.
      const body = bytes.subarray(Math.min(bytes.length, (at ?? 0) + TAR_BLOCK), (at ?? 0) + 2 * TAR_BLOCK);
      mutateBytes(random, body, 0, 2);
    }
  }
  if (oneIn(random, 10)) bytes = bytes.subarray(0, random(bytes.length + 1));
  if (!oneIn(random, 5)) return bytes;
  const packed = gzipSync(bytes, { level: 1 });
  if (oneIn(random, 2)) mutateBytes(random, packed, 10, 1);
  return packed;
}

/** Takes data as a build would, without keeping it; holes at once. */
async function passData(node: ImageNode, stream: FileStream): Promise<void> {
  const piece = Buffer.alloc(CHUNK_SIZE);
  for (let left = node.size; left > 0; ) {
    const hole = Math.min(left, stream.hole);
    if (hole > 0) stream.skipHole(hole);
    else await stream.read(piece.subarray(0, Math.min(left, CHUNK_SIZE)));
    left -= hole > 0 ? hole : Math.min(left, CHUNK_SIZE);
  }
}

function wrong(path: string, what: string): Error {
  return new Error(`accepted, but ${JSON.stringify(path)} ${what}`);
}

/** Throws unless the tree is one that a file system can show. Returns its paths and the bytes of its files. */
function checkTree(root: ImageNode): { paths: string[]; size: number } {
  const paths: string[] = [];
  let size = 0;
  const visit = (node: ImageNode, path: string): void => {
    paths.push(path);
    if (isRegular(node)) size += node.size;
    if (!Number.isSafeInteger(node.size) || node.size < 0) throw wrong(path, `has size ${node.size}`);
    for (const id of [node.uid, node.gid, node.rdev])
      if (id >>> 0 !== id) throw wrong(path, `has an owner or device of ${id}`);
    if (!isDirectory(node) && node.children.length > 0) throw wrong(path, 'has children and is no directory');
    let previous: Buffer = Buffer.alloc(0);
    for (const child of node.children) {
      const name = child.name.toString('latin1');
      if (name === '' || name === '.' || name === '..' || /[/\0]/.test(name) || name.length > 255)
        throw wrong(path, `has a child named ${JSON.stringify(name)}`);
      if (Buffer.compare(previous, child.name) >= 0) throw wrong(path, 'has unsorted children');
      previous = child.name;
      visit(child, path === '/' ? `/${name}` : `${path}/${name}`);
    }
  };
  visit(root, '/');
  return { paths, size };
}

/** Entries lie within the archive, one after the other. */
async function checkEntries(bytes: Buffer): Promise<void> {
  const reader = new TarReader(bytesSource(bytes));
  let end = 0;
  try {
    for (let entry = await reader.next(); entry !== null; entry = await reader.next()) {
      const name = entry.name.toString('latin1');
      if (entry.headerOffset < end || entry.dataOffset <= entry.headerOffset)
        throw wrong(name, `is at ${entry.headerOffset}, data at ${entry.dataOffset}, behind ${end}`);
      end = entry.dataOffset + entry.storedSize;
    }
    if (end > bytes.length) throw wrong('', `an entry ends at ${end} of ${bytes.length}`);
  } catch (error) {
    if (!(error instanceof TarError)) throw error;
  }
}

class TarTarget implements Target {
  readonly #dir = mkdtempSync(join(tmpdir(), 'fuzz-tar-'));

  async iterate(random: Random, counts: Counts): Promise<void> {
    const bytes = mutant(random);
    const pieceSize = pick(random, [1, 511, 512, 4096, bytes.length + 1]);
    await checkEntries(bytes);
    let tree: { paths: string[]; size: number };
    try {
      const source = await openDecompressed(bytesSource(bytes, pieceSize));
      const chunker = { addStream: passData };
      tree = checkTree(await readTar(source, { explicitUidGid: true, store: () => chunker }));
      source.close();
    } catch (error) {
      if (!(error instanceof ImageError) || !REFUSALS.includes(error.code)) throw error;
      if (!error.message.startsWith(SOURCE_NAME))
        throw new Error(`a refusal that does not name its source: ${error.message}`);
      counts.refused++;
      return;
    }
    counts.accepted++;
    if (tree.size > BUILT_BYTES_MAX || !oneIn(random, 4)) return;
    await this.#build(bytes, oneIn(random, 2) ? 5 : 6, tree.paths);
    counts.built = (counts.built ?? 0) + 1;
  }

  /** What is accepted can be built, and is read back as the same tree. */
  async #build(bytes: Buffer, fsVersion: 5 | 6, paths: readonly string[]): Promise<void> {
    const bootstrap = join(this.#dir, 'boot');
    await create({
      source: { read: async (context) => readTar(await openDecompressed(bytesSource(bytes)), context) },
      fsVersion,
      compressor: 'none',
      digester: 'blake3',
      chunkSize: CHUNK_SIZE,
      bootstrap: { kind: 'file', path: bootstrap },
      blob: { kind: 'file', path: join(this.#dir, 'blob') },
      explicitUidGid: true,
      whiteoutSpec: 'oci',
      prefetchPatterns: [],
    });
    const { root } = await loadImage(bootstrap);
    const read = checkTree(root).paths;
    if (read.join('\0') !== paths.join('\0'))
      throw new Error(`built ${paths.join()}, read back ${read.join()}`);
  }

  close(): void {
    rmSync(this.#dir, { recursive: true, force: true });
  }
}

export function tarTarget(): Target {
  return new TarTarget();
}
