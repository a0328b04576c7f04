/** What only a driver needs to know of the split virtqueue (VIRTIO 1.2, 2.7). */
import { Avail, Descriptor, Used } from '../../src/wire/virtio.ts';

/** Flags of a descriptor. */
export const DescriptorFlag = { next: 1, write: 2, indirect: 4 } as const;

/** Bytes of a table of `num` descriptors. */
export function descriptorTableBytes(num: number): number {
  return num * Descriptor.size;
}

/** Bytes of an avail ring, used_event included. */
export function availBytes(num: number): number {
  return Avail.ring + num * Avail.entry + 2;
}

/** Bytes of a used ring, avail_event included. */
export function usedBytes(num: number): number {
  return Used.ring + num * Used.entry + 2;
}
