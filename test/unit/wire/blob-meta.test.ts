import { describe, expect, it } from 'vitest';
import {
  ChunkInfoFlag,
  decodeChunkInfo,
  decodeChunkInfoHeader,
  encodeChunkInfoHeader,
} from '../../../src/wire/blob-meta.ts';
import { encodeBatchContext, encodeChunkInfoV2 } from '../../../src/wire/rafs/encode-blob-meta.ts';
import { BlobFeature } from '../../../src/wire/rafs/flags.ts';

const header = {
  features: 0,
  compressor: 3,
  count: 1,
  offset: 5_000_000_000,
  compressedSize: 16,
  uncompressedSize: 16,
  contextOffset: 0,
  contextSize: 0,
  contextCount: 0,
};
const limits = { features: 0, chunkCount: 1, compressedSize: 0x10_0000_0000, uncompressedSize: 2 ** 40 };
const V2 = BlobFeature.chunkInfoV2;

const bytes = (...words: bigint[]) => new Uint8Array(new BigUint64Array(words).buffer);

describe('the header', () => {
  it('survives encoding and decoding', () => {
    expect(decodeChunkInfoHeader(new DataView(encodeChunkInfoHeader(header).buffer as ArrayBuffer))).toEqual(
      header,
    );
  });

  it('is refused without its second magic', () => {
    const broken = encodeChunkInfoHeader(header);
    broken[4095] = 0;
    expect(() => decodeChunkInfoHeader(new DataView(broken.buffer as ArrayBuffer))).toThrow(/magic@4092/);
  });
});

describe('a 16-byte entry', () => {
  it('spreads its sizes over two fields each, less one', () => {
    const size = 0x123456;
    const low = BigInt((size - 1) & 0xfffff) << 44n;
    const high = BigInt((size - 1) >> 20);
    const table = decodeChunkInfo(
      bytes(low | 0x12_3456_7000n | (high << 8n), low | (high << 40n) | 0x1_2345_6789n),
      header,
      limits,
    );
    expect(table.uncompressedOffset(0)).toBe(0x12_3456_7000);
    expect(table.uncompressedSize(0)).toBe(size);
    expect(table.compressedOffset(0)).toBe(0x1_2345_6789);
    expect(table.compressedSize(0)).toBe(size);
    expect(table.flags(0)).toBe(0);
  });
});

describe('a 24-byte entry', () => {
  const entry = (flags: bigint, data = 0n, csize = 10n) =>
    bytes((flags << 56n) | (99n << 32n) | 3n, (csize << 40n) | 0x12n, data);
  const v2 = { ...limits, features: V2 };

  it('keeps the compressed size as it is and the CRC in the third word', () => {
    const table = decodeChunkInfo(entry(0x11n, 0xdeadbeefn), header, v2);
    expect(table.uncompressedOffset(0)).toBe(3 * 4096);
    expect(table.uncompressedSize(0)).toBe(100);
    expect(table.compressedOffset(0)).toBe(0x12);
    expect(table.compressedSize(0)).toBe(10);
    expect(table.crc32c(0)).toBe(0xdeadbeef);
  });

  it.each([
    ['beyond the data region', entry(1n), { ...v2, compressedSize: 0x1b }, /entry\[0\]\.compressed_offset/],
    [
      'beyond the uncompressed blob',
      entry(1n),
      { ...v2, uncompressedSize: 4096 },
      /entry\[0\]\.uncompressed_offset/,
    ],
    ['of no bytes', entry(1n, 0n, 0n), v2, /entry\[0\]\.compressed_size/],
    ['uncompressed with two sizes', entry(0n), v2, /entry\[0\]\.compressed_size.*not compressed/],
    ['encrypted in a plain blob', entry(9n), v2, /not encrypted/],
    ['of a batch in a blob without', entry(5n), v2, /no batch contexts/],
    [
      'of a context that is not there',
      entry(5n),
      { ...v2, features: V2 | BlobFeature.batch },
      /entry\[0\]\.context/,
    ],
    ['that is cut off', entry(1n).subarray(0, 20), v2, /chunk info size/],
  ])('%s is refused', (_, data, against, message) => {
    expect(() => decodeChunkInfo(data, header, against)).toThrow(message);
  });
});

