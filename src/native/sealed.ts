/**
 * Memory that nobody can change or truncate any more, whoever has its descriptor: a sealed memfd. memfd_create(2),
 * F_ADD_SEALS.
 */
import type { DescriptorCalls } from './descriptor.ts';
import type { MappingCalls } from './mapping.ts';
import { checkSyscall, SystemError } from './system-error.ts';

/** The addon's part in it. */
type SealedAddon = MappingCalls & Pick<DescriptorCalls, 'closeFd'>;

/**
 * Makes `size` bytes, has them filled and seals them. Answers a descriptor, which the caller closes; mappings outlive
 * it. `into` is gone when `fill` has ended: no pool thread may hold it. Rejects with SystemError or what `fill` rejects
 * with.
 */
export async function seal(
  addon: SealedAddon,
  name: string,
  size: number,
  fill: (into: Uint8Array) => void | Promise<void>,
): Promise<number> {
  const fd = checkSyscall(addon.memfdCreate(name, size), 'memfd_create');
  try {
    const memory = mapped(addon.map(fd, 0, size, true));
    try {
      await fill(new Uint8Array(memory));
    } finally {
      // A writable mapping would make the kernel refuse the seal.
      addon.unmap(memory);
    }
    checkSyscall(addon.memfdSeal(fd), 'sealing a memfd');
  } catch (error) {
    addon.closeFd(fd);
    throw error;
  }
  return fd;
}

/** Maps sealed bytes for reading. Throws SystemError. */
export function mapSealed(addon: SealedAddon, fd: number, size: number): ArrayBuffer {
  return mapped(addon.map(fd, 0, size, false));
}

function mapped(result: ArrayBuffer | number): ArrayBuffer {
  if (typeof result === 'number') throw new SystemError(result, 'mmap');
  return result;
}
