/** Raw FUSE requests for the load loop: 40 bytes of header and the arguments (include/uapi/linux/fuse.h). */

const HEADER_BYTES = 40;

/** Opcodes which the benchmark sends. */
export const Op = {
  lookup: 1,
  getattr: 3,
  open: 14,
  read: 15,
  release: 18,
  opendir: 27,
  readdirplus: 44,
} as const;

/** A nodeid or file handle as the server gave it: opaque 64 bits. */
export type U64 = bigint;

function request(opcode: number, nodeid: U64, argumentBytes: number): { bytes: Uint8Array; view: DataView } {
  const bytes = new Uint8Array(HEADER_BYTES + argumentBytes);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, bytes.length, true);
  view.setUint32(4, opcode, true);
  view.setBigUint64(16, nodeid, true);
  return { bytes, view };
}

/** LOOKUP of `name` in `parent`. */
export function lookupRequest(parent: U64, name: string): Uint8Array {
  const encoded = new TextEncoder().encode(name);
  const { bytes } = request(Op.lookup, parent, encoded.length + 1);
  bytes.set(encoded, HEADER_BYTES);
  return bytes;
}

/** GETATTR without a handle. */
export function getattrRequest(nodeid: U64): Uint8Array {
  return request(Op.getattr, nodeid, 16).bytes;
}

/** OPEN or OPENDIR, read-only. */
export function openRequest(opcode: number, nodeid: U64): Uint8Array {
  return request(opcode, nodeid, 8).bytes;
}

/** READ or READDIRPLUS of `size` bytes at `offset`. */
export function readRequest(
  opcode: number,
  nodeid: U64,
  handle: U64,
  offset: number,
  size: number,
): Uint8Array {
  const { bytes, view } = request(opcode, nodeid, 40);
  view.setBigUint64(HEADER_BYTES, handle, true);
  view.setBigUint64(HEADER_BYTES + 8, BigInt(offset), true);
  view.setUint32(HEADER_BYTES + 16, size, true);
  return bytes;
}

/** Requests one after the other, as `runLoad` wants them. */
export function pack(requests: readonly Uint8Array[]): { templates: Uint8Array; lengths: Uint32Array } {
  const lengths = Uint32Array.from(requests, (r) => r.length);
  const templates = new Uint8Array(lengths.reduce((sum, n) => sum + n, 0));
  let at = 0;
  for (const r of requests) {
    templates.set(r, at);
    at += r.length;
  }
  return { templates, lengths };
}
