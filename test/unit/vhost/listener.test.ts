import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { VhostUserListener } from '../../../src/vhost/listener.ts';
import { addon } from '../../support/addon.ts';
import { connectLikeQemu72 } from '../../support/sequences.ts';
import { Bench, echoes } from './harness.ts';

let bench: Bench;
let directory: string;
beforeEach(() => {
  bench = new Bench();
  directory = mkdtempSync(join(tmpdir(), 'listener-'));
});
afterEach(async () => {
  await bench.close();
  rmSync(directory, { recursive: true });
});

describe('the listening socket', () => {
  it('refuses a second front-end at once and keeps the first', async () => {
    const guest = bench.guest();
    await connectLikeQemu72(bench.connect(), guest);
    await bench.connect().waitClosed();
    expect(bench.warnings()).toHaveLength(1);
    expect(bench.warnings()[0]!.message).toMatch(/second front-end refused/);
    expect(await echoes(guest.rings[1]!)).toBe(true);
  });

  it('serves a front-end that comes in the moment the one before it leaves', async () => {
    for (let round = 0; round < 5; round++) {
      const guest = bench.guest();
      const frontend = bench.connect();
      await connectLikeQemu72(frontend, guest);
      expect(await echoes(guest.rings[1]!)).toBe(true);
      frontend.close();
    }
    expect(bench.warnings()).toEqual([]);
    expect(bench.host.calls.filter((call) => call === 'session')).toHaveLength(4);
  });

  it('replaces the file of a socket that nobody listens on', async () => {
    const path = join(directory, 'stale.sock');
    addon.closeFd(addon.listenUnix(path));
    expect(existsSync(path)).toBe(true);
    const listener = new VhostUserListener(path, bench.options);
    await listener.close();
    expect(existsSync(path)).toBe(false);
  });

  it('leaves a socket alone that somebody listens on', () => {
    expect(() => new VhostUserListener(bench.path, bench.options)).toThrow(/another process listens on/);
    expect(existsSync(bench.path)).toBe(true);
  });

  it('leaves a file alone that is no socket', () => {
    const path = join(directory, 'precious');
    writeFileSync(path, 'data');
    expect(() => new VhostUserListener(path, bench.options)).toThrow(/is not a socket/);
    expect(existsSync(path)).toBe(true);
  });

  it('says which path cannot be listened on', () => {
    const path = join(directory, 'x'.repeat(200));
    expect(() => new VhostUserListener(path, bench.options)).toThrow(/listening on .*xxx: ENAMETOOLONG/);
  });

  it.each([
    [{ queues: 1 }, /queues must be 2 to 256, is 1/],
    [{ queues: 257 }, /queues must be 2 to 256, is 257/],
    [{ tag: '' }, /tag must not be empty/],
  ])('refuses the options %o', (options, message) => {
    const path = join(directory, 'vhost.sock');
    expect(() => new VhostUserListener(path, { ...bench.options, ...options })).toThrow(message);
    expect(existsSync(path)).toBe(false);
  });

  it('ends the connection and removes its file when it closes', async () => {
    const frontend = bench.connect();
    await frontend.getFeatures();
    await bench.listener.close();
    await frontend.waitClosed();
    expect(existsSync(bench.path)).toBe(false);
  });

  it('leaves a file alone that took the place of its own', async () => {
    rmSync(bench.path);
    writeFileSync(bench.path, 'successor');
    await bench.listener.close();
    expect(existsSync(bench.path)).toBe(true);
  });
});
