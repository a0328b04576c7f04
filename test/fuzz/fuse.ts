/** FUSE requests to the server over a channel that checks every reply. */
import { FuseServer } from '../../src/fuse/server.ts';
import type { Addon } from '../../src/native/addon.ts';
import { FakeChannel } from '../support/fake-channel.ts';
import { FuzzTree } from './image.ts';
import { oneIn, pick, type Random } from './random.ts';
import { brokenRequest, validRequest } from './requests.ts';
import type { Counts, Target } from './runner.ts';

const SLOTS = 16;
const REQUESTS = 40;
const ROOM = [0, 15, 16, 17, 40, 120, 144, 272, 4112, 65552, 131088, (1 << 20) + 16];

/** A channel whose files are all zeros, of any length; some reads must go through the pool, some fail. */
class ZeroChannel extends FakeChannel {
  readonly #zeros = new Uint8Array(1 << 20);
  random: Random = () => 1;

  override readFile(slot: number, skip: number, _fd: number, fileOffset: number, length: number): number {
    this.#check(fileOffset, length);
    if (oneIn(this.random, 5)) return oneIn(this.random, 4) ? -5 : -11;
    return this.writeBytes(
      slot,
      skip,
      this.#zeros,
      0,
      oneIn(this.random, 8) ? 1 + this.random(length) : length,
    );
  }

  override readFileBlocking(
    slot: number,
    skip: number,
    fd: number,
    fileOffset: number,
    length: number,
    done: (result: number) => void,
  ): void {
    this.#check(fileOffset, length);
    const run = (result?: number): void => {
      if (!this.dead) done(result ?? this.writeBytes(slot, skip, this.#zeros, 0, length));
    };
    this.pool.push({ slot, skip, fd, fileOffset, length, run });
  }

  #check(fileOffset: number, length: number): void {
    const isSane = Number.isSafeInteger(fileOffset) && fileOffset >= 0 && length > 0 && length <= 1 << 20;
    if (!isSane) throw new Error(`read of ${length} bytes at ${fileOffset}`);
  }
}

class FuseTarget implements Target {
  readonly #tree: FuzzTree;
  #defect: unknown = null;

  constructor(addon: Addon) {
    this.#tree = new FuzzTree(addon);
  }

  async iterate(random: Random, counts: Counts): Promise<void> {
    const channel = new ZeroChannel(SLOTS);
    channel.random = random;
    const server = new FuseServer(this.#tree.vfs, {
      noOpen: oneIn(random, 2),
      onInternalError: (error) => {
        this.#defect ??= error;
      },
    });
    const free = Array.from({ length: SLOTS }, (_, slot) => slot);
    const waiting = new Set<number>();
    for (let n = 0; n < REQUESTS; n++) {
      if (free.length === 0 || oneIn(random, 4)) await this.#settle(channel, random);
      for (const slot of waiting) {
        if (channel.reply(slot) === undefined) continue;
        waiting.delete(slot);
        free.push(slot);
      }
      const slot = free.pop();
      if (slot === undefined) continue;
      const { nodes } = this.#tree;
      const request = oneIn(random, 3) ? validRequest(random, nodes) : brokenRequest(random, nodes);
      channel.submit(slot, request, pick(random, ROOM));
      server.serve(channel, slot);
      waiting.add(slot);
      count(counts, channel, slot);
      if (oneIn(random, 60)) server.session.reset();
    }
    if (oneIn(random, 4)) {
      server.parked.abandon(channel);
      channel.detach();
    }
    for (let i = 0; i < 200 && server.parked.size > 0; i++) await this.#settle(channel, random);
    if (server.parked.size > 0) throw new Error('a request waits for nothing');
    await this.#settle(channel, random);
    this.#tree.owed.length = 0;
    if (this.#defect !== null) throw this.#defect;
  }

  /** Runs what the pool and the fetcher owe. */
  async #settle(channel: ZeroChannel, random: Random): Promise<void> {
    for (const read of channel.pool.splice(0))
      read.run(oneIn(random, 10) ? pick(random, [-5, 0, -14]) : undefined);
    for (const { done, set } of this.#tree.owed.splice(0)) {
      const fails = oneIn(random, 6);
      if (!fails && oneIn(random, 2)) set();
      done(fails ? -5 : 0, null);
    }
    await null;
  }

  close(): void {
    this.#tree.close();
  }
}

function count(counts: Counts, channel: FakeChannel, slot: number): void {
  const reply = channel.reply(slot);
  if (reply === undefined) counts.parked = (counts.parked ?? 0) + 1;
  else if (reply === null || reply.error < 0) counts.refused++;
  else counts.accepted++;
}

export function fuseTarget(addon: Addon): Target {
  return new FuseTarget(addon);
}