describe('a zran context', () => {
  const context = new Uint8Array(40);
  new DataView(context.buffer).setUint32(24, 100, true);
  new DataView(context.buffer).setUint32(28, 200, true);
  const entry = bytes((3n << 56n) | (99n << 32n), 10n << 40n, 101n);
  const zran = { ...limits, features: V2 | BlobFeature.zran };
  const head = { ...header, contextOffset: 24, contextSize: 40, contextCount: 1 };
  const with_ = (change: (view: DataView) => void) => {
    const info = new Uint8Array([...entry, ...context]);
    change(new DataView(info.buffer, 24));
    return info;
  };

  it('must hold its chunks', () => {
    expect(() =>
      decodeChunkInfo(
        with_(() => {}),
        head,
        zran,
      ),
    ).toThrow(/context_position\+size = 201/);
  });

  it.each([
    ['input outside the blob', 0, 0xff, /in_offset/],
    ['output too large', 28, 0x7fffffff, /out_len/],
    ['dictionary outside the area', 32, 1, /dict_offset/],
    ['dictionary above 32 KiB', 32, 0x8001, /dict_size/],
  ])('with %s is refused', (_, at, value, message) => {
    const info = with_((view) => view.setUint32(at, value, true));
    expect(() => decodeChunkInfo(info, head, { ...zran, compressedSize: 300 })).toThrow(message);
  });
});

describe('an encoded 24-byte entry', () => {
  const decode = (
    flags: number,
    features: number,
    compressedSize: number,
    dataLow: number,
    dataHigh: number,
  ) => {
    const info = new Uint8Array(24 + 2 * 40);
    const view = new DataView(info.buffer);
    encodeChunkInfoV2(view, 0, {
      uncompressedOffset: 0xf_1234_5000,
      uncompressedSize: 0x100_0000,
      compressedOffset: 0xf1_2345_6789,
      compressedSize,
      flags,
      dataLow,
      dataHigh,
    });
    encodeBatchContext(view, 24, { compressedSize: 9, uncompressedSize: 0x1000 });
    encodeBatchContext(view, 64, { compressedSize: 0x12345, uncompressedSize: 0x1800000 });
    const head = { ...header, contextOffset: 24, contextSize: 80, contextCount: 2, count: 2 };
    const room = { chunkCount: 1, compressedSize: 2 ** 40, uncompressedSize: 2 ** 40 };
    return decodeChunkInfo(info, head, { ...room, features: V2 | features });
  };

  it('keeps the largest sizes and offsets, and the CRC', () => {
    const table = decode(ChunkInfoFlag.hasCrc32c | ChunkInfoFlag.compressed, 0, 0xffffff, 0xdeadbeef, 0);
    expect(table.uncompressedOffset(0)).toBe(0xf_1234_5000);
    expect(table.uncompressedSize(0)).toBe(0x100_0000);
    expect(table.compressedOffset(0)).toBe(0xf1_2345_6789);
    expect(table.compressedSize(0)).toBe(0xffffff);
    expect([table.flags(0), table.crc32c(0)]).toEqual([0x11, 0xdeadbeef]);
  });

  it('of a batch names its context and its place there', () => {
    const table = decode(ChunkInfoFlag.batch | ChunkInfoFlag.compressed, BlobFeature.batch, 0, 0x800000, 1);
    expect([table.context(0), table.contextPosition(0)]).toEqual([1, 0x800000]);
    expect([table.batchCompressedSize(1), table.batchUncompressedSize(1)]).toEqual([0x12345, 0x1800000]);
  });
});
