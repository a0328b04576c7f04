import { describe, expect, it } from 'vitest';
import {
  checkFdCount,
  checkHeader,
  decodeConfig,
  decodeHeader,
  decodeInflight,
  decodeMemoryTable,
  decodeSingleRegion,
  decodeVringAddr,
  decodeVringFd,
  decodeVringState,
  encodeInflight,
  encodeMessage,
  encodeU64,
  requestByCode,
  requests,
} from '../../../src/wire/vhost-user.ts';
import { encodeFsConfig, fsTagError, inflightQueueBytes, isQueueSize } from '../../../src/wire/virtio.ts';
import { encodeMemoryTable, encodeSingleRegion, encodeVringAddr } from '../../support/vhost-messages.ts';

function bytes(hex: string): Uint8Array {
  return Uint8Array.from(Buffer.from(hex.replace(/\s/g, ''), 'hex'));
}

function view(hex: string): DataView {
  return new DataView(bytes(hex).buffer);
}

const region = { gpa: 0xc0000n, size: 0x1ff40000n, uva: 0x7f0000000000n, mmapOffset: 0xc0000n };
const regionHex = `
  00000c0000000000 0000f41f00000000
  00000000007f0000 00000c0000000000`;

describe('vhost-user header', () => {
  it('is request, flags and payload size, little endian', () => {
    expect(decodeHeader(view('0b000000 09000000 08000000'))).toEqual({ request: 11, flags: 9, size: 8 });
  });

  it('of a reply has version 1 and the reply bit, as QEMU demands', () => {
    expect(encodeMessage(1, 4, encodeU64(0x170000000n))).toEqual(
      bytes('01000000 05000000 08000000 0000007001000000'),
    );
  });

  it.each([
    ['version 0', { request: 1, flags: 0, size: 0 }, /flags: version must be 1/],
    ['version 3', { request: 1, flags: 3, size: 0 }, /flags: version must be 1/],
    ['a reply', { request: 1, flags: 5, size: 0 }, /reply bit/],
    [
      'a long payload of an unknown request',
      { request: 999, flags: 1, size: 4097 },
      /request 999: size: at most 4096/,
    ],
    ['too few bytes', { request: 2, flags: 1, size: 7 }, /SET_FEATURES: size: must be 8 bytes, is 7/],
    ['too many bytes', { request: 1, flags: 1, size: 1 }, /GET_FEATURES: size: must be 0 bytes, is 1/],
    ['a memory table without its count', { request: 5, flags: 1, size: 4 }, /SET_MEM_TABLE: size/],
  ])('is refused for %s', (_, header, message) => {
    expect(() => checkHeader(header)).toThrow(message);
  });

  it('of an unknown request passes, so that its sender can be told', () => {
    expect(() => checkHeader({ request: 999, flags: 9, size: 4096 })).not.toThrow();
  });
});

describe('request table', () => {
  it('finds rows by code', () => {
    expect(requestByCode(34)).toBe('resetDevice');
    expect(requestByCode(0)).toBeUndefined();
    expect(requestByCode(23)).toBeUndefined();
  });

  it('gives every code once', () => {
    const codes = Object.values(requests).map(({ code }) => code);
    expect(new Set(codes).size).toBe(codes.length);
  });

  it('counts descriptors', () => {
    expect(() => checkFdCount(requests.addMemReg, 1)).not.toThrow();
    expect(() => checkFdCount(requests.addMemReg, 0)).toThrow(/ADD_MEM_REG: descriptors: must be 1, are 0/);
    expect(() => checkFdCount(requests.remMemReg, 1)).not.toThrow();
    expect(() => checkFdCount(requests.remMemReg, 2)).toThrow(/must be 0 to 1, are 2/);
  });
});

describe('vring payloads', () => {
  it('state is index and number', () => {
    expect(decodeVringState(view('02000000 80000000'))).toEqual({ index: 2, num: 128 });
  });

  it('addresses put the used ring before the avail ring', () => {
    const hex = `01000000 00000000
      0010000000000000 0030000000000000
      0020000000000000 0000000000000000`;
    const addr = { index: 1, flags: 0, desc: 0x1000n, used: 0x3000n, avail: 0x2000n, log: 0n };
    expect(decodeVringAddr(view(hex))).toEqual(addr);
    expect(encodeVringAddr(addr)).toEqual(bytes(hex));
  });

  it('a descriptor message has one descriptor exactly when bit 8 is clear', () => {
    expect(decodeVringFd('SET_VRING_CALL', view('0200000000000000'), 1)).toEqual({ index: 2, hasFd: true });
    expect(decodeVringFd('SET_VRING_CALL', view('0201000000000000'), 0)).toEqual({ index: 2, hasFd: false });
    expect(() => decodeVringFd('SET_VRING_CALL', view('0200000000000000'), 0)).toThrow(
      /must be 1 by bit 8, are 0/,
    );
    expect(() => decodeVringFd('SET_VRING_CALL', view('0201000000000000'), 1)).toThrow(
      /must be 0 by bit 8, are 1/,
    );
    expect(() => decodeVringFd('SET_VRING_CALL', view('0202000000000000'), 1)).toThrow(/bits 9 to 63/);
  });
});

