import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Daemon } from './daemon.ts';
import { Guest, type GuestOptions } from './guest.ts';
import { type BuiltImage, buildImage, type ImageRequest } from './image.ts';
import { comparable, differences, walkHost } from './manifest.ts';
import { makeSourceTree } from './tree.ts';

/** Lines shown of each side. */
const SHOWN_DIFFERENCES = 10;

/** An image and the tree it was built from. */
export interface Example extends BuiltImage {
  readonly name: string;
  readonly source: string;
  /** Entries below the root. */
  readonly entries: number;
}

/**
 * A temporary directory with the daemons, guests and images of one scenario. Disposing of it ends them all and
 * removes the directory, whatever happened before.
 */
export class Stage implements AsyncDisposable {
  readonly directory: string = mkdtempSync(join(tmpdir(), 'nydus-vm-'));
  readonly #closing = new AsyncDisposableStack();
  readonly #onOutput: (text: string) => void;

  /** `onOutput` is told what QEMU and its script print. */
  constructor(onOutput: (text: string) => void = () => {}) {
    this.#onOutput = onOutput;
    this.#closing.defer(() => rmSync(this.directory, { recursive: true, force: true }));
  }

  /** Makes a source tree and builds an image of it. */
  example(name: string, want: Pick<ImageRequest, 'fsVersion' | 'compressor'>): Example {
    const source = join(this.directory, `${name}-source`);
    const entries = makeSourceTree(source, name);
    const image = buildImage({ ...want, source, directory: join(this.directory, `${name}-image`) });
    return { ...image, name, source, entries };
  }

  /** Starts `nydusd virtiofs`. */
  async daemon(args: readonly string[] = []): Promise<Daemon> {
    const daemon = await Daemon.start(this.directory, args);
    this.#closing.defer(async () => {
      await daemon.stop();
    });
    return daemon;
  }

  /** Boots a guest whose virtio-fs device is served by `daemon`. */
  async boot(
    daemon: Daemon,
    options: Pick<GuestOptions, 'deviceOptions' | 'queueSize' | 'smp'> = {},
  ): Promise<Guest> {
    const { sock } = daemon;
    const guest = await Guest.boot({ ...options, sock, directory: this.directory, onOutput: this.#onOutput });
    this.#closing.defer(() => guest.kill());
    return guest;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#closing.disposeAsync();
  }
}

/**
 * Walks an image in the guest and compares every entry with the source tree: contents, type, mode, owner, mtime,
 * links, extended attributes. Returns the number of entries; throws with the first lines that differ.
 */
export async function verify(guest: Guest, path: string, example: Example): Promise<number> {
  const { code, output } = await guest.run(`walk ${path}`);
  const actual = comparable(output.toString('latin1'));
  const wrong = differences(comparable(walkHost(example.source)), actual);
  if (code === 0 && wrong.length === 0) return actual.length;
  const shown = ['-', '+']
    .flatMap((side) => wrong.filter((line) => line.startsWith(side)).slice(0, SHOWN_DIFFERENCES))
    .join('\n');
  throw new Error(
    `${path}: ${wrong.length} lines differ (- source, + guest); walk ended with ${code}\n${shown}`,
  );
}
