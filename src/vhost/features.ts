import { ProtocolError, ProtocolFeature } from '../wire/vhost-user.ts';
import { VirtioFeature } from '../wire/virtio.ts';

/**
 * Virtio features the device offers. What is not implemented is never offered: the front-end masks it for the guest.
 */
export const OFFERED_FEATURES: bigint =
  VirtioFeature.version1 |
  VirtioFeature.indirectDesc |
  VirtioFeature.eventIdx |
  VirtioFeature.protocolFeatures;

const ALWAYS_OFFERED: bigint =
  ProtocolFeature.mq |
  ProtocolFeature.replyAck |
  ProtocolFeature.inflightShmfd |
  ProtocolFeature.resetDevice |
  ProtocolFeature.configureMemSlots;

/** Protocol features on offer; CONFIG only when there is a configuration space to show. */
export function offeredProtocolFeatures(hasConfig: boolean): bigint {
  return hasConfig ? ALWAYS_OFFERED | ProtocolFeature.config : ALWAYS_OFFERED;
}

/** Memory regions that ADD_MEM_REG may build up; QEMU's own limit is 512, three of which it keeps for itself. */
export const MEMORY_SLOTS_MAX = 509;

/** Refuses bits that were never offered. */
export function checkSubset(request: string, chosen: bigint, offered: bigint): void {
  const unknown = chosen & ~offered;
  if (unknown !== 0n) {
    throw new ProtocolError(request, 'features', `0x${unknown.toString(16)} was never offered`);
  }
}
