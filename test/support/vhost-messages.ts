/** The payloads of vhost-user that only a front-end writes. */
import { encodeU64, type MemoryRegion, type VringAddr } from '../../src/wire/vhost-user.ts';

/** Bit 8 of a vring descriptor message: no descriptor is attached. */
const NO_FD = 0x100n;
const REGION_BYTES = 32;

/** SET_VRING_ADDR. */
export function encodeVringAddr(addr: VringAddr): Uint8Array {
  const bytes = new Uint8Array(40);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, addr.index, true);
  view.setUint32(4, addr.flags, true);
  view.setBigUint64(8, addr.desc, true);
  view.setBigUint64(16, addr.used, true);
  view.setBigUint64(24, addr.avail, true);
  view.setBigUint64(32, addr.log, true);
  return bytes;
}

/** SET_VRING_KICK, CALL and ERR. */
export function encodeVringFd(index: number, hasFd: boolean): Uint8Array {
  return encodeU64(BigInt(index) | (hasFd ? 0n : NO_FD));
}

function writeRegion(view: DataView, at: number, region: MemoryRegion): void {
  view.setBigUint64(at, region.gpa, true);
  view.setBigUint64(at + 8, region.size, true);
  view.setBigUint64(at + 16, region.uva, true);
  view.setBigUint64(at + 24, region.mmapOffset, true);
}

/** SET_MEM_TABLE. */
export function encodeMemoryTable(regions: readonly MemoryRegion[]): Uint8Array {
  const bytes = new Uint8Array(8 + regions.length * REGION_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, regions.length, true);
  regions.forEach((region, i) => {
    writeRegion(view, 8 + i * REGION_BYTES, region);
  });
  return bytes;
}

/** ADD_MEM_REG and REM_MEM_REG. */
export function encodeSingleRegion(region: MemoryRegion): Uint8Array {
  const bytes = new Uint8Array(8 + REGION_BYTES);
  writeRegion(new DataView(bytes.buffer), 8, region);
  return bytes;
}
