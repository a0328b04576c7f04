/**
 * The vhost-user protocol on the wire: what a message is called, how long it may be, how many descriptors ride on
 * it and what is inside. Layouts follow QEMU's docs/interop/vhost-user.rst; every number is in the byte order of
 * the host, which here is little endian. Only syntax is checked: whether an index names a queue, or an address lies
 * in memory, is the session's business.
 */

/** Bytes of the header: u32 request, u32 flags, u32 payload size. */
export const HEADER_BYTES = 12;
/** No message we know needs more; a longer one is refused before it is read. */
export const PAYLOAD_BYTES_MAX = 4096;
/** Descriptors that one message may carry: a memory table with one per region. */
export const FDS_MAX = 32;
/** Regions of one memory table. The document says 8; rust-vmm front-ends send up to as many as descriptors fit. */
const REGIONS_MAX: number = FDS_MAX;
/** QEMU's VHOST_USER_MAX_CONFIG_SIZE. */
const CONFIG_SPACE_BYTES_MAX = 256;

/** Header flags. */
export const Flag = { versionMask: 3, version: 1, reply: 4, needReply: 8 } as const;

/** Bit 8 of a vring descriptor message: no descriptor is attached. */
const VRING_NO_FD = 0x100n;
/** Bits 0–7 of a vring descriptor message: the queue's index. */
const VRING_INDEX_MASK = 0xffn;
/** Bit 0 of the flags of SET_VRING_ADDR: log writes to the used ring. */
export const VRING_ADDR_LOG = 1;

/** Protocol features (GET_PROTOCOL_FEATURES). */
export const ProtocolFeature = {
  mq: 0x1n,
  logShmfd: 0x2n,
  rarp: 0x4n,
  replyAck: 0x8n,
  mtu: 0x10n,
  backendReq: 0x20n,
  crossEndian: 0x40n,
  cryptoSession: 0x80n,
  pagefault: 0x100n,
  config: 0x200n,
  backendSendFd: 0x400n,
  hostNotifier: 0x800n,
  inflightShmfd: 0x1000n,
  resetDevice: 0x2000n,
  inbandNotifications: 0x4000n,
  configureMemSlots: 0x8000n,
  status: 0x10000n,
  xenMmap: 0x20000n,
  sharedObject: 0x40000n,
  deviceState: 0x80000n,
} as const;

/** How a request is answered: never by itself (only an acknowledgement on demand), or with a payload of its own. */
type ReplyKind = 'ack' | 'u64' | 'state' | 'config' | 'inflight';

/** One request of the front-end. Sizes in bytes, both ends included. */
export interface RequestRow {
  readonly code: number;
  /** The name in the document, without its VHOST_USER_ prefix. */
  readonly name: string;
  readonly minBytes: number;
  readonly maxBytes: number;
  readonly minFds: number;
  readonly maxFds: number;
  readonly reply: ReplyKind;
}

function row(
  code: number,
  name: string,
  bytes: number | readonly [number, number],
  fds: number | readonly [number, number],
  reply: ReplyKind = 'ack',
): RequestRow {
  const [minBytes, maxBytes] = typeof bytes === 'number' ? [bytes, bytes] : bytes;
  const [minFds, maxFds] = typeof fds === 'number' ? [fds, fds] : fds;
  return { code, name, minBytes, maxBytes, minFds, maxFds, reply };
}

/** Key of a request in `requests`. */
export type RequestKey =
  | 'getFeatures'
  | 'setFeatures'
  | 'setOwner'
  | 'resetOwner'
  | 'setMemTable'
  | 'setLogBase'
  | 'setLogFd'
  | 'setVringNum'
  | 'setVringAddr'
  | 'setVringBase'
  | 'getVringBase'
  | 'setVringKick'
  | 'setVringCall'
  | 'setVringErr'
  | 'getProtocolFeatures'
  | 'setProtocolFeatures'
  | 'getQueueNum'
  | 'setVringEnable'
  | 'setBackendReqFd'
  | 'iotlbMsg'
  | 'getConfig'
  | 'setConfig'
  | 'getInflightFd'
  | 'setInflightFd'
  | 'resetDevice'
  | 'vringKick'
  | 'getMaxMemSlots'
  | 'addMemReg'
  | 'remMemReg'
  | 'setStatus'
  | 'getStatus'
  | 'setDeviceStateFd'
  | 'checkDeviceState';

