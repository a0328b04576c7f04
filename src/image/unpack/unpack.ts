import type { BlobSource } from '../../blob/source.ts';
import { blobSpec } from '../../rafs/blob-spec.ts';
import { TarType, tarPadding } from '../../wire/tar.ts';
import type { StoredChunk } from '../model/chunk.ts';
import { ImageError, throwIfInterrupted } from '../model/error.ts';
import { FileType, type ImageNode, isDirectory, isRegular } from '../model/node.ts';
import { BlobReader } from '../read/blob-reader.ts';
import { type LoadedImage, loadImage } from '../read/load.ts';
import { type Owners, readOwners } from './owners.ts';
import { StreamOutput } from './stream-output.ts';
import { encodeTarEntry, TAR_END, type TarEntryFields } from './tar-write.ts';

/** What is unpacked, and where to. */
export interface UnpackOptions {
  /** Bootstrap, or a blob with one at its end. */
  readonly bootstrap: string;
  /** Where the image's blobs are; not closed. */
  readonly source: BlobSource;
  /** `source` is one file, whatever blob it is asked for. */
  readonly isOneBlob?: boolean;
  /** The tar: a file, a pipe, or `-` for standard output. */
  readonly output: string;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: UnpackProgress) => void) | undefined;
  /** Told of what a tar cannot hold. */
  readonly onSkipped?: ((message: string) => void) | undefined;
}

/** How far it is. */
export interface UnpackProgress {
  readonly entries: number;
  /** Of files' data. */
  readonly bytes: number;
  readonly bytesTotal: number;
}

/** What was written. */
export interface UnpackResult {
  readonly entries: number;
  readonly bytes: number;
  /** Bytes of the tar. */
  readonly size: number;
  /** Whether the output is a file, not a pipe or a device. */
  readonly isFile: boolean;
}

/** An entry to be written. */
interface Planned {
  readonly node: ImageNode;
  /** Path of an earlier entry, of which this is a further name; null: none. */
  readonly linkOf: Buffer | null;
}

/**
 * Writes the image's tree as a tar, as a stream: memory does not depend on the sizes of files. Entries are in the order
 * of a walk that visits children by name; the root has none. Sockets are left out. A further name of a file is a hard
 * link to the first. src/bin/nydus-image/unpack.
 *
 * Rejects with ImageError, RafsError, BlobError or SourceError; then no output is left, but what a pipe has taken.
 */
export async function unpack(options: UnpackOptions): Promise<UnpackResult> {
  const image = await loadImage(options.bootstrap);
  const used = new Set(image.chunks.map(({ blobIndex }) => blobIndex));
  if (options.isOneBlob) checkOneObject(image, used);
  const reader = new BlobReader(image, options.source);
  // A blob that is not there is told before anything is written.
  for (const blobIndex of used) await reader.spec(blobIndex);
  const output = await StreamOutput.open(options.output, options.signal);
  try {
    const result = await new Unpacker(image, output, options).run(reader);
    await output.finish();
    return result;
  } catch (error) {
    await output.discard();
    throw error;
  }
}

/** One file cannot be several blobs, nor a blob and its separate chunk info. */
function checkOneObject({ bootstrap, path }: LoadedImage, used: ReadonlySet<number>): void {
  const ids = new Set<string>();
  for (const index of used) {
    const { objectId, metaObjectId } = blobSpec(bootstrap.blobs[index]!, bootstrap, path);
    ids.add(objectId).add(metaObjectId);
  }
  if (ids.size <= 1) return;
  const rule = 'give the directory with all of them (--blob-dir)';
  throw new ImageError('IMAGE_BAD_SOURCE', `${path}: its data is in ${[...ids].join(' and ')}: ${rule}`);
}

class Unpacker {
  readonly #image: LoadedImage;
  readonly #output: StreamOutput;
  readonly #options: UnpackOptions;
  readonly #owners: Owners = readOwners();
  #entries = 0;
  #bytes = 0;
  #bytesTotal = 0;

  constructor(image: LoadedImage, output: StreamOutput, options: UnpackOptions) {
    this.#image = image;
    this.#output = output;
    this.#options = options;
  }

