import { errnoName } from '../lib/errno.ts';
import type { MappingCalls } from '../native/mapping.ts';
import {
  decodeConfig,
  decodeInflight,
  decodeMemoryTable,
  decodeSingleRegion,
  decodeU64,
  decodeVringAddr,
  decodeVringFd,
  decodeVringState,
  encodeConfig,
  encodeInflight,
  encodeU64,
  encodeVringState,
  type Inflight,
  ProtocolError,
  type RequestKey,
  VRING_ADDR_LOG,
} from '../wire/vhost-user.ts';
import { inflightQueueBytes, isQueueSize, QUEUE_SIZE_MAX } from '../wire/virtio.ts';
import { type Device, RefusedError } from './device.ts';
import { checkOffered, MEMORY_SLOTS_MAX, OFFERED_FEATURES, offeredProtocolFeatures } from './features.ts';
import type { Logger } from './host.ts';
import type { MessageFds } from './message.ts';

/** What a handler may use; one per connection. */
export interface Context {
  readonly addon: MappingCalls;
  readonly log: Logger;
  readonly device: Device;
  readonly queues: number;
  /** The configuration space, or null when CONFIG is not offered. */
  readonly config: Uint8Array | null;
  /** Protocol features that the front-end accepted. */
  protocolFeatures: bigint;
}

/** A message that passed its row: sizes and number of descriptors are right. */
interface Request {
  readonly name: string;
  readonly payload: DataView;
  readonly fds: MessageFds;
  /** Whether the front-end waits for an acknowledgement. */
  readonly wantsAck: boolean;
}

/** A reply of a request that has one of its own. A descriptor is closed once it is sent. */
export interface Reply {
  readonly payload: Uint8Array;
  readonly fd?: number;
}

/** Throws ProtocolError for a broken rule (ends the connection) and RefusedError for what cannot be done now. */
type MessageHandler = (context: Context, request: Request) => Promise<Reply | undefined> | Reply | undefined;

function u64(value: bigint): Reply {
  return { payload: encodeU64(value) };
}

const getFeatures: MessageHandler = () => u64(OFFERED_FEATURES);

const setFeatures: MessageHandler = async ({ device }, { name, payload }) => {
  const features = decodeU64(payload);
  checkOffered(name, features, OFFERED_FEATURES);
  await device.setFeatures(features);
  return undefined;
};

/** Ownership means nothing to a device with one front-end; RESET_OWNER is deprecated and may be ignored. */
const ignore: MessageHandler = () => undefined;

const getProtocolFeatures: MessageHandler = ({ config }) => u64(offeredProtocolFeatures(config !== null));

/** Taken at any time: a restored cloud-hypervisor sets them without having asked. */
const setProtocolFeatures: MessageHandler = (context, { name, payload }) => {
  const features = decodeU64(payload);
  checkOffered(name, features, offeredProtocolFeatures(context.config !== null));
  context.protocolFeatures = features;
  return undefined;
};

const getQueueNum: MessageHandler = ({ queues }) => u64(BigInt(queues));

const getMaxMemSlots: MessageHandler = () => u64(BigInt(MEMORY_SLOTS_MAX));

const setMemTable: MessageHandler = async ({ device }, { name, payload, fds }) => {
  await device.setMemory(name, decodeMemoryTable(payload, fds.count), fds.all);
  return undefined;
};

const addMemReg: MessageHandler = async ({ device }, { name, payload, fds }) => {
  await device.addMemory(name, decodeSingleRegion(name, payload), fds.at(0));
  return undefined;
};

const remMemReg: MessageHandler = async ({ device }, { name, payload }) => {
  await device.removeMemory(name, decodeSingleRegion(name, payload));
  return undefined;
};

const setVringNum: MessageHandler = async ({ device }, { name, payload }) => {
  const { index, num } = decodeVringState(payload);
  await device.setNum(name, index, num);
  return undefined;
};

const setVringAddr: MessageHandler = async ({ device }, { name, payload }) => {
  const addr = decodeVringAddr(payload);
  if ((addr.flags & ~VRING_ADDR_LOG) !== 0) {
    throw new ProtocolError(name, 'flags', `bits 1 to 31 must be 0, flags are 0x${addr.flags.toString(16)}`);
  }
  if (addr.flags !== 0) throw new ProtocolError(name, 'flags', 'logging was never offered');
  await device.setAddr(name, addr);
  return undefined;
};

const setVringBase: MessageHandler = async ({ device }, { name, payload }) => {
  const { index, num } = decodeVringState(payload);
  await device.setBase(name, index, num);
  return undefined;
};

const getVringBase: MessageHandler = async ({ device }, { name, payload }) => {
  const { index } = decodeVringState(payload);
  return { payload: encodeVringState({ index, num: await device.stopRing(name, index) }) };
};

