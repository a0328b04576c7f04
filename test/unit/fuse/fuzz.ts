import { FuseServer } from '../../../src/fuse/server.ts';
import { Vfs } from '../../../src/vfs/vfs.ts';
import { FakeChannel, fuseRequest } from '../../support/fake-channel.ts';
import { MemoryFs, type MemoryNode } from '../../support/memory-fs.ts';

/**
 * Requests that were answered without an error (or rightly not at all), and those that were refused; how many of both
 * waited.
 */
export interface FuseFuzzResult {
  accepted: number;
  refused: number;
  waited: number;
}

const SLOTS = 16;
const SERIALS = [1, 2, 3];
const IMAGE_ROOT = 36;
const LATE = 43;
const HEADER_BYTES = 40;
const EIO = -5;
const EINVAL = -22;
const LISTINGS = [28, 44];
/** Bytes of arguments of a request that has them all. */
const ARGS: Readonly<Record<number, number>> = {
  2: 8,
  14: 8,
  15: 40,
  18: 24,
  22: 8,
  23: 8,
  26: 64,
  27: 8,
  28: 40,
  29: 24,
  42: 40,
  44: 40,
  46: 24,
};
const NAMED = [1, 22];
/** The nodes of an image, as distances from its root. */
const NODES = [0, 0, 4, 4, 5, 6, 7, 7, 8];
/** Opcodes that read, those that may wait most often; the others come by chance. */
const READING = [
  1, 1, 2, 3, 5, 14, 15, 15, 15, 15, 15, 17, 18, 22, 23, 26, 27, 28, 28, 29, 38, 42, 44, 44, 46,
];
const NAMES = [
  'a',
  'b',
  'c',
  '.',
  '..',
  'file',
  'sub',
  'link',
  'user.x',
  '',
  'n'.repeat(255),
  'n'.repeat(300),
];
const NUMBERS = [0, 1, 2, 3, 15, 16, 24, 127, 255, 256, 4095, 4096, 0x7fffffff, 0x80000000, 0xffffffff];
const ROOMS = [0, 15, 16, 17, 24, 120, 144, 400, 4096, 70_000];

type Random = (limit: number) => number;

/** xorshift32: numbers in [0, limit). */
function generator(seed: number): Random {
  let state = seed * 2654435761 || 1;
  return (limit) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % limit;
  };
}

function image(serial: number): MemoryFs {
  const nodes: Record<number, MemoryNode> = {
    [IMAGE_ROOT]: {
      entries: { file: 40, sub: 41, link: 42, late: LATE },
      xattrs: { 'user.x': Buffer.from('value') },
    },
    40: {
      extents: [
        { fd: 10, offset: 0, length: 6000 },
        { bytes: new Uint8Array(100) },
        { fd: 10, offset: 50, length: 10 },
      ],
    },
    41: {
      entries: Object.fromEntries(
        Array.from({ length: 60 }, (_, i) => [`name ${i}`.repeat(1 + (i % 20)), 40]),
      ),
    },
    42: { target: 'x'.repeat(4000) },
    [LATE]: { extents: [{ fd: 10, offset: 0, length: 100 }], missing: true },
  };
  return new MemoryFs(nodes, serial, IMAGE_ROOT);
}

/** A request that is valid but for what chance does to it. */
function request(random: Random): Buffer {
  const opcode =
    random(8) === 0 ? random(2) * random(2 ** 31) + random(70) : READING[random(READING.length)]!;
  const args = Buffer.alloc(ARGS[opcode] ?? 16);
  for (let at = 0; at + 4 <= args.length; at += 4)
    if (random(3) === 0) args.writeUInt32LE(NUMBERS[random(NUMBERS.length)]!, at);
  // Sizes of READ and of listings that make sense, so that most get somewhere.
  if (args.length === 40 && random(3) > 0) args.fill(0, 0, 16).writeUInt32LE(random(8192), 16);
  const named = NAMED.includes(opcode)
    ? Buffer.from(`${NAMES[random(NAMES.length)]}${random(8) ? '\0' : ''}`)
    : Buffer.alloc(0);
  const isPseudo = random(4) === 0;
  const header = {
    opcode,
    hi: isPseudo ? 0 : SERIALS[random(SERIALS.length)]!,
    lo: isPseudo ? 1 + random(4) : random(6) === 0 ? random(50) : IMAGE_ROOT + NODES[random(NODES.length)]!,
    unique: BigInt(random(2 ** 32)) << 31n,
  };
  const bytes = fuseRequest(header, opcode === 1 ? named : Buffer.concat([args, named]));
  if (random(10) === 0) bytes.writeUInt32LE(NUMBERS[random(NUMBERS.length)]!, 0);
  if (random(20) === 0) bytes[random(bytes.length)]! ^= 1 << random(8);
  return random(12) === 0 ? bytes.subarray(0, random(bytes.length + 1)) : bytes;
}

/** One server over a tree whose mounts come and go, and everything that is going on in it. */
class Scene {
  readonly result: FuseFuzzResult = { accepted: 0, refused: 0, waited: 0 };
  readonly #random: Random;
  readonly #vfs = new Vfs();
  readonly #images = new Map<number, MemoryFs>();
  /** All images that were mounted: requests may wait for one that is not there any more. */
  readonly #all = new Set<MemoryFs>();
  readonly #server: FuseServer;
  readonly #waiting = new Map<number, Buffer>();
  #channel: FakeChannel = this.#connect();

