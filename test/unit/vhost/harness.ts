import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { DeviceOptions, Logger } from '../../../src/vhost/host.ts';
import { VhostUserListener } from '../../../src/vhost/listener.ts';
import { addon } from '../../support/addon.ts';
import { DriverRing, GuestMemory } from '../../support/driver.ts';
import { Frontend } from '../../support/frontend.ts';
import type { Guest } from '../../support/sequences.ts';
import { EchoHost } from './echo-host.ts';

/** A log line as the product wrote it. */
export interface Line {
  readonly level: string;
  readonly message: string;
  readonly [field: string]: unknown;
}

/** A listening device with an echo behind it, and everything to be given back after a test. */
export class Bench {
  readonly lines: Line[] = [];
  readonly host: EchoHost = new EchoHost(addon);
  readonly path: string;
  readonly queues: number;
  readonly options: DeviceOptions;
  readonly #directory: string;
  readonly #cleanups: (() => void | Promise<void>)[] = [];
  listener: VhostUserListener;

  constructor(options: Partial<DeviceOptions> = {}) {
    this.#directory = mkdtempSync(join(tmpdir(), 'vhost-'));
    this.path = join(this.#directory, 'vhost.sock');
    this.queues = options.queues ?? 3;
    const write = (level: string) => (fields: Record<string, unknown>, message: string) => {
      this.lines.push({ ...fields, level, message });
    };
    const log: Logger = {
      debug: write('debug'),
      info: write('info'),
      warn: write('warn'),
      error: write('error'),
    };
    this.options = { addon, host: this.host, log, queues: this.queues, ...options };
    this.listener = new VhostUserListener(this.path, this.options);
  }

  connect(): Frontend {
    const frontend = Frontend.connect(addon, this.path);
    this.#cleanups.push(() => frontend.close());
    return frontend;
  }

  /** A guest whose driver uses the first `ringCount` queues. */
  guest(ringCount = 2, num = 64): Guest {
    const memory = new GuestMemory(addon, 4 << 20);
    const rings = Array.from({ length: ringCount }, (_, i) => new DriverRing(addon, memory, i, num));
    this.#cleanups.push(() => {
      for (const ring of rings) ring.close();
      memory.close();
    });
    return { memory, rings };
  }

  /** Waits until no front-end is connected. */
  async idle(): Promise<void> {
    await waitFor(() => this.listener.session === null, 'the connection to end');
  }

  warnings(): Line[] {
    return this.lines.filter(({ level }) => level === 'warn' || level === 'error');
  }

  async close(): Promise<void> {
    for (const cleanup of this.#cleanups.reverse()) await cleanup();
    await this.listener.close();
    rmSync(this.#directory, { recursive: true });
  }
}

export async function waitFor(condition: () => boolean, what: string, timeoutMs = 5000): Promise<void> {
  const end = Date.now() + timeoutMs;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`timed out waiting for ${what}`);
    await sleep(1);
  }
}

/** Open descriptors and shared mappings of this process: what a hostile front-end would like us to lose. */
export function resources(): { fds: number; mappings: number } {
  const mappings = readFileSync('/proc/self/maps', 'latin1')
    .split('\n')
    .filter((line) => line.includes('/memfd:')).length;
  return { fds: readdirSync('/proc/self/fd').length, mappings };
}

/** Sends one echo request through a ring and says whether it came back right. */
export async function echoes(ring: DriverRing): Promise<boolean> {
  const sent = Uint8Array.from({ length: 100 }, (_, i) => (i * 7 + ring.index) & 0xff);
  const { usedLen, bytes } = await ring.request(sent, 120);
  return usedLen === 100 && Buffer.compare(bytes.subarray(0, 100), sent) === 0;
}