/** Requests from the front-end to the back-end that a virtio-fs device can meet. */
export const requests: Readonly<Record<RequestKey, RequestRow>> = {
  getFeatures: row(1, 'GET_FEATURES', 0, 0, 'u64'),
  setFeatures: row(2, 'SET_FEATURES', 8, 0),
  setOwner: row(3, 'SET_OWNER', 0, 0),
  resetOwner: row(4, 'RESET_OWNER', 0, 0),
  setMemTable: row(5, 'SET_MEM_TABLE', [8, 8 + 32 * REGIONS_MAX], [0, FDS_MAX]),
  setLogBase: row(6, 'SET_LOG_BASE', 16, 1, 'u64'),
  setLogFd: row(7, 'SET_LOG_FD', 0, 1),
  setVringNum: row(8, 'SET_VRING_NUM', 8, 0),
  setVringAddr: row(9, 'SET_VRING_ADDR', 40, 0),
  setVringBase: row(10, 'SET_VRING_BASE', 8, 0),
  getVringBase: row(11, 'GET_VRING_BASE', 8, 0, 'state'),
  setVringKick: row(12, 'SET_VRING_KICK', 8, [0, 1]),
  setVringCall: row(13, 'SET_VRING_CALL', 8, [0, 1]),
  setVringErr: row(14, 'SET_VRING_ERR', 8, [0, 1]),
  getProtocolFeatures: row(15, 'GET_PROTOCOL_FEATURES', 0, 0, 'u64'),
  setProtocolFeatures: row(16, 'SET_PROTOCOL_FEATURES', 8, 0),
  getQueueNum: row(17, 'GET_QUEUE_NUM', 0, 0, 'u64'),
  setVringEnable: row(18, 'SET_VRING_ENABLE', 8, 0),
  setBackendReqFd: row(21, 'SET_BACKEND_REQ_FD', 0, 1),
  iotlbMsg: row(22, 'IOTLB_MSG', 32, 0, 'u64'),
  getConfig: row(24, 'GET_CONFIG', [12, 12 + CONFIG_SPACE_BYTES_MAX], 0, 'config'),
  setConfig: row(25, 'SET_CONFIG', [12, 12 + CONFIG_SPACE_BYTES_MAX], 0),
  getInflightFd: row(31, 'GET_INFLIGHT_FD', [20, 24], 0, 'inflight'),
  setInflightFd: row(32, 'SET_INFLIGHT_FD', [20, 24], 1),
  resetDevice: row(34, 'RESET_DEVICE', 0, 0),
  vringKick: row(35, 'VRING_KICK', 8, 0),
  getMaxMemSlots: row(36, 'GET_MAX_MEM_SLOTS', 0, 0, 'u64'),
  addMemReg: row(37, 'ADD_MEM_REG', 40, 1),
  /** Some front-ends attach the region's descriptor here too; it means nothing. */
  remMemReg: row(38, 'REM_MEM_REG', 40, [0, 1]),
  setStatus: row(39, 'SET_STATUS', 8, 0),
  getStatus: row(40, 'GET_STATUS', 0, 0, 'u64'),
  setDeviceStateFd: row(42, 'SET_DEVICE_STATE_FD', 8, 1, 'u64'),
  checkDeviceState: row(43, 'CHECK_DEVICE_STATE', 0, 0, 'u64'),
};

const rowsByCode: ReadonlyMap<number, RequestKey> = new Map(
  Object.entries(requests).map(([key, value]) => [value.code, key as RequestKey]),
);

/** The key of a request code, or undefined for one that is not in the table. */
export function requestByCode(code: number): RequestKey | undefined {
  return rowsByCode.get(code);
}

/** A message broke a rule of the protocol. `request` is the spec's name, `field` the part, `rule` what it must be. */
export class ProtocolError extends Error {
  readonly code: string = 'VHOST_PROTOCOL';
  readonly request: string;
  readonly field: string;
  readonly rule: string;
  constructor(request: string, field: string, rule: string) {
    super(`${request}: ${field}: ${rule}`);
    this.name = 'ProtocolError';
    this.request = request;
    this.field = field;
    this.rule = rule;
  }
}

/** Header of a message. */
export interface Header {
  readonly request: number;
  readonly flags: number;
  /** Payload bytes. */
  readonly size: number;
}

/** Reads the 12 bytes of a header; nothing is checked. */
export function decodeHeader(view: DataView, at = 0): Header {
  return {
    request: view.getUint32(at, true),
    flags: view.getUint32(at + 4, true),
    size: view.getUint32(at + 8, true),
  };
}

