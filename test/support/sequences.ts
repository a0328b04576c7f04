/** What front-ends send from the connection to a serving device, in their order. */

import { ProtocolFeature } from '../../src/wire/vhost-user.ts';
import { VirtioFeature } from '../../src/wire/virtio.ts';
import { eventfd } from './descriptors.ts';
import type { DriverRing, GuestMemory } from './driver.ts';
import type { Frontend } from './frontend.ts';

/** A guest to connect: its memory and a ring per queue that its driver uses. */
export interface Guest {
  readonly memory: GuestMemory;
  readonly rings: readonly DriverRing[];
}

const QEMU_FEATURES =
  VirtioFeature.version1 |
  VirtioFeature.indirectDesc |
  VirtioFeature.eventIdx |
  VirtioFeature.protocolFeatures;

async function negotiate(frontend: Frontend, wanted: bigint): Promise<number> {
  const offered = await frontend.getProtocolFeatures();
  await frontend.setProtocolFeatures(offered & wanted);
  return frontend.getQueueNum();
}

/** QEMU's part until the guest's driver starts. Returns the number of queues. */
async function realizeQemu(frontend: Frontend): Promise<number> {
  await frontend.getFeatures();
  const queues = await negotiate(frontend, 0xb029n);
  await frontend.getMaxMemSlots();
  await frontend.setOwner();
  await frontend.getFeatures();
  const masked = eventfd();
  for (let index = 0; index < queues; index++) {
    await frontend.setVringCall(index, masked);
    await frontend.setVringErr(index, masked);
  }
  frontend.addon.closeFd(masked);
  return queues;
}

/** QEMU's part when the driver is ready; `base` is each ring's. Memory regions only at the first start. */
async function startQemu(frontend: Frontend, guest: Guest, queues: number, waits: boolean): Promise<void> {
  await frontend.setFeatures(QEMU_FEATURES);
  if (!guest.memory.isShared) {
    for (const region of guest.memory.regions) await frontend.addMemReg(region, guest.memory.fd);
  }
  guest.memory.isShared = true;
  for (const ring of guest.rings) {
    ring.useFeatures(QEMU_FEATURES);
    await frontend.setVringNum(ring.index, ring.num);
    await frontend.setVringBase(ring.index, ring.base);
    await frontend.setVringAddr(ring.addresses);
    await frontend.setVringKick(ring.index, ring.kickFd);
    await frontend.setVringCall(ring.index, -1);
  }
  for (let index = 0; index < queues; index++) await frontend.setVringEnable(index, true, waits);
  // QEMU's barrier where nothing is acknowledged.
  if (!waits) await frontend.getFeatures();
  for (const ring of guest.rings) await frontend.setVringCall(ring.index, ring.callFd);
}

/** Debian 12's QEMU: nobody waits for SET_VRING_ENABLE. */
export async function connectLikeQemu72(frontend: Frontend, guest: Guest): Promise<void> {
  await startQemu(frontend, guest, await realizeQemu(frontend), false);
}

/** QEMU 8.2 and newer: RESET_DEVICE at every reset, also before the first start, and SET_VRING_ENABLE is awaited. */
export async function connectLikeQemuNewer(frontend: Frontend, guest: Guest): Promise<void> {
  const queues = await realizeQemu(frontend);
  await frontend.resetDevice();
  await startQemu(frontend, guest, queues, true);
}

/** A guest reset under QEMU 7.2: everything stops, the connection and the memory stay. The bases are given back. */
export async function stopLikeQemu(frontend: Frontend, guest: Guest, queues: number): Promise<number[]> {
  for (let index = 0; index < queues; index++) await frontend.setVringEnable(index, false);
  const bases: number[] = [];
  for (const ring of guest.rings) bases.push(await frontend.getVringBase(ring.index));
  return bases;
}

/** The start after a reset or a pause. */
export async function restartLikeQemu(frontend: Frontend, guest: Guest, queues: number): Promise<void> {
  await startQemu(frontend, guest, queues, false);
}

/** cloud-hypervisor: acknowledgements of everything, whole memory table, in-flight region, ADDR before BASE. */
export async function connectLikeCloudHypervisor(frontend: Frontend, guest: Guest): Promise<void> {
  await frontend.setOwner();
  const features = (await frontend.getFeatures()) & QEMU_FEATURES;
  const { mq, configureMemSlots, replyAck, inflightShmfd, logShmfd, deviceState } = ProtocolFeature;
  frontend.needReplyAlways = true;
  const queues = await negotiate(
    frontend,
    mq | configureMemSlots | replyAck | inflightShmfd | logShmfd | deviceState,
  );
  await frontend.setFeatures(features);
  await frontend.setMemTable(
    guest.memory.regions,
    guest.memory.regions.map(() => guest.memory.fd),
  );
  for (const ring of guest.rings) await frontend.setVringNum(ring.index, ring.num);
  const inflight = await frontend.getInflightFd(queues, guest.rings[0]!.num);
  await frontend.setInflightFd(inflight, inflight.fd);
  frontend.addon.closeFd(inflight.fd);
  for (const ring of guest.rings) {
    ring.useFeatures(features);
    await frontend.setVringAddr(ring.addresses);
    await frontend.setVringBase(ring.index, ring.base);
    await frontend.setVringCall(ring.index, ring.callFd);
    await frontend.setVringKick(ring.index, ring.kickFd);
  }
  for (let index = 0; index < queues; index++) await frontend.setVringEnable(index, true);
}

/** crosvm: the configuration space is the back-end's, and each queue is enabled before the next is set up. */
export async function connectLikeCrosvm(frontend: Frontend, guest: Guest): Promise<Uint8Array> {
  await frontend.setOwner();
  const features = (await frontend.getFeatures()) & QEMU_FEATURES;
  const { mq, config, backendReq, deviceState, replyAck } = ProtocolFeature;
  await negotiate(frontend, mq | config | backendReq | deviceState | replyAck);
  const space = new Uint8Array(40);
  space.set(await frontend.getConfig(0, 36), 0);
  space.set(await frontend.getConfig(36, 4), 36);
  await frontend.setFeatures(features);
  await frontend.setMemTable(
    guest.memory.regions,
    guest.memory.regions.map(() => guest.memory.fd),
  );
  for (const ring of guest.rings) {
    ring.useFeatures(features);
    await frontend.setVringNum(ring.index, ring.num);
    await frontend.setVringAddr(ring.addresses);
    await frontend.setVringBase(ring.index, ring.base);
    await frontend.setVringCall(ring.index, ring.callFd);
    await frontend.setVringKick(ring.index, ring.kickFd);
    await frontend.setVringEnable(ring.index, true);
  }
  return space;
}
