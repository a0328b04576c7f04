/** Valid FUSE requests of every operation, and wrong ones made of them. */
import { Opcode } from '../../src/wire/fuse.ts';
import { fuseRequest } from '../support/fake-channel.ts';
import type { Node } from './image.ts';
import { INTERESTING, mutateBytes, oneIn, pick, type Random } from './random.ts';

const OPCODES = Object.values(Opcode);

function words(...values: (number | bigint)[]): Buffer {
  const bytes = Buffer.alloc(values.reduce<number>((n, v) => n + (typeof v === 'bigint' ? 8 : 4), 0));
  let at = 0;
  for (const value of values) {
    if (typeof value === 'bigint') at = bytes.writeBigUInt64LE(BigInt.asUintN(64, value), at);
    else at = bytes.writeUInt32LE(value >>> 0, at);
  }
  return bytes;
}

function nameOf(random: Random, node: Node): Buffer {
  const known = node.names.length > 0 && !oneIn(random, 4);
  const name = known
    ? pick(random, node.names)
    : Buffer.from(pick(random, ['a', '.', '..', 'x'.repeat(255)]));
  return Buffer.concat([name, Buffer.alloc(1)]);
}

function sizeOf(random: Random): number {
  return pick(random, [0, 24, 128, 512, 4096, 4096, 65536, 131072, 1 << 20]);
}

function offsetOf(random: Random, node: Node): bigint {
  const near = [0, 4096, node.size - 1, node.size, node.size + 1, random(Math.max(1, node.size))];
  return BigInt(Math.max(0, pick(random, near)));
}

function bodyOf(random: Random, opcode: number, node: Node): Buffer {
  switch (opcode) {
    case Opcode.LOOKUP:
      return nameOf(random, node);
    case Opcode.FORGET:
      return words(BigInt(random(3)));
    case Opcode.BATCH_FORGET: {
      const count = random(4);
      const items = Array.from({ length: count }, () => words(BigInt(node.lo), 1n));
      return Buffer.concat([words(count, 0), ...items]);
    }
    case Opcode.READ:
    case Opcode.READDIR:
    case Opcode.READDIRPLUS: {
      const offset = opcode === Opcode.READ ? offsetOf(random, node) : BigInt(random(node.names.length + 3));
      return words(0n, offset, sizeOf(random), 0, 0n, 0, 0);
    }
    case Opcode.GETXATTR:
      return Buffer.concat([
        words(sizeOf(random), 0),
        Buffer.from(pick(random, ['user.a\0', 'security.capability\0', 'trusted.overlay.opaque\0'])),
      ]);
    case Opcode.LISTXATTR:
      return words(sizeOf(random), 0);
    case Opcode.LSEEK:
      return words(0n, offsetOf(random, node), 3 + random(2), 0);
    case Opcode.INIT:
      return Buffer.concat([
        words(7, pick(random, [4, 12, 22, 31, 38, 45]), 131072, 0x7bfffffb, 0xb),
        Buffer.alloc(44),
      ]);
    case Opcode.RELEASE:
    case Opcode.RELEASEDIR:
      return words(0n, 0, 0, 0n);
    default:
      return words(...Array.from({ length: random(12) }, () => pick(random, INTERESTING)));
  }
}

/** A request that a sound client could send. */
export function validRequest(random: Random, nodes: readonly Node[]): Buffer {
  const node = pick(random, nodes);
  // READ and the directories are where the work is.
  const opcode = oneIn(random, 3)
    ? pick(random, OPCODES)
    : pick(random, [Opcode.READ, Opcode.READDIRPLUS, Opcode.READDIR, Opcode.LOOKUP, Opcode.GETATTR]);
  return fuseRequest(
    { opcode, hi: node.hi, lo: node.lo, unique: BigInt(random(1 << 30)) },
    bodyOf(random, opcode, node),
  );
}

/** The same, broken: fields changed, cut short, or followed by what does not belong there. */
export function brokenRequest(random: Random, nodes: readonly Node[]): Buffer {
  const request = validRequest(random, nodes);
  const kind = random(8);
  if (kind === 0) return request.subarray(0, random(request.length + 1));
  if (kind === 1) return Buffer.concat([request, Buffer.alloc(random(5000), 0x41)]);
  if (kind === 2) request.writeUInt32LE(pick(random, INTERESTING), 0);
  else if (kind === 3) request.writeUInt32LE(pick(random, INTERESTING), 4);
  else if (kind === 4) mutateBytes(random, request, 16, 3);
  else if (kind === 5) mutateBytes(random, request, 40, 3);
  else mutateBytes(random, request, 0, 6);
  return request;
}