/** Checks what can be known of a front-end's message before its payload is read. */
export function checkHeader(header: Header): void {
  const key = requestByCode(header.request);
  const name = key === undefined ? `request ${header.request}` : requests[key].name;
  if ((header.flags & Flag.versionMask) !== Flag.version) {
    throw new ProtocolError(name, 'flags', `version must be 1, is ${header.flags & Flag.versionMask}`);
  }
  if ((header.flags & Flag.reply) !== 0) {
    throw new ProtocolError(name, 'flags', 'a request must not have the reply bit set');
  }
  if (header.size > PAYLOAD_BYTES_MAX) {
    throw new ProtocolError(name, 'size', `at most ${PAYLOAD_BYTES_MAX} bytes, is ${header.size}`);
  }
  if (key !== undefined && (header.size < requests[key].minBytes || header.size > requests[key].maxBytes)) {
    throw new ProtocolError(name, 'size', `must be ${sizeRule(requests[key])} bytes, is ${header.size}`);
  }
}

function sizeRule(request: RequestRow): string {
  const { minBytes, maxBytes } = request;
  return minBytes === maxBytes ? `${minBytes}` : `${minBytes} to ${maxBytes}`;
}

/** Checks how many descriptors came with a message. */
export function checkFdCount(request: RequestRow, count: number): void {
  if (count < request.minFds || count > request.maxFds) {
    const rule =
      request.minFds === request.maxFds ? `${request.minFds}` : `${request.minFds} to ${request.maxFds}`;
    throw new ProtocolError(request.name, 'descriptors', `must be ${rule}, are ${count}`);
  }
}

/** A whole message; flags are given without the version. */
export function encodeMessage(request: number, flags: number, payload: Uint8Array): Uint8Array {
  const message = new Uint8Array(HEADER_BYTES + payload.length);
  const view = new DataView(message.buffer);
  view.setUint32(0, request, true);
  view.setUint32(4, flags | Flag.version, true);
  view.setUint32(8, payload.length, true);
  message.set(payload, HEADER_BYTES);
  return message;
}

export function decodeU64(view: DataView): bigint {
  return view.getBigUint64(0, true);
}

export function encodeU64(value: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value, true);
  return bytes;
}

/** Vring state: NUM, BASE, ENABLE. */
interface VringState {
  readonly index: number;
  readonly num: number;
}

export function decodeVringState(view: DataView): VringState {
  return { index: view.getUint32(0, true), num: view.getUint32(4, true) };
}

export function encodeVringState(state: VringState): Uint8Array {
  const bytes = new Uint8Array(8);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, state.index, true);
  view.setUint32(4, state.num, true);
  return bytes;
}

/** Ring addresses in the front-end's address space. On the wire the used ring comes before the avail ring. */
export interface VringAddr {
  readonly index: number;
  readonly flags: number;
  readonly desc: bigint;
  readonly used: bigint;
  readonly avail: bigint;
  readonly log: bigint;
}

export function decodeVringAddr(view: DataView): VringAddr {
  return {
    index: view.getUint32(0, true),
    flags: view.getUint32(4, true),
    desc: view.getBigUint64(8, true),
    used: view.getBigUint64(16, true),
    avail: view.getBigUint64(24, true),
    log: view.getBigUint64(32, true),
  };
}

/** The u64 of SET_VRING_KICK, CALL and ERR. */
interface VringFd {
  readonly index: number;
  /** False: bit 8 is set and no descriptor may be attached. */
  readonly hasFd: boolean;
}

/** Bits 9–63 must be zero, and the descriptor must be there exactly when bit 8 is clear. */
export function decodeVringFd(name: string, view: DataView, fdCount: number): VringFd {
  const value = view.getBigUint64(0, true);
  if (value >> 9n !== 0n) {
    throw new ProtocolError(name, 'payload', `bits 9 to 63 must be 0, payload is 0x${value.toString(16)}`);
  }
  const hasFd = (value & VRING_NO_FD) === 0n;
  if (fdCount !== (hasFd ? 1 : 0)) {
    throw new ProtocolError(name, 'descriptors', `must be ${hasFd ? 1 : 0} by bit 8, are ${fdCount}`);
  }
  return { index: Number(value & VRING_INDEX_MASK), hasFd };
}

/** A piece of guest memory: guest address, bytes, address in the front-end, offset in the descriptor's file. */
export interface MemoryRegion {
  readonly gpa: bigint;
  readonly size: bigint;
  readonly uva: bigint;
  readonly mmapOffset: bigint;
}

const REGION_BYTES = 32;

function checkRegion(name: string, region: MemoryRegion): void {
  if (region.size === 0n) throw new ProtocolError(name, 'memory_size', 'must not be 0');
  const limit = 1n << 64n;
  const sums = { guest_addr: region.gpa, userspace_addr: region.uva, mmap_offset: region.mmapOffset };
  for (const [field, start] of Object.entries(sums)) {
    if (start + region.size > limit) {
      throw new ProtocolError(
        name,
        field,
        `plus memory_size must not exceed 2^64, is 0x${start.toString(16)}`,
      );
    }
  }
}