  constructor(random: Random) {
    this.#random = random;
    this.#server = new FuseServer(this.#vfs);
  }

  #connect(): FakeChannel {
    const channel = new FakeChannel(SLOTS);
    channel.files.set(10, new Uint8Array(6000).fill(1));
    channel.cached.set(10, 60);
    return channel;
  }

  step(): void {
    const what = this.#random(20);
    if (what === 0) this.#remount();
    else if (what === 1) this.#reconnect();
    else if (what < 5) this.#resume();
    else this.#ask();
    if (this.#server.internalErrors > 0) throw new Error('a handler threw');
  }

  #remount(): void {
    const serial = SERIALS[this.#random(SERIALS.length)]!;
    const gone = this.#images.get(serial);
    if (gone === undefined) {
      const fs = image(serial);
      this.#images.set(serial, fs);
      this.#all.add(fs);
      this.#vfs.mount(['/', '/a', '/a/b', '/c'][this.#random(4)]!, fs, serial);
      return;
    }
    this.#vfs.unmount(serial);
    if (this.#random(2) === 0) return;
    this.#vfs.forgetMount(serial);
    this.#images.delete(serial);
  }

  #reconnect(): void {
    if (this.#random(10) !== 0) return;
    const old = this.#channel;
    this.#server.abandon(old);
    old.detach();
    this.#server.resetSession();
    for (const read of old.pool) read.run();
    if (this.#server.inflight().length > 0) throw new Error('requests of a connection that went are listed');
    this.#waiting.clear();
    this.#channel = this.#connect();
  }

  #resume(): void {
    const random = this.#random;
    for (const read of this.#channel.pool.splice(0)) read.run(random(5) === 0 ? -random(3) : undefined);
    for (const fs of this.#all)
      for (const resume of fs.waiting.splice(0)) {
        fs.nodes[LATE]!.missing = random(2) === 0;
        const kind = random(4);
        if (kind === 0) resume(-5);
        else if (kind === 1) resume(0, new Uint8Array(random(8192)));
        else resume(0);
      }
    for (const slot of this.#waiting.keys()) this.#settle(slot);
  }

  #ask(): void {
    const slot = this.#random(SLOTS);
    if (this.#waiting.has(slot)) return;
    const bytes = request(this.#random);
    this.#waiting.set(slot, bytes);
    this.#channel.submit(slot, bytes, ROOMS[this.#random(ROOMS.length)]!);
    this.#server.serve(this.#channel, slot);
    if (this.#channel.reply(slot) === undefined) this.result.waited++;
    this.#settle(slot);
  }

  /** Looks at a slot's answer, if it has come. The channel has checked its length and that all of it was written. */
  #settle(slot: number): void {
    const reply = this.#channel.reply(slot);
    if (reply === undefined) return;
    const bytes = this.#waiting.get(slot)!;
    this.#waiting.delete(slot);
    if (reply === null) {
      if (bytes.length < HEADER_BYTES) this.result.refused++;
      else this.result.accepted++;
      return;
    }
    if (reply.unique !== bytes.readBigUInt64LE(8))
      throw new Error('an answer with the unique of another request');
    if (reply.error > 0 || reply.error < -4095) throw new Error(`error ${reply.error} is no errno`);
    if (reply.error !== 0 && reply.total !== 16) throw new Error('an error with a body');
    this.#judge(bytes, reply.error);
    if (reply.error === 0) this.result.accepted++;
    else this.result.refused++;
  }

  /** What an answer must be, or cannot be, whatever the state of the tree. */
  #judge(bytes: Buffer, error: number): void {
    const length = bytes.readUInt32LE(0);
    const lies = length < HEADER_BYTES || length > bytes.length;
    if (lies && error !== EINVAL) throw new Error(`a request with a false length was answered ${error}`);
    if (LISTINGS.includes(bytes.readUInt32LE(4)) && error === EIO)
      throw new Error('a listing larger than its room');
  }

  /** Every request that was taken is answered once everything that it waited for is there. */
  finish(): void {
    for (const serial of this.#images.keys()) this.#vfs.unmount(serial);
    for (const fs of this.#all) fs.nodes[LATE]!.missing = false;
    for (let round = 0; round < 100 && this.#waiting.size > 0; round++) {
      for (const read of this.#channel.pool.splice(0)) read.run();
      for (const fs of this.#all) for (const resume of fs.waiting.splice(0)) resume(0);
      for (const slot of this.#waiting.keys()) this.#settle(slot);
    }
    const left = this.#server.inflight().length;
    if (this.#waiting.size > 0 || left > 0)
      throw new Error(`${this.#waiting.size} requests never answered, ${left} listed`);
  }
}

/**
 * Random requests, valid and damaged, while mounts come and go, data comes late and connections end. Throws if a
 * handler throws, a reply is malformed, goes to the wrong request, or never comes. The same seed gives the same run.
 */
export function fuzzFuse(seed: number, iterations: number): FuseFuzzResult {
  const scene = new Scene(generator(seed));
  let i = 0;
  try {
    for (; i < iterations; i++) scene.step();
    scene.finish();
  } catch (error) {
    throw new Error(`seed ${seed}, iteration ${i}: ${(error as Error).message}`, { cause: error });
  }
  return scene.result;
}