  async run(reader: BlobReader): Promise<UnpackResult> {
    const planned = [...this.#plan()];
    for (const { node, linkOf } of planned) if (hasData(node, linkOf)) this.#bytesTotal += node.size;
    // One stream over all files, so that the next file is read and decoded while this one is written.
    const data = reader.inOrder(chunksOf(planned));
    for (const { node, linkOf } of planned) {
      await this.#output.write(encodeTarEntry(this.#entryOf(node, linkOf)));
      if (hasData(node, linkOf)) await this.#writeData(node, data);
      this.#entries++;
      this.#report();
    }
    await this.#output.write(TAR_END);
    const { size, isFile } = this.#output;
    return { entries: this.#entries, bytes: this.#bytes, size, isFile };
  }

  /** Every entry but the root's and sockets', a directory's children right after it. */
  *#plan(): Generator<Planned> {
    const names = new Map<string, Buffer>();
    const pending = this.#image.root.children.toReversed();
    for (let node = pending.pop(); node !== undefined; node = pending.pop()) {
      if (isDirectory(node)) {
        yield { node, linkOf: null };
        for (const child of node.children.toReversed()) pending.push(child);
      } else if ((node.mode & FileType.mask) === FileType.socket) {
        this.#options.onSkipped?.(`${node.sourcePath}: a socket, which a tar cannot hold, is left out`);
      } else {
        const linkOf = node.nlink > 1 ? (names.get(node.linkKey) ?? null) : null;
        if (node.nlink > 1 && linkOf === null) names.set(node.linkKey, entryName(node));
        yield { node, linkOf };
      }
    }
  }

  #entryOf(node: ImageNode, linkOf: Buffer | null): TarEntryFields {
    const type = linkOf === null ? this.#typeOf(node) : TarType.link;
    const special = type === TarType.character || type === TarType.block;
    if (type === TarType.symlink && node.target.includes(0)) this.#damaged(node, 'a link target with a NUL');
    return {
      type,
      name: entryName(node),
      linkName: linkOf ?? (type === TarType.symlink ? node.target : null),
      mode: node.mode,
      uid: node.uid,
      gid: node.gid,
      userName: this.#owners.users.get(node.uid) ?? '',
      groupName: this.#owners.groups.get(node.gid) ?? '',
      size: type === TarType.regular ? node.size : 0,
      mtimeSec: Number(node.mtimeSec),
      mtimeNs: node.mtimeNs,
      devMajor: special ? (node.rdev >>> 8) & 0xfff : 0,
      devMinor: special ? (node.rdev & 0xff) | ((node.rdev >>> 12) & 0xfff00) : 0,
      xattrs: node.xattrs,
    };
  }

  #typeOf(node: ImageNode): string {
    const type = types[node.mode & FileType.mask];
    if (type === undefined) this.#damaged(node, `no file type has the mode 0${node.mode.toString(8)}`);
    return type;
  }

  /** Takes the pieces of one file from the stream of all. */
  async #writeData(node: ImageNode, data: AsyncGenerator<Uint8Array>): Promise<void> {
    let rest = node.size;
    for (let i = 0; i < node.chunks.length; i++) {
      const { value } = await data.next();
      if (value === undefined || value.length > rest)
        this.#damaged(node, `chunk ${i} goes beyond its ${node.size} bytes`);
      await this.#output.write(value);
      rest -= value.length;
      this.#bytes += value.length;
      this.#report();
    }
    if (rest > 0) this.#damaged(node, `its chunks have ${node.size - rest} of its ${node.size} bytes`);
    await this.#output.write(Buffer.alloc(tarPadding(node.size)));
  }

  #report(): void {
    throwIfInterrupted(this.#options.signal);
    this.#options.onProgress?.({
      entries: this.#entries,
      bytes: this.#bytes,
      bytesTotal: this.#bytesTotal,
    });
  }

  #damaged(node: ImageNode, fault: string): never {
    throw new ImageError('IMAGE_DAMAGED', `${this.#image.path}: ${node.sourcePath}: ${fault}`);
  }
}

const types: Readonly<Record<number, string>> = {
  [FileType.regular]: TarType.regular,
  [FileType.directory]: TarType.directory,
  [FileType.symlink]: TarType.symlink,
  [FileType.character]: TarType.character,
  [FileType.block]: TarType.block,
  [FileType.fifo]: TarType.fifo,
};

/** Paths in a tar do not begin with a slash. */
function entryName(node: ImageNode): Buffer {
  return node.sourcePath.subarray(1);
}

function hasData(node: ImageNode, linkOf: Buffer | null): boolean {
  return linkOf === null && isRegular(node);
}

function* chunksOf(planned: Iterable<Planned>): Generator<StoredChunk> {
  for (const { node, linkOf } of planned) if (hasData(node, linkOf)) yield* node.chunks;
}