describe('memory payloads', () => {
  it('a table is a count, padding and regions', () => {
    const hex = `01000000 00000000 ${regionHex}`;
    expect(decodeMemoryTable(view(hex), 1)).toEqual([region]);
    expect(encodeMemoryTable([region])).toEqual(bytes(hex));
  });

  it('a single region follows eight bytes of padding', () => {
    const hex = `0000000000000000 ${regionHex}`;
    expect(decodeSingleRegion('ADD_MEM_REG', view(hex))).toEqual(region);
    expect(encodeSingleRegion(region)).toEqual(bytes(hex));
  });

  it.each([
    ['more regions than bytes', `02000000 00000000 ${regionHex}`, 2, /size: must be 72 for 2 regions/],
    ['fewer regions than bytes', `00000000 00000000 ${regionHex}`, 0, /size: must be 8 for 0 regions/],
    ['more regions than fit', `ffffffff 00000000 ${regionHex}`, 1, /num_regions: at most 32/],
    ['a region without descriptor', `01000000 00000000 ${regionHex}`, 0, /as many as regions, 1, are 0/],
  ])('a table with %s is refused', (_, hex, fds, message) => {
    expect(() => decodeMemoryTable(view(hex), fds)).toThrow(message);
  });

  it.each([
    ['no size', { ...region, size: 0n }, /memory_size: must not be 0/],
    ['a guest address that overflows', { ...region, gpa: 2n ** 64n - 1n }, /guest_addr: plus memory_size/],
    [
      'a user address that overflows',
      { ...region, uva: 2n ** 64n - 4096n },
      /userspace_addr: plus memory_size/,
    ],
    [
      'an offset that overflows',
      { ...region, mmapOffset: 2n ** 64n - 4096n },
      /mmap_offset: plus memory_size/,
    ],
  ])('a region with %s is refused', (_, bad, message) => {
    const payload = encodeSingleRegion(bad);
    expect(() => decodeSingleRegion('ADD_MEM_REG', new DataView(payload.buffer))).toThrow(message);
  });
});

describe('in-flight payload', () => {
  const hex = '4008000000000000 0000000000000000 0200 8000';
  const inflight = { mmapSize: 0x840n, mmapOffset: 0n, queueCount: 2, queueSize: 128 };

  it('is 20 bytes, or 24 with the padding of C', () => {
    expect(decodeInflight('GET_INFLIGHT_FD', view(hex))).toEqual(inflight);
    expect(decodeInflight('GET_INFLIGHT_FD', view(`${hex} 00000000`))).toEqual(inflight);
    expect(() => decodeInflight('GET_INFLIGHT_FD', view(`${hex} 0000`))).toThrow(
      /must be 20 or 24 bytes, is 22/,
    );
    expect(encodeInflight(inflight, 20)).toEqual(bytes(hex));
    expect(encodeInflight(inflight, 24)).toEqual(bytes(`${hex} 00000000`));
  });

  it('part of a queue is 16 bytes and 16 per descriptor, rounded up to 64', () => {
    expect(inflightQueueBytes(128)).toBe(16 + 128 * 16 + 48);
    expect(inflightQueueBytes(1)).toBe(64);
    expect(inflightQueueBytes(4)).toBe(128);
  });
});

describe('configuration space', () => {
  it('window says how many bytes follow', () => {
    const window = decodeConfig('GET_CONFIG', view('24000000 04000000 00000000 01020304'));
    expect(window).toEqual({ offset: 36, flags: 0, bytes: bytes('01020304') });
  });

  it.each([
    [
      'a size that is not what follows',
      '00000000 05000000 00000000 01020304',
      /must be the 4 bytes sent, is 5/,
    ],
    [
      'an end behind 256',
      'fe000000 04000000 00000000 01020304',
      /config offset: plus size at most 256, is 258/,
    ],
    ['an offset that wraps', 'ffffffff 04000000 00000000 01020304', /config offset/],
    ['nothing', '00000000 00000000 00000000', /config size: must not be 0/],
  ])('window with %s is refused', (_, hex, message) => {
    expect(() => decodeConfig('GET_CONFIG', view(hex))).toThrow(message);
  });

  it('of a file system is its tag, padded, and its request queues', () => {
    const config = encodeFsConfig('nydus', 2);
    expect(config).toEqual(bytes(`6e79647573 ${'00'.repeat(31)} 02000000 00000000`));
    expect(() => encodeFsConfig('x'.repeat(37), 1)).toThrow(/at most 36 bytes, has 37/);
    expect(fsTagError('x'.repeat(36))).toBeNull();
    expect(fsTagError('')).toMatch(/empty/);
    expect(fsTagError('a\nb')).toMatch(/newline/);
  });

  it('of a ring allows powers of two', () => {
    expect([1, 2, 128, 1024, 32768].every(isQueueSize)).toBe(true);
    expect([0, 3, 1000, 65536, -1, 1.5].some(isQueueSize)).toBe(false);
  });
});
