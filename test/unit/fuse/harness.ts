import { FuseServer, type FuseServerOptions } from '../../../src/fuse/server.ts';
import { FakeChannel, type FakeReply, fuseRequest, type RequestHeader } from '../../support/fake-channel.ts';
import { MemoryFs, type MemoryNode } from '../../support/memory-fs.ts';

export const ROOT = 1;
export const FILE = 2;
export const LINK = 3;
export const DIR = 4;
export const SPLIT = 5;
export const MISSING = 6;
export const BROKEN = 7;
export const HELLO: Buffer = Buffer.from('hello, guest');
/** Descriptor of HELLO, and of a file of counting bytes. */
export const HELLO_FD = 10;
export const COUNT_FD = 11;

export function nodes(): Record<number, MemoryNode> {
  return {
    [ROOT]: {
      entries: { file: FILE, link: LINK, dir: DIR, split: SPLIT, missing: MISSING, broken: BROKEN },
      xattrs: { 'user.color': Buffer.from('blue'), 'user.empty': Buffer.alloc(0) },
    },
    [FILE]: { extents: [{ fd: HELLO_FD, offset: 0, length: HELLO.length }] },
    [LINK]: { target: '../target/of/the/link' },
    [DIR]: { entries: {} },
    [SPLIT]: {
      extents: [
        { fd: COUNT_FD, offset: 0, length: 100 },
        { fd: COUNT_FD, offset: 100, length: 100 },
        { bytes: new Uint8Array(50) },
        { fd: HELLO_FD, offset: 7, length: 5 },
      ],
    },
    [MISSING]: { extents: [{ fd: HELLO_FD, offset: 0, length: HELLO.length }], missing: true },
    [BROKEN]: { broken: true },
  };
}

export interface Harness {
  readonly fs: MemoryFs;
  readonly channel: FakeChannel;
  readonly server: FuseServer;
  /** Serves a request in slot 0 with room for a reply of `writable` bytes. */
  ask(header: RequestHeader, body?: Uint8Array, writable?: number): FakeReply | null | undefined;
}

export function harness(options: FuseServerOptions = {}): Harness {
  const fs = new MemoryFs(nodes());
  const channel = new FakeChannel();
  channel.files.set(HELLO_FD, HELLO);
  channel.files.set(
    COUNT_FD,
    Uint8Array.from({ length: 4096 }, (_, i) => i & 255),
  );
  const server = new FuseServer(fs, options);
  return {
    fs,
    channel,
    server,
    ask(header, body, writable = 4096) {
      channel.submit(0, fuseRequest(header, body), writable);
      server.serve(channel, 0);
      return channel.reply(0);
    },
  };
}

/** Little-endian bytes from numbers (u32) and bigints (u64). */
export function words(...values: (number | bigint)[]): Buffer {
  const parts = values.map((value) => {
    const bytes = Buffer.alloc(typeof value === 'bigint' ? 8 : 4);
    if (typeof value === 'bigint') bytes.writeBigUInt64LE(value);
    else bytes.writeUInt32LE(value);
    return bytes;
  });
  return Buffer.concat(parts);
}

/** struct fuse_read_in. */
export function readIn(offset: bigint, size: number): Buffer {
  return words(0n, offset, size, 0, 0n, 0, 0);
}

export function name(text: string): Buffer {
  return Buffer.from(`${text}\0`, 'latin1');
}
