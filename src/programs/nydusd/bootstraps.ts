/** Bootstraps in memory: read once into a sealed memfd that all mounts of the same file share. */
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import type { DescriptorCalls } from '../../native/descriptor.ts';
import type { MappingCalls } from '../../native/mapping.ts';
import { seal } from '../../native/sealed.ts';
import { BOOTSTRAP_BYTES_MAX } from '../../rafs/bootstrap.ts';

/** A bootstrap held by a mount. */
export interface HeldBootstrap {
  readonly fd: number;
  readonly size: number;
  release(): void;
}

interface Shared {
  readonly fd: number;
  readonly size: number;
  holders: number;
}

/** Read at a time: the control thread stays free for other mounts. */
const READ_BYTES = 4 << 20;

/** The bootstraps of all mounts, by device, inode, time and size of their files. */
export class BootstrapStore {
  readonly #addon: DescriptorCalls & MappingCalls;
  readonly #shared: Map<string, Promise<Shared>> = new Map();

  constructor(addon: DescriptorCalls & MappingCalls) {
    this.#addon = addon;
  }

  /**
   * Reads `path`, or shares what another mount has read of the same file. `extract` gets the bootstrap out of a blob.
   * Rejects with the system's error or that of `extract`.
   */
  async hold(path: string, extract?: () => Promise<Uint8Array>): Promise<HeldBootstrap> {
    // O_NONBLOCK: a fifo must not hang the mount.
    await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const stat = await file.stat({ bigint: true });
    if (!stat.isFile()) throw new Error(`${path} is not a regular file`);
    if (extract === undefined && stat.size > BigInt(BOOTSTRAP_BYTES_MAX[6]))
      throw new Error(`${path} is larger than a bootstrap can be`);
    const key = `${stat.dev}:${stat.ino}:${stat.mtimeNs}:${stat.ctimeNs}:${stat.size}`;
    let reading = this.#shared.get(key);
    if (reading === undefined) {
      reading =
        extract === undefined
          ? this.#read(file, path, Number(stat.size))
          : extract().then((bytes) => this.#seal(bytes.length, (into) => into.set(bytes)));
      this.#shared.set(key, reading);
      reading.catch(() => this.#shared.delete(key));
    }
    const shared = await reading;
    // The last holder may have gone while this one waited.
    if (shared.holders < 0) return this.hold(path, extract);
    shared.holders++;
    return { fd: shared.fd, size: shared.size, release: once(() => this.#release(key, shared)) };
  }

  #release(key: string, shared: Shared): void {
    shared.holders--;
    if (shared.holders > 0) return;
    shared.holders = -1;
    this.#shared.delete(key);
    this.#addon.closeFd(shared.fd);
  }

  async #read(file: FileHandle, path: string, size: number): Promise<Shared> {
    if (size === 0) throw new Error(`${path} is empty`);
    return this.#seal(size, (into) => fill(file, path, into));
  }

  async #seal(size: number, fill: (into: Uint8Array) => void | Promise<void>): Promise<Shared> {
    return { fd: await seal(this.#addon, 'bootstrap', size, fill), size, holders: 0 };
  }
}

/** Through a bounce buffer: a pool thread must not hold memory that may be unmapped. */
async function fill(file: FileHandle, path: string, into: Uint8Array): Promise<void> {
  const bounce = Buffer.allocUnsafe(Math.min(READ_BYTES, into.length));
  let done = 0;
  while (done < into.length) {
    const { bytesRead } = await file.read(bounce, 0, Math.min(bounce.length, into.length - done), done);
    if (bytesRead === 0) throw new Error(`${path} became shorter while it was read`);
    into.set(bounce.subarray(0, bytesRead), done);
    done += bytesRead;
  }
}

function once(action: () => void): () => void {
  let isDone = false;
  return () => {
    if (isDone) return;
    isDone = true;
    action();
  };
}
