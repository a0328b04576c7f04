import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import type { DescriptorCalls } from '../native/descriptor.ts';
import type { MappingCalls } from '../native/mapping.ts';
import { RafsError } from '../wire/rafs/error.ts';
import { BOOTSTRAP_BYTES_MAX } from './bootstrap.ts';

/** The addon's part in holding bootstraps. */
export type MemfdAddon = DescriptorCalls & MappingCalls;

/** A bootstrap that nobody can change or truncate any more. The caller closes `fd`; mappings outlive it. */
export interface SealedBootstrap {
  readonly fd: number;
  readonly size: number;
}

const SMALLEST = 4096;
const COPY_BYTES = 1 << 24;

/**
 * Reads the file at `path` once into a sealed memfd, so that whoever may write the file cannot change it under a mount. Throws RafsError:
 * RAFS_READ for what the system refuses, RAFS_TOO_LARGE, RAFS_NOT_A_BOOTSTRAP for a file too small to be one.
 */
export function sealBootstrap(addon: MemfdAddon, path: string): SealedBootstrap {
  const file = attempt(`open ${path}`, () => openSync(path, 'r'));
  try {
    const stat = fstatSync(file);
    if (!stat.isFile()) throw new RafsError('RAFS_READ', `${path}: not a regular file`);
    if (stat.size < SMALLEST) {
      throw new RafsError('RAFS_NOT_A_BOOTSTRAP', `${path}: size = ${stat.size}: at least ${SMALLEST} bytes`);
    }
    return seal(addon, path, stat.size, (into, position) => {
      const read = attempt(`read ${path}`, () => readSync(file, into, 0, into.length, position));
      if (read === 0)
        throw new RafsError('RAFS_READ', `${path}: ends at ${position}: shrank while being read`);
      return read;
    });
  } finally {
    closeSync(file);
  }
}

/** The same for bytes in memory, e.g. a bootstrap extracted from a blob. */
export function sealBytes(addon: MemfdAddon, name: string, bytes: Uint8Array): SealedBootstrap {
  return seal(addon, name, bytes.length, (into, position) => {
    into.set(bytes.subarray(position, position + into.length));
    return into.length;
  });
}

/** Maps a sealed bootstrap read-only. Throws RafsError. */
export function mapBootstrap(addon: MemfdAddon, fd: number, size: number): ArrayBuffer {
  const mapped = addon.map(fd, 0, size, false);
  if (typeof mapped === 'number')
    throw new RafsError('RAFS_READ', `map of ${size} bytes of a bootstrap: errno ${-mapped}`);
  return mapped;
}

/** `fill` puts bytes of `position` at the start of `into` and answers how many, at least one. */
function seal(
  addon: MemfdAddon,
  name: string,
  size: number,
  fill: (into: Uint8Array, position: number) => number,
): SealedBootstrap {
  const most = BOOTSTRAP_BYTES_MAX[6];
  if (size > most) throw new RafsError('RAFS_TOO_LARGE', `${name}: size = ${size}: at most ${most} bytes`);
  const fd = checked(`memfd for ${name}`, addon.memfdCreate('bootstrap', size));
  try {
    const mapped = addon.map(fd, 0, size, true);
    if (typeof mapped === 'number')
      throw new RafsError('RAFS_READ', `map of a memfd for ${name}: errno ${-mapped}`);
    try {
      for (let position = 0; position < size; ) {
        position += fill(new Uint8Array(mapped, position, Math.min(COPY_BYTES, size - position)), position);
      }
    } finally {
      // A writable mapping would make the kernel refuse the seal.
      addon.unmap(mapped);
    }
    checked(`seal of ${name}`, addon.memfdSeal(fd));
    return { fd, size };
  } catch (error) {
    addon.closeFd(fd);
    throw error;
  }
}

function attempt<T>(what: string, act: () => T): T {
  try {
    return act();
  } catch (cause) {
    throw new RafsError('RAFS_READ', `${what}: ${(cause as Error).message}`, { cause });
  }
}

function checked(what: string, result: number): number {
  if (result < 0) throw new RafsError('RAFS_READ', `${what}: errno ${-result}`);
  return result;
}
