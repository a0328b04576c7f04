import type { ImageNode } from '../model/node.ts';
import type { WhiteoutSpec } from '../model/overlay.ts';

/** Data of a file that passes once. */
export interface FileStream {
  /** Fills `into` with the next bytes. */
  read(into: Buffer): Promise<void>;
  /** Zeros that come next because the file has a hole there. */
  readonly hole: number;
  /** Passes zeros of a hole, at most `hole`. */
  skipHole(size: number): void;
}

/** Who takes the data of files that pass once. */
export interface FileStore {
  /**
   * Stores the data of `node`, a regular file, and gives it its chunks. Rejects with ImageError, or as the stream does.
   */
  addStream(node: ImageNode, stream: FileStream): Promise<void>;
}

/** What a build lets a source know and use. */
export interface TreeContext {
  /**
   * Stores data of files that cannot be read again. Asking for it makes the blob: a source that is refused leaves none.
   */
  store(): FileStore;
  /** Keep owners; otherwise everything belongs to 0:0. */
  readonly explicitUidGid: boolean;
  readonly whiteoutSpec: WhiteoutSpec;
  /** The tree goes on top of another: whiteouts stay in it until they have acted. */
  readonly keepWhiteouts?: boolean;
  /** Called for every entry. A promise is awaited, so that a long read can let signals in; it throws to stop. */
  readonly onEntry?: () => Promise<void> | undefined;
  /** Ends a wait for a slow source. */
  readonly signal?: AbortSignal | undefined;
}

/** Where the tree of an image comes from. */
export interface TreeSource {
  /**
   * Reads the tree, not numbered yet. A source that passes only once, as a tar, stores the data of its files meanwhile,
   * in its own order; a directory leaves that to the build, which orders it. Rejects with ImageError.
   */
  read(context: TreeContext): Promise<ImageNode>;
}