function readRegion(name: string, view: DataView, at: number): MemoryRegion {
  const region = {
    gpa: view.getBigUint64(at, true),
    size: view.getBigUint64(at + 8, true),
    uva: view.getBigUint64(at + 16, true),
    mmapOffset: view.getBigUint64(at + 24, true),
  };
  checkRegion(name, region);
  return region;
}

/** SET_MEM_TABLE: u32 count, u32 padding, regions; as many descriptors as regions, and no byte more than counted. */
export function decodeMemoryTable(view: DataView, fdCount: number): MemoryRegion[] {
  const { name } = requests.setMemTable;
  const count = view.getUint32(0, true);
  if (count > REGIONS_MAX)
    throw new ProtocolError(name, 'num_regions', `at most ${REGIONS_MAX}, is ${count}`);
  if (view.byteLength !== 8 + count * REGION_BYTES) {
    throw new ProtocolError(name, 'size', `must be ${8 + count * REGION_BYTES} for ${count} regions`);
  }
  if (fdCount !== count) {
    throw new ProtocolError(name, 'descriptors', `must be as many as regions, ${count}, are ${fdCount}`);
  }
  const regions: MemoryRegion[] = [];
  for (let i = 0; i < count; i++) regions.push(readRegion(name, view, 8 + i * REGION_BYTES));
  return regions;
}

/** ADD_MEM_REG and REM_MEM_REG: u64 padding, one region. */
export function decodeSingleRegion(name: string, view: DataView): MemoryRegion {
  return readRegion(name, view, 8);
}

/** The in-flight region: bytes and offset of the mapping, queues, descriptors of each queue. */
export interface Inflight {
  readonly mmapSize: bigint;
  readonly mmapOffset: bigint;
  readonly queueCount: number;
  readonly queueSize: number;
}

/** 20 bytes as written down, or 24 as C compilers lay the struct out. */
export function decodeInflight(name: string, view: DataView): Inflight {
  if (view.byteLength !== 20 && view.byteLength !== 24) {
    throw new ProtocolError(name, 'size', `must be 20 or 24 bytes, is ${view.byteLength}`);
  }
  return {
    mmapSize: view.getBigUint64(0, true),
    mmapOffset: view.getBigUint64(8, true),
    queueCount: view.getUint16(16, true),
    queueSize: view.getUint16(18, true),
  };
}

/** `bytes` is 20 or 24: front-ends want an answer as long as their question. */
export function encodeInflight(inflight: Inflight, bytes: 20 | 24): Uint8Array {
  const payload = new Uint8Array(bytes);
  const view = new DataView(payload.buffer);
  view.setBigUint64(0, inflight.mmapSize, true);
  view.setBigUint64(8, inflight.mmapOffset, true);
  view.setUint16(16, inflight.queueCount, true);
  view.setUint16(18, inflight.queueSize, true);
  return payload;
}

/** GET_CONFIG and SET_CONFIG: a window of the device's config space. */
interface ConfigWindow {
  readonly offset: number;
  readonly flags: number;
  readonly bytes: Uint8Array;
}

/** `size` must equal the bytes that follow; the window must lie within 256 bytes. */
export function decodeConfig(name: string, view: DataView): ConfigWindow {
  const offset = view.getUint32(0, true);
  const size = view.getUint32(4, true);
  if (size !== view.byteLength - 12) {
    throw new ProtocolError(
      name,
      'config size',
      `must be the ${view.byteLength - 12} bytes sent, is ${size}`,
    );
  }
  if (size === 0) throw new ProtocolError(name, 'config size', 'must not be 0');
  if (offset + size > CONFIG_SPACE_BYTES_MAX) {
    throw new ProtocolError(
      name,
      'config offset',
      `plus size at most ${CONFIG_SPACE_BYTES_MAX}, is ${offset + size}`,
    );
  }
  return {
    offset,
    flags: view.getUint32(8, true),
    bytes: new Uint8Array(view.buffer, view.byteOffset + 12, size),
  };
}

export function encodeConfig(window: ConfigWindow): Uint8Array {
  const payload = new Uint8Array(12 + window.bytes.length);
  const view = new DataView(payload.buffer);
  view.setUint32(0, window.offset, true);
  view.setUint32(4, window.bytes.length, true);
  view.setUint32(8, window.flags, true);
  payload.set(window.bytes, 12);
  return payload;
}
