/**
 * Numbers of the VIRTIO 1.2 specification: feature bits (chapter 6), the split virtqueue (2.7) and the configuration
 * space of a file system device (5.11.4).
 */

/** Feature bits. */
export const VirtioFeature = {
  notifyOnEmpty: 0x1000000n,
  logAll: 0x4000000n,
  indirectDesc: 0x10000000n,
  eventIdx: 0x20000000n,
  /** vhost-user only: the front-end knows protocol features, and rings start disabled. */
  protocolFeatures: 0x40000000n,
  version1: 0x100000000n,
  accessPlatform: 0x200000000n,
  ringPacked: 0x400000000n,
  inOrder: 0x800000000n,
  orderPlatform: 0x1000000000n,
  notificationData: 0x4000000000n,
  ringReset: 0x10000000000n,
} as const;

/** Descriptors of a ring: a power of two up to this. */
export const QUEUE_SIZE_MAX = 32768;

/** A descriptor: le64 addr, le32 len, le16 flags, le16 next. */
export const Descriptor = { addr: 0, len: 8, flags: 12, next: 14, size: 16, align: 16 } as const;

/** The avail ring: le16 flags, le16 idx, le16 ring[n], le16 used_event. */
export const Avail = { flags: 0, idx: 2, ring: 4, entry: 2, align: 2, noInterrupt: 1 } as const;
/** The used ring: le16 flags, le16 idx, {le32 id, le32 len} ring[n], le16 avail_event. */
export const Used = { flags: 0, idx: 2, ring: 4, entry: 8, align: 4, noNotify: 1 } as const;

/** Whether a driver may choose this ring size. */
export function isQueueSize(num: number): boolean {
  return Number.isInteger(num) && num >= 1 && num <= QUEUE_SIZE_MAX && (num & (num - 1)) === 0;
}

/** Bytes of a tag; shorter ones are padded with NUL, one that fills the field has none. */
const FS_TAG_BYTES = 36;
/** Config space: u8 tag[36], le32 num_request_queues, le32 notify_buf_size (unused without notifications). */
const FS_CONFIG_BYTES = 44;

/** A tag's error, or null: Linux refuses an empty tag and one with a newline. */
export function fsTagError(tag: string): string | null {
  const bytes = new TextEncoder().encode(tag);
  if (bytes.length === 0) return 'tag must not be empty';
  if (bytes.length > FS_TAG_BYTES) return `tag must have at most ${FS_TAG_BYTES} bytes, has ${bytes.length}`;
  if (/[\n\0]/.test(tag)) return 'tag must not contain a newline or NUL';
  return null;
}

/** The config space of a file system device. Throws RangeError for a tag that `fsTagError` refuses. */
export function encodeFsConfig(tag: string, requestQueues: number): Uint8Array {
  const error = fsTagError(tag);
  if (error !== null) throw new RangeError(error);
  const config = new Uint8Array(FS_CONFIG_BYTES);
  config.set(new TextEncoder().encode(tag), 0);
  new DataView(config.buffer).setUint32(FS_TAG_BYTES, requestQueues, true);
  return config;
}

/**
 * The in-flight region of vhost-user (INFLIGHT_SHMFD), one part per split queue: u64 features, u16 version,
 * u16 desc_num, u16 last_batch_head, u16 used_idx, then per descriptor u8 inflight, u8 padding[5], u16 next,
 * u64 counter. Parts begin at multiples of 64.
 */
const InflightHeader = {
  features: 0,
  version: 8,
  descNum: 10,
  lastBatchHead: 12,
  usedIdx: 14,
  size: 16,
} as const;
const InflightEntry = { inflight: 0, next: 6, counter: 8, size: 16 } as const;

/** Bytes of one queue's part. */
export function inflightQueueBytes(queueSize: number): number {
  return (InflightHeader.size + queueSize * InflightEntry.size + 63) & ~63;
}
