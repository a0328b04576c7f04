import { closeSync, openSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  encodeConfig,
  encodeInflight,
  encodeMessage,
  encodeU64,
  encodeVringState,
  Flag,
  ProtocolFeature,
  type RequestKey,
  requests,
} from '../../../src/wire/vhost-user.ts';
import { ConnectionClosed, type Frontend } from '../../support/frontend.ts';
import { connectLikeQemu72 } from '../../support/sequences.ts';
import {
  encodeMemoryTable,
  encodeSingleRegion,
  encodeVringAddr,
  encodeVringFd,
} from '../../support/vhost-messages.ts';
import { Bench, echoes, resources } from './harness.ts';

let bench: Bench;
beforeEach(() => {
  bench = new Bench();
});
afterEach(async () => {
  await bench.close();
});

const INDEXES = [0, 255, 0xffffffff];
const FD_COUNTS = [0, 1, 9, 33];
const UNKNOWN_CODES = [0, 19, 20, 23, 26, 27, 28, 29, 30, 33, 41, 44, 45, 255, 0xffffffff];

const region = { gpa: 0n, size: 4096n, uva: 0x1000n, mmapOffset: 0n };

/** A payload that is right but for its index. */
function payloadOf(key: RequestKey, index: number): Uint8Array {
  switch (key) {
    case 'setMemTable':
      return encodeMemoryTable([region]);
    case 'addMemReg':
    case 'remMemReg':
      return encodeSingleRegion(region);
    case 'setVringAddr':
      return encodeVringAddr({ index, flags: 0, desc: 0x1000n, used: 0x3000n, avail: 0x2000n, log: 0n });
    case 'setVringKick':
    case 'setVringCall':
    case 'setVringErr':
      return index > 255 ? encodeU64(BigInt(index)) : encodeVringFd(index, true);
    case 'setVringNum':
    case 'setVringBase':
    case 'getVringBase':
    case 'setVringEnable':
    case 'vringKick':
      return encodeVringState({ index, num: 1 });
    case 'getConfig':
    case 'setConfig':
      return encodeConfig({ offset: index, flags: 0, bytes: new Uint8Array(4) });
    case 'getInflightFd':
    case 'setInflightFd':
      return encodeInflight(
        { mmapSize: 4096n, mmapOffset: 0n, queueCount: index === 0 ? 1 : index & 0xffff, queueSize: 4 },
        24,
      );
    default:
      return new Uint8Array(requests[key].minBytes).fill(index & 0xff);
  }
}

function resized(payload: Uint8Array, size: number): Uint8Array {
  const bytes = new Uint8Array(Math.max(0, size));
  bytes.set(payload.subarray(0, bytes.length));
  return bytes;
}

/** Sends one message on a fresh connection, then waits for its fate: closed, or still in order. */
async function strike(
  code: number,
  payload: Uint8Array,
  fds: readonly number[],
  flags: number,
): Promise<void> {
  const frontend: Frontend = bench.connect();
  try {
    await frontend.getFeatures();
    if ((flags & Flag.needReply) !== 0) await frontend.setProtocolFeatures(ProtocolFeature.replyAck);
    await frontend.sendRaw(encodeMessage(code, flags, payload), fds);
    await frontend.sendRaw(encodeMessage(requests.getFeatures.code, 0, new Uint8Array(0)));
    for (let reply = await frontend.receive(); ; reply = await frontend.receive()) {
      for (const fd of reply.fds) frontend.addon.closeFd(fd);
      if (reply.request === requests.getFeatures.code) break;
    }
  } catch (error) {
    if (!(error instanceof ConnectionClosed)) throw error;
  } finally {
    frontend.close();
  }
  await bench.idle();
}

async function strikeWithAll(code: number, payload: Uint8Array, size: number, file: number): Promise<void> {
  const bytes = resized(payload, size);
  for (const count of FD_COUNTS) {
    for (const flags of [0, Flag.needReply]) await strike(code, bytes, Array(count).fill(file), flags);
  }
}

async function expectService(): Promise<void> {
  const guest = bench.guest();
  const frontend = bench.connect();
  await connectLikeQemu72(frontend, guest);
  for (const ring of guest.rings) expect(await echoes(ring)).toBe(true);
}

