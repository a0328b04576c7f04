import { blobSpec } from '../../rafs/blob-spec.ts';
import type { Bootstrap } from '../../rafs/bootstrap.ts';
import { DirectoryAt, type Image, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from '../../rafs/image.ts';
import { debugText } from '../model/debug-text.ts';
import { ImageError } from '../model/error.ts';
import { EntryReader } from '../read/entry-reader.ts';
import { imageOf, inodeAtV6, readEntry, recordOfName, type WalkEntry, walkTree } from '../read/tree-walk.ts';
import { blobText, chunkOfFileText, chunkUserText, inodeText, readahead, statsText, USAGE } from './text.ts';

/** What a command line brought. */
export interface Answer {
  /** For people; ends with a line break unless it is empty. */
  readonly text: string;
  /** What `--request` prints behind the text. */
  readonly value: unknown;
  /** `exit` was said. */
  readonly exit?: boolean;
  /** Why the line could not be executed; null if it was. */
  readonly refused: 'help' | 'unknown' | 'argument' | null;
}

const DONE: Answer = { text: '', value: null, refused: null };
/** Signs of `ls`; other types have none. */
const TYPE_SIGNS = new Map([
  [S_IFREG, '-'],
  [S_IFDIR, 'd'],
  [S_IFLNK, 'l'],
]);
const COLUMN = 8;

/** Looks into a bootstrap, command by command. */
export class Inspector {
  readonly #bootstrap: Bootstrap;
  readonly #path: string;
  readonly #image: Image;
  readonly #reader: EntryReader;
  readonly #asJson: boolean;
  /** From the root to the current directory. */
  readonly #directories: WalkEntry[];

  /**
   * `path` is where the bootstrap came from. `asJson`: `stats`, `blobs` and `prefetch` answer
   * with a value instead of text.
   */
  constructor(bootstrap: Bootstrap, path: string, asJson: boolean) {
    this.#bootstrap = bootstrap;
    this.#path = path;
    this.#asJson = asJson;
    this.#image = imageOf(bootstrap);
    this.#reader = new EntryReader(bootstrap, this.#image);
    const root = walkTree(bootstrap, this.#image, refuse).next().value as WalkEntry;
    this.#directories = [child(root, root.name, root.lo, root.at, root.mode)];
  }

  /** Executes a line. Throws ImageError when it meets damage. */
  execute(line: string): Answer {
    const [, command = '', rest = ''] = /^\s*(\S*)(.*)$/s.exec(line) ?? [];
    const argument = rest.trim();
    switch (command) {
      case '':
        return DONE;
      case 'help':
        return { ...DONE, text: USAGE, refused: 'help' };
      case 'exit':
      case 'q':
        return { ...DONE, exit: true };
    }
    const plain = argument === '' ? this.#plain(command) : this.#withArgument(command, argument);
    return plain ?? { ...DONE, text: `Unsupported command: ${command}\n${USAGE}`, refused: 'unknown' };
  }

  /** Names of the current directory's entries as `cd` and `stat` take them. */
  completions(): string[] {
    return [...this.#children(this.#current)].map(({ name }) => argumentText(name));
  }

  get #current(): WalkEntry {
    return this.#directories.at(-1)!;
  }

  #plain(command: string): Answer | null {
    if (command === 'stats') {
      const value = { inodes_count: this.#bootstrap.inodesCount };
      return this.#asJson ? { ...DONE, value } : { ...DONE, text: statsText(this.#bootstrap) };
    }
    if (command === 'ls') return { ...DONE, text: this.#list() };
    if (command === 'blobs') return this.#blobs();
    return command === 'prefetch' ? this.#prefetch() : null;
  }

  #withArgument(command: string, argument: string): Answer | null {
    if (command === 'cd') return { ...DONE, text: this.#changeDirectory(argument) };
    if (command === 'stat') return { ...DONE, text: this.#stat(argument) };
    if (command !== 'chunk' && command !== 'icheck') return null;
    const number = /^\+?\d+$/.test(argument) ? Number(argument) : Number.NaN;
    if (number < 2 ** 64)
      return { ...DONE, text: command === 'chunk' ? this.#chunk(number) : this.#icheck(number) };
    const text = `${command}: ${argument} is not a number of 64 bits\n`;
    return { ...DONE, text, refused: 'argument' };
  }

  #list(): string {
    const lines: string[] = [];
    for (const { lo, mode, name } of this.#children(this.#current)) {
      const sign = TYPE_SIGNS.get(mode & S_IFMT) ?? ' ';
      lines.push(`${sign}    ${String(lo).padEnd(COLUMN)} ${debugText(name)}\n`);
    }
    return lines.join('');
  }

  #changeDirectory(name: string): string {
    if (name === '.') return '';
    if (name === '..') {
      if (this.#directories.length > 1) this.#directories.pop();
      return '';
    }
    const found = this.#find(name);
    if (found === null) return `${name} is not found\n`;
    if ((found.mode & S_IFMT) !== S_IFDIR) return `${name} is not a directory\n`;
    this.#directories.push(found);
    return '';
  }

  #stat(name: string): string {
    const found = name === '.' ? this.#current : this.#find(name);
    if (found === null) return `${name} is not found\n`;
    const parts = [this.#inodeText(found)];
    if ((found.mode & S_IFMT) !== S_IFREG) return parts[0]!;
    parts.push('  Chunk list:\n');
    let i = 0;
    for (const chunk of this.#reader.chunks(found))
      parts.push(chunkOfFileText(chunk, i++, this.#bootstrap.chunkSize, this.#blobId(chunk.blobIndex)));
    return parts.join('');
  }

  #blobs(): Answer {
    const { blobs } = this.#bootstrap;
    if (!this.#asJson)
      return { ...DONE, text: blobs.map((row) => blobText(this.#bootstrap, row, this.#path)).join('') };
    const value = blobs.map((row) => {
      const { offset, size } = readahead(this.#bootstrap, row);
      return {
        blob_id: this.#blobId(row.index),
        compressed_size: row.compressedSize,
        decompressed_size: row.uncompressedSize,
        readahead_offset: offset,
        readahead_size: size,
      };
    });
    return { ...DONE, value };
  }

  #prefetch(): Answer {
    const { prefetch, superMeta } = this.#bootstrap;
    const paths = new Map<number, string[]>(prefetch.map((lo) => [lo, []]));
    const damage = this.#walk((entry) => paths.get(entry.lo)?.push(this.#shownPath(entry)));
    // v5 has one path for a number: its own record's, which is the first.
    if (this.#bootstrap.version === 5) for (const list of paths.values()) list.splice(1);
    if (this.#asJson) return { ...DONE, value: prefetch.map((lo) => ({ inode: lo, path: paths.get(lo)! })) };
    const lines = prefetch.map((lo) => {
      const path = JSON.stringify(paths.get(lo)!.join(' '));
      return `Inode Number:${String(lo).padStart(10)} | Path: ${path} \n`;
    });
    const text = `Total Prefetching Files: ${superMeta.prefetch_table_entries}\n${lines.join('')}${damage}`;
    return { ...DONE, text };
  }

  /** The original ends directories with a slash, and in v5 everything. */
  #shownPath(entry: WalkEntry): string {
    const path = entry.path().toString();
    const slash = entry.depth > 0 && (this.#bootstrap.version === 5 || (entry.mode & S_IFMT) === S_IFDIR);
    return slash ? `${path}/` : path;
  }

  #chunk(offset: number): string {
    const parts: string[] = [];
    const damage = this.#walk((entry) => {
      for (const chunk of this.#reader.chunks(entry)) {
        if (chunk.compressedOffset !== offset) continue;
        const path = entry.path();
        const directory = path.subarray(0, path.length - entry.name.length).toString();
        parts.push(chunkUserText(entry.name, directory, chunk, this.#blobId(chunk.blobIndex)));
      }
    });
    return parts.join('') + damage;
  }

  #icheck(lo: number): string {
    const parts: string[] = [];
    const damage = this.#walk((entry) => {
      if (entry.lo === lo) parts.push(`${entry.path()}\n${this.#inodeText(entry)}`);
    });
    if (parts.length === 0) throw new ImageError('IMAGE_DAMAGED', `inode ${lo}: no file of the tree has it`);
    return parts.join('') + damage;
  }

  /** Visits the tree; what is damaged is left out, and said in the text returned. */
  #walk(visit: (entry: WalkEntry) => void): string {
    const damage: string[] = [];
    const report = (path: Buffer, lo: number, fault: string): void => {
      damage.push(`Damaged: ${debugText(path)} (inode ${lo}): ${fault}\n`);
    };
    for (const entry of walkTree(this.#bootstrap, this.#image, report)) visit(entry);
    return damage.join('');
  }

  #inodeText(entry: WalkEntry): string {
    return inodeText(entry, { ...this.#reader.attributes(entry), ...this.#reader.owner(entry) });
  }

  #blobId(index: number): string {
    const row = this.#bootstrap.blobs[index];
    return row === undefined ? `no blob ${index}` : blobSpec(row, this.#bootstrap, this.#path).id;
  }

  #find(name: string): WalkEntry | null {
    const bytes = Buffer.from(name);
    for (const entry of this.#children(this.#current))
      if (bytes.equals(entry.name) || debugText(entry.name) === name) return entry;
    return null;
  }

  *#children(directory: WalkEntry): Generator<WalkEntry> {
    const entry = new DirectoryAt();
    const image = this.#image;
    const place = `${debugText(directory.name)} (inode ${directory.lo})`;
    for (let cookie = 0; ; cookie = entry.cookie) {
      const found = readEntry(this.#bootstrap, image, directory.lo, cookie, entry);
      if (found < 0) throw new ImageError('IMAGE_DAMAGED', `${place}: ${image.fault}`);
      if (found === 0) return;
      if (entry.dot) continue;
      const name = entry.bytes.subarray(entry.nameStart, entry.nameEnd);
      if (image.checkInode(entry.lo) !== 0)
        throw new ImageError(
          'IMAGE_DAMAGED',
          `${place}: ${debugText(name)} (inode ${entry.lo}): ${image.fault}`,
        );
      const at =
        this.#bootstrap.version === 5 ? recordOfName(entry.nameStart) : inodeAtV6(this.#bootstrap, entry.lo);
      yield { ...child(directory, name, entry.lo, at, image.mode(entry.lo)), parentLo: directory.lo };
    }
  }
}

function child(parent: WalkEntry, name: Uint8Array, lo: number, at: number, mode: number): WalkEntry {
  const path = (): Buffer => Buffer.from(name);
  return { lo, parentLo: parent.lo, name, at, mode, isFirst: true, depth: parent.depth + 1, path };
}

function refuse(_path: Buffer, _lo: number, fault: string): never {
  throw new ImageError('IMAGE_DAMAGED', `the root directory: ${fault}`);
}

/** A name as it is if a command line can have it, or as `ls` shows it. */
function argumentText(name: Uint8Array): string {
  const text = debugText(name);
  const isPlain = text.slice(1, -1) === Buffer.from(name).toString() && !/^\s|\s$|^"/.test(text.slice(1, -1));
  return isPlain ? text.slice(1, -1) : text;
}