const setVringKick: MessageHandler = async ({ device }, { name, payload, fds }) => {
  const { index, hasFd } = decodeVringFd(name, payload, fds.count);
  if (!hasFd)
    throw new ProtocolError(name, 'payload', 'polling mode (bit 8: no descriptor) is not supported');
  await device.setKick(name, index, fds);
  return undefined;
};

const setVringCall: MessageHandler = ({ device }, { name, payload, fds }) => {
  const { index } = decodeVringFd(name, payload, fds.count);
  device.setCall(name, index, fds);
  return undefined;
};

const setVringErr: MessageHandler = ({ device }, { name, payload, fds }) => {
  const { index } = decodeVringFd(name, payload, fds.count);
  device.setErr(name, index, fds);
  return undefined;
};

const setVringEnable: MessageHandler = async ({ device }, { name, payload }) => {
  const { index, num } = decodeVringState(payload);
  if (num > 1) throw new ProtocolError(name, 'num', `must be 0 or 1, is ${num}`);
  await device.setEnabled(name, index, num === 1);
  return undefined;
};

/** crosvm reads arbitrary windows; what lies behind our fields reads as zero. An empty reply says there is no space. */
const getConfig: MessageHandler = ({ config }, { name, payload }) => {
  const { offset, flags, bytes } = decodeConfig(name, payload);
  if (config === null) return { payload: new Uint8Array(0) };
  const window = new Uint8Array(bytes.length);
  window.set(config.subarray(offset, offset + bytes.length));
  return { payload: encodeConfig({ offset, flags, bytes: window }) };
};

/** A guest can provoke this by writing to its device: not a reason to end the connection. */
const setConfig: MessageHandler = ({ log }, { name, payload, wantsAck }) => {
  const { offset } = decodeConfig(name, payload);
  if (wantsAck) throw new RefusedError(name, 'config', 'every field is read-only');
  log.warn({ request: name, offset }, 'write to the read-only configuration space ignored');
  return undefined;
};

function checkInflightQueues(name: string, inflight: Inflight, queues: number): void {
  const { queueCount, queueSize } = inflight;
  if (queueCount < 1 || queueCount > queues) {
    throw new ProtocolError(name, 'num_queues', `must be 1 to ${queues}, is ${queueCount}`);
  }
  if (!isQueueSize(queueSize)) {
    throw new ProtocolError(
      name,
      'queue_size',
      `must be a power of two up to ${QUEUE_SIZE_MAX}, is ${queueSize}`,
    );
  }
}

const getInflightFd: MessageHandler = ({ addon, queues }, { name, payload }) => {
  const inflight = decodeInflight(name, payload);
  checkInflightQueues(name, inflight, queues);
  const size = inflight.queueCount * inflightQueueBytes(inflight.queueSize);
  const fd = addon.memfdCreate('vhost-inflight', size);
  if (fd < 0) throw new RefusedError(name, 'memfd', `creating failed with ${errnoName(fd)}`);
  const answer = { ...inflight, mmapSize: BigInt(size), mmapOffset: 0n };
  return { payload: encodeInflight(answer, payload.byteLength === 20 ? 20 : 24), fd };
};

const setInflightFd: MessageHandler = ({ device, queues }, { name, payload, fds }) => {
  const inflight = decodeInflight(name, payload);
  checkInflightQueues(name, inflight, queues);
  const { mmapSize, mmapOffset, queueCount, queueSize } = inflight;
  const needed = queueCount * inflightQueueBytes(queueSize);
  if (mmapSize < BigInt(needed) || mmapSize > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw new ProtocolError(name, 'mmap_size', `must be at least ${needed}, is ${mmapSize}`);
  }
  if (mmapOffset + mmapSize > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw new ProtocolError(name, 'mmap_offset', `plus mmap_size must be below 2^53, is ${mmapOffset}`);
  }
  device.setInflight(name, fds.at(0), Number(mmapOffset), Number(mmapSize), queueCount, queueSize);
  return undefined;
};

const resetDevice: MessageHandler = async ({ device }, { name }) => {
  await device.reset(name);
  return undefined;
};

/** Requests that are served. The others belong to features that are not offered. */
export const handlers: Readonly<Partial<Record<RequestKey, MessageHandler>>> = {
  getFeatures,
  setFeatures,
  setOwner: ignore,
  resetOwner: ignore,
  setMemTable,
  setVringNum,
  setVringAddr,
  setVringBase,
  getVringBase,
  setVringKick,
  setVringCall,
  setVringErr,
  getProtocolFeatures,
  setProtocolFeatures,
  getQueueNum,
  setVringEnable,
  getConfig,
  setConfig,
  getInflightFd,
  setInflightFd,
  resetDevice,
  getMaxMemSlots,
  addMemReg,
  remMemReg,
};
