import { fstatSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { addon } from '../../support/addon.ts';
import { eventfd, eventfdRead } from '../../support/descriptors.ts';
import { Nacked } from '../../support/frontend.ts';
import {
  connectLikeCloudHypervisor,
  connectLikeCrosvm,
  connectLikeQemu72,
  connectLikeQemuNewer,
  restartLikeQemu,
  stopLikeQemu,
} from '../../support/sequences.ts';
import { Bench, echoes, resources, waitFor } from './harness.ts';

let bench: Bench;
beforeEach(() => {
  bench = new Bench();
});
afterEach(async () => {
  await bench.close();
});

describe('a front-end reaches a serving device', () => {
  it.each([
    ['QEMU 7.2', connectLikeQemu72],
    ['QEMU 8.2 and newer', connectLikeQemuNewer],
    ['cloud-hypervisor', connectLikeCloudHypervisor],
  ])('in the order of %s', async (_, sequence) => {
    const guest = bench.guest();
    await sequence(bench.connect(), guest);
    for (const ring of guest.rings) expect(await echoes(ring)).toBe(true);
    expect(bench.warnings()).toEqual([]);
  });

  it('in the order of crosvm, which reads the configuration space', async () => {
    await bench.close();
    bench = new Bench({ tag: 'nydus' });
    const guest = bench.guest();
    const space = Buffer.from(await connectLikeCrosvm(bench.connect(), guest));
    expect(space.toString('latin1', 0, 5)).toBe('nydus');
    expect(space.readUInt32LE(36)).toBe(bench.queues - 1);
    for (const ring of guest.rings) expect(await echoes(ring)).toBe(true);
    expect(bench.warnings()).toEqual([]);
  });

  it('that sends no protocol feature bit: rings start without being enabled', async () => {
    const guest = bench.guest(1);
    const ring = guest.rings[0]!;
    const frontend = bench.connect();
    await frontend.setOwner();
    await frontend.setFeatures(1n << 32n);
    ring.useFeatures(1n << 32n);
    const fds = guest.memory.regions.map(() => guest.memory.fd);
    await frontend.setMemTable(guest.memory.regions, fds);
    await frontend.setVringNum(0, ring.num);
    await frontend.setVringAddr(ring.addresses);
    await frontend.setVringBase(0, 0);
    await frontend.setVringCall(0, ring.callFd);
    await frontend.setVringKick(0, ring.kickFd);
    expect(await echoes(ring)).toBe(true);
  });

  it('with requests in the ring before it is enabled and kicks long gone', async () => {
    const guest = bench.guest(1);
    const ring = guest.rings[0]!;
    const answer = echoes(ring);
    eventfdRead(ring.kickFd);
    await connectLikeQemu72(bench.connect(), guest);
    expect(await answer).toBe(true);
  });
});

describe('a serving device', () => {
  it('stops for GET_VRING_BASE, says where it stands, and goes on from there', async () => {
    const guest = bench.guest();
    const frontend = bench.connect();
    await connectLikeQemu72(frontend, guest);
    const ring = guest.rings[1]!;
    for (let i = 0; i < 5; i++) await echoes(ring);
    expect(await stopLikeQemu(frontend, guest, bench.queues)).toEqual([0, 5]);
    expect(bench.host.attachedCount).toBe(0);
    const parked = echoes(ring);
    ring.base = 5;
    await restartLikeQemu(frontend, guest, bench.queues);
    expect(await parked).toBe(true);
    expect(bench.host.calls).not.toContain('session');
  });

  it('survives a guest reboot: empty rings, base 0, memory not sent again', async () => {
    const guest = bench.guest();
    const frontend = bench.connect();
    await connectLikeQemu72(frontend, guest);
    for (const ring of guest.rings) await echoes(ring);
    await stopLikeQemu(frontend, guest, bench.queues);
    for (const ring of guest.rings) ring.reset();
    await restartLikeQemu(frontend, guest, bench.queues);
    for (const ring of guest.rings) expect(await echoes(ring)).toBe(true);
  });

  it('forgets the session but not the memory for RESET_DEVICE', async () => {
    const guest = bench.guest();
    const frontend = bench.connect();
    await connectLikeQemuNewer(frontend, guest);
    await stopLikeQemu(frontend, guest, bench.queues);
    bench.host.calls.length = 0;
    await frontend.resetDevice();
    await frontend.getFeatures();
    expect(bench.host.calls).toEqual(['session']);
    for (const ring of guest.rings) ring.reset();
    await restartLikeQemu(frontend, guest, bench.queues);
    for (const ring of guest.rings) expect(await echoes(ring)).toBe(true);
  });

  it('does not touch a ring that is set up but not enabled, or disabled again', async () => {
    const guest = bench.guest();
    const frontend = bench.connect();
    await connectLikeQemu72(frontend, guest);
    const ring = guest.rings[1]!;
    expect(await echoes(ring)).toBe(true);
    await frontend.setVringEnable(1, false);
    await frontend.setVringKick(1, ring.kickFd);
    await frontend.getFeatures();
    const parked = echoes(ring);
    await sleep(20);
    expect(ring.inFlight).toBe(1);
    expect(await echoes(guest.rings[0]!)).toBe(true);
    await frontend.setVringEnable(1, true);
    expect(await parked).toBe(true);
  });

  it('takes ring addresses and a whole memory table while it runs', async () => {
    const guest = bench.guest();
    const frontend = bench.connect();
    await connectLikeQemu72(frontend, guest);
    const ring = guest.rings[1]!;
    expect(await echoes(ring)).toBe(true);
    await frontend.setVringAddr(ring.addresses);
    const fds = guest.memory.regions.map(() => guest.memory.fd);
    await frontend.setMemTable(guest.memory.regions, fds);
    await frontend.getFeatures();
    expect(bench.host.calls.at(-1)).toBe('memory');
    expect(await echoes(ring)).toBe(true);
    expect(bench.warnings()).toEqual([]);
  });

  it.each([
    20, 24,
  ] as const)('gives an in-flight region of the right size to a question of %i bytes', async (bytes) => {
    const frontend = bench.connect();
    const inflight = await frontend.getInflightFd(3, 128, bytes);
    expect(inflight).toMatchObject({ mmapSize: 3n * 2112n, mmapOffset: 0n, queueCount: 3, queueSize: 128 });
    expect(fstatSync(inflight.fd).size).toBe(3 * 2112);
    addon.closeFd(inflight.fd);
  });

  it('gives everything back when its front-end leaves', async () => {
    const guest = bench.guest();
    const round = async (): Promise<void> => {
      const frontend = bench.connect();
      guest.memory.isShared = false;
      for (const ring of guest.rings) ring.reset();
      await connectLikeCloudHypervisor(frontend, guest);
      for (const ring of guest.rings) expect(await echoes(ring)).toBe(true);
      frontend.close();
      await bench.idle();
    };
    await round();
    const before = resources();
    for (let i = 0; i < 3; i++) await round();
    expect(resources()).toEqual(before);
    expect(bench.host.attachedCount).toBe(0);
  });

  it('signals a call descriptor that replaces another', async () => {
    const guest = bench.guest();
    const frontend = bench.connect();
    await connectLikeQemu72(frontend, guest);
    const replacement = eventfd();
    await frontend.setVringCall(1, replacement);
    await frontend.getFeatures();
    expect(eventfdRead(replacement)).toBeGreaterThan(0);
    addon.closeFd(replacement);
  });

  it('acknowledges changed memory only when nobody uses the old', async () => {
    const guest = bench.guest();
    const frontend = bench.connect();
    await connectLikeQemu72(frontend, guest);
    let release = (): void => {};
    bench.host.memoryGate = new Promise((resolve) => {
      release = resolve;
    });
    const extra = { gpa: 1n << 32n, size: 1n << 20n, uva: 1n << 46n, mmapOffset: 0n };
    let acknowledged = false;
    const added = frontend.addMemReg(extra, guest.memory.fd).then(() => {
      acknowledged = true;
    });
    await waitFor(() => bench.host.calls.includes('memory'), 'the host to be asked');
    expect(acknowledged).toBe(false);
    release();
    await added;
    expect(await echoes(guest.rings[1]!)).toBe(true);
    await frontend.remMemReg(extra);
    expect(await echoes(guest.rings[1]!)).toBe(true);
  });

  it('acknowledges changed memory late rather than never', async () => {
    await bench.close();
    bench = new Bench({ memoryTimeoutMs: 20 });
    const guest = bench.guest();
    const frontend = bench.connect();
    await connectLikeQemu72(frontend, guest);
    bench.host.memoryGate = new Promise(() => {});
    await frontend.addMemReg(
      { gpa: 1n << 32n, size: 1n << 20n, uva: 1n << 46n, mmapOffset: 0n },
      guest.memory.fd,
    );
    expect(bench.warnings()[0]).toMatchObject({ request: 'ADD_MEM_REG' });
  });

  it('answers failure for memory that it does not have or cannot map, and serves on', async () => {
    const guest = bench.guest();
    const frontend = bench.connect();
    await connectLikeQemu72(frontend, guest);
    const region = { gpa: 1n << 32n, size: 1n << 20n, uva: 1n << 46n, mmapOffset: 0n };
    await expect(frontend.remMemReg(region)).rejects.toThrow(Nacked);
    await expect(frontend.addMemReg({ ...region, gpa: 0n }, guest.memory.fd)).rejects.toThrow(Nacked);
    await expect(frontend.addMemReg({ ...region, size: 1n << 30n }, guest.memory.fd)).rejects.toThrow(Nacked);
    expect(await echoes(guest.rings[1]!)).toBe(true);
  });

  it('answers failure when a ring cannot be attached', async () => {
    bench.host.refuseAttach = -14;
    await expect(connectLikeQemuNewer(bench.connect(), bench.guest())).rejects.toThrow(Nacked);
    expect(bench.warnings()[0]).toMatchObject({ request: 'SET_VRING_ENABLE', field: 'ring 0' });
  });

  it('ends a connection whose ring broke, and serves the next', async () => {
    const guest = bench.guest();
    const frontend = bench.connect();
    await connectLikeQemu72(frontend, guest);
    bench.listener.session!.fail('ring 1 broke');
    await frontend.waitClosed();
    await bench.idle();
    expect(bench.warnings()).toEqual([
      { level: 'warn', message: 'connection closed', reason: 'ring 1 broke' },
    ]);
    const next = bench.guest();
    await connectLikeQemu72(bench.connect(), next);
    expect(await echoes(next.rings[1]!)).toBe(true);
  });
});
