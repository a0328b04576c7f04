import { BlobError } from './blob-error.ts';

/**
 * `*.chunk_map`: a 4096-byte header and one bit for each chunk of a blob, MSB first within a byte.
 * storage/src/cache/state/persist_map.rs.
 */
export const ChunkMapHeader = { magic: 0, version: 4, magic2: 8, allReady: 12, size: 4096 } as const;

const MAGIC = 0x424d4150;
const MAGIC2 = 0x434d4150;
const ALL_READY = 0x4d4d4150;
const VERSION = 1;

/** Bytes of the bitmap for `count` chunks. */
export function chunkMapBytes(count: number): number {
  return Math.ceil(count / 8);
}

/** A header of a map in which not all chunks are ready, or of one in which they are. */
export function encodeChunkMapHeader(allReady: boolean): Uint8Array {
  const bytes = new Uint8Array(ChunkMapHeader.size);
  const view = new DataView(bytes.buffer);
  view.setUint32(ChunkMapHeader.magic, MAGIC, true);
  view.setUint32(ChunkMapHeader.version, VERSION, true);
  view.setUint32(ChunkMapHeader.magic2, MAGIC2, true);
  view.setUint32(ChunkMapHeader.allReady, allReady ? ALL_READY : 0, true);
  return bytes;
}

/**
 * `new`: the header is all zero, another process may have created the file a moment ago. `ready`: every chunk is.
 * Throws BlobError for anything that is not a map of this version; `path` is for the message.
 */
export function decodeChunkMapHeader(bytes: Uint8Array, path: string): 'new' | 'partial' | 'ready' {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < ChunkMapHeader.size) fail(path, 'size', bytes.length, `at least ${ChunkMapHeader.size}`);
  const magic = view.getUint32(ChunkMapHeader.magic, true);
  if (magic === 0 && bytes.subarray(0, ChunkMapHeader.size).every((byte) => byte === 0)) return 'new';
  if (magic !== MAGIC) fail(path, 'magic', `0x${magic.toString(16)}`, `0x${MAGIC.toString(16)}`);
  const version = view.getUint32(ChunkMapHeader.version, true);
  if (version !== VERSION) fail(path, 'version', version, String(VERSION));
  const magic2 = view.getUint32(ChunkMapHeader.magic2, true);
  if (magic2 !== MAGIC2) fail(path, 'magic2', `0x${magic2.toString(16)}`, `0x${MAGIC2.toString(16)}`);
  const allReady = view.getUint32(ChunkMapHeader.allReady, true);
  if (allReady !== 0 && allReady !== ALL_READY)
    fail(path, 'all_ready', `0x${allReady.toString(16)}`, '0 or 0x4d4d4150');
  return allReady === ALL_READY ? 'ready' : 'partial';
}

function fail(path: string, field: string, value: unknown, rule: string): never {
  throw new BlobError(
    'BLOB_BAD_CHUNK_MAP',
    `${path}: ${field} = ${String(value)}, must be ${rule}; remove the file to start anew`,
  );
}
