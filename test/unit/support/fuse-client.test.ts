import { describe, expect, it } from 'vitest';
import { FuseClient, FuseError, type RequestCarrier } from '../../support/fuse-client.ts';
import { compareTrees, walkTree } from '../../support/tree.ts';

/** Answers opcode by opcode; a reply's header is made here unless it is given whole. */
class Script implements RequestCarrier {
  readonly answers: Record<number, (nodeid: bigint, body: Buffer) => Uint8Array | number>;
  usedLenError = 0;
  uniqueError = 0n;

  constructor(answers: Record<number, (nodeid: bigint, body: Buffer) => Uint8Array | number>) {
    this.answers = answers;
  }

  async request(_queue: number, readable: Uint8Array, writableLength: number) {
    const request = Buffer.from(readable);
    const answer = this.answers[request.readUInt32LE(4)]!(request.readBigUInt64LE(16), request.subarray(40));
    const body = typeof answer === 'number' ? Buffer.alloc(0) : answer;
    const bytes = Buffer.alloc(writableLength);
    bytes.writeUInt32LE(16 + body.length, 0);
    bytes.writeInt32LE(typeof answer === 'number' ? answer : 0, 4);
    bytes.writeBigUInt64LE(request.readBigUInt64LE(8) + this.uniqueError, 8);
    bytes.set(body, 16);
    return { usedLen: 16 + body.length + this.usedLenError, bytes };
  }
}

function attr(ino: number, mode: number, size: number): Buffer {
  const bytes = Buffer.alloc(88);
  bytes.writeBigUInt64LE(BigInt(ino), 0);
  bytes.writeBigUInt64LE(BigInt(size), 8);
  bytes.writeBigUInt64LE(1700086401n, 32);
  bytes.writeUInt32LE(1234567, 52);
  bytes.writeUInt32LE(mode, 60);
  bytes.writeUInt32LE(1, 64);
  return bytes;
}

function direntplus(
  ino: number,
  offset: number,
  type: number,
  name: string,
  mode: number,
  size: number,
): Buffer {
  const bytes = Buffer.alloc((128 + 24 + name.length + 7) & ~7);
  bytes.writeBigUInt64LE(BigInt(ino), 0);
  attr(ino, mode, size).copy(bytes, 40);
  bytes.writeBigUInt64LE(BigInt(ino), 128);
  bytes.writeBigUInt64LE(BigInt(offset), 136);
  bytes.writeUInt32LE(name.length, 144);
  bytes.writeUInt32LE(type, 148);
  bytes.write(name, 152, 'latin1');
  return bytes;
}

/** A root with the file `a\` of five bytes. */
function smallTree(): Script {
  return new Script({
    3: () => Buffer.concat([Buffer.alloc(16), attr(1, 0o040755, 3)]),
    23: () => -61,
    27: () => -38,
    29: () => -38,
    44: (_, body) =>
      body.readBigUInt64LE(8) === 0n ? direntplus(2, 1, 8, 'a\\', 0o100644, 5) : Buffer.alloc(0),
    15: (_, body) => Buffer.from('hello').subarray(Number(body.readBigUInt64LE(8))),
  });
}

const MANIFEST = [
  '/\tdir\t0755\t0\t0\t1\t3\t1700086401.001234567\t0:0\t-\t-\t-',
  '/a\\x5c\tfile\t0644\t0\t0\t1\t5\t1700086401.001234567\t0:0\t-\t-\t2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824',
];

describe('the FUSE client', () => {
  it('throws what the server answers', async () => {
    await expect(new FuseClient(new Script({ 3: () => -5 })).getattr(1n)).rejects.toThrow(FuseError);
  });

  it('insists on an exact used.len', async () => {
    const script = smallTree();
    script.usedLenError = -1;
    await expect(new FuseClient(script).getattr(1n)).rejects.toThrow(/out_header.len 120, used.len 119/);
  });

  it('insists on the unique of its request', async () => {
    const script = smallTree();
    script.uniqueError = 1n;
    await expect(new FuseClient(script).getattr(1n)).rejects.toThrow(/unique/);
  });
});

describe('the tree walk', () => {
  it('describes what it meets as manifests do', async () => {
    expect(await walkTree(new FuseClient(smallTree()))).toEqual(MANIFEST);
  });

  it('names every difference', async () => {
    const actual = await walkTree(new FuseClient(smallTree()));
    expect(compareTrees(MANIFEST, actual)).toEqual([]);
    const other = MANIFEST[1]!.replace('0644', '0600');
    expect(compareTrees([MANIFEST[0]!, other], actual)).toEqual(['/a\\x5c: mode is 0644, expected 0600']);
    expect(compareTrees([MANIFEST[0]!], actual)).toEqual(['/a\\x5c: not expected']);
    expect(compareTrees(MANIFEST, actual.slice(1))).toEqual(['/: missing']);
  });
});