describe('malformed messages neither harm the process nor cost descriptors or mappings', () => {
  it.each(Object.keys(requests) as RequestKey[])('%s', async (key) => {
    const file = openSync('/dev/null', 'r');
    await strike(1, new Uint8Array(0), [], 0);
    const before = resources();
    for (const index of INDEXES) {
      const payload = payloadOf(key, index);
      const sizes = [payload.length - 1, 0, payload.length, payload.length + 1, 4097];
      for (const size of index === 0 ? sizes : [payload.length]) {
        await strikeWithAll(requests[key].code, payload, size, file);
      }
    }
    expect(resources()).toEqual(before);
    closeSync(file);
    await expectService();
  });

  it('unknown requests', async () => {
    const file = openSync('/dev/null', 'r');
    await strike(1, new Uint8Array(0), [], 0);
    const before = resources();
    for (const code of UNKNOWN_CODES) {
      for (const size of [0, 8, 4096, 4097]) await strikeWithAll(code, new Uint8Array(0), size, file);
    }
    expect(resources()).toEqual(before);
    closeSync(file);
    await expectService();
  });

  it('messages that end early', async () => {
    await strike(1, new Uint8Array(0), [], 0);
    const before = resources();
    const whole = encodeMessage(requests.addMemReg.code, 0, encodeSingleRegion(region));
    const file = openSync('/dev/null', 'r');
    for (const length of [1, 11, 12, 13, whole.length - 1]) {
      const frontend = bench.connect();
      await frontend.getFeatures();
      await frontend.sendRaw(whole.subarray(0, length), [file]);
      frontend.close();
      await bench.idle();
    }
    closeSync(file);
    expect(resources()).toEqual(before);
    await expectService();
  });
});

describe('a broken rule ends the connection with one line', () => {
  const cases: [string, RequestKey, Uint8Array, number, object][] = [
    [
      'features never offered',
      'setFeatures',
      encodeU64(1n << 34n),
      0,
      { request: 'SET_FEATURES', field: 'features' },
    ],
    [
      'protocol features never offered',
      'setProtocolFeatures',
      encodeU64(ProtocolFeature.config),
      0,
      { request: 'SET_PROTOCOL_FEATURES', field: 'features' },
    ],
    [
      'a ring size of 3',
      'setVringNum',
      encodeVringState({ index: 0, num: 3 }),
      0,
      { request: 'SET_VRING_NUM', field: 'num' },
    ],
    [
      'a base of 65536',
      'setVringBase',
      encodeVringState({ index: 0, num: 65536 }),
      0,
      { request: 'SET_VRING_BASE' },
    ],
    [
      'a queue that is not there',
      'getVringBase',
      encodeVringState({ index: 3, num: 0 }),
      0,
      { field: 'index' },
    ],
    [
      'ENABLE 2',
      'setVringEnable',
      encodeVringState({ index: 0, num: 2 }),
      0,
      { request: 'SET_VRING_ENABLE' },
    ],
    [
      'a misaligned descriptor table',
      'setVringAddr',
      encodeVringAddr({ index: 0, flags: 0, desc: 8n, used: 0n, avail: 0n, log: 0n }),
      0,
      { request: 'SET_VRING_ADDR', field: 'descriptor', rule: 'must be a multiple of 16, is 0x8' },
    ],
    [
      'polling mode',
      'setVringKick',
      encodeVringFd(0, false),
      0,
      { request: 'SET_VRING_KICK', rule: /polling mode/ },
    ],
    [
      'a surplus descriptor',
      'setFeatures',
      encodeU64(0n),
      1,
      { field: 'descriptors', rule: 'must be 0, are 1' },
    ],
  ];
  it.each(cases)('%s', async (_, key, payload, fdCount, line) => {
    const file = openSync('/dev/null', 'r');
    await strike(requests[key].code, payload, Array(fdCount).fill(file), 0);
    closeSync(file);
    const wanted = Object.fromEntries(
      Object.entries(line).map(([k, v]) => [k, v instanceof RegExp ? expect.stringMatching(v) : v]),
    );
    expect(bench.warnings()).toEqual([
      expect.objectContaining({ level: 'warn', message: 'connection closed: bad message', ...wanted }),
    ]);
  });
});
