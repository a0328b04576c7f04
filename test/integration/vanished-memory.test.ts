import { ftruncateSync } from 'node:fs';
import { expect, it } from 'vitest';
import { addon } from '../support/addon.ts';
import { Driver, DriverRing, GuestMemory } from '../support/driver.ts';
import { Frontend } from '../support/frontend.ts';
import { FuseClient } from '../support/fuse-client.ts';
import { Nydusd } from '../support/nydusd.ts';
import { connectLikeQemu72 } from '../support/sequences.ts';

async function connect(sock: string) {
  const memory = new GuestMemory(addon);
  const rings = [0, 1].map((index) => new DriverRing(addon, memory, index));
  const frontend = Frontend.connect(addon, sock);
  await connectLikeQemu72(frontend, { memory, rings });
  const client = new FuseClient(new Driver(rings));
  await client.init();
  return { memory, rings, frontend, client };
}

it('guest memory that a front-end truncates ends its connection, not the daemon: the next front-end is served', async () => {
  await using daemon = new Nydusd();
  await daemon.ready();
  const hostile = await connect(daemon.sock);
  expect((await hostile.client.readWholeDirectory(1n)).length).toBe(2);
  ftruncateSync(hostile.memory.fd, 0);
  hostile.rings[1]!.kick();
  await hostile.frontend.waitClosed();
  hostile.frontend.close();
  const next = await connect(daemon.sock);
  expect((await next.client.readWholeDirectory(1n)).length).toBe(2);
  next.frontend.close();
  for (const ring of next.rings) ring.close();
  next.memory.close();
  expect(daemon.child.exitCode).toBe(null);
  expect(daemon.stderr).toContain('guest memory or ring is broken');
});
