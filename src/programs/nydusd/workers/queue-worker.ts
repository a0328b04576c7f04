/** A queue worker: serves the rings given to it with one FUSE server over the tree of all mounts. */
import { availableParallelism } from 'node:os';
import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { FuseServer } from '../../../fuse/server.ts';
import { Errno, errnoName } from '../../../lib/errno.ts';
import { addon } from '../../../native/index.ts';
import { RingChannel } from '../../../transport/ring-channel.ts';
import { RingServer } from '../../../transport/virtio.ts';
import { Vfs } from '../../../vfs/vfs.ts';
import { WorkerFetcher } from './fetcher.ts';
import type { FromWorker, MountSpec, ToWorker } from './messages.ts';
import { WorkerMounts } from './mounts.ts';
import { snapshotOf } from './snapshot.ts';

/** How often is looked whether requests still use what is to go. */
const POLL_MS = 1;
/**
 * How long a ring that the front-end stops waits for data which its requests need. The front-end waits with it, and a
 * VM with its front-end; nothing is won by less, since what follows is an I/O error in the guest.
 */
const DRAIN_MS = 10_000;

const port = parentPort!;
const post = (message: FromWorker) => port.postMessage(message);
const { pollUs, shared, storage } = workerData as {
  pollUs: number;
  shared: SharedArrayBuffer;
  storage: MessagePort;
};
/** Queue workers that run. */
const running = new Int32Array(shared);
const cpus = availableParallelism();

const vfs = new Vfs();
const fetcher = new WorkerFetcher(storage);
const mounts = new WorkerMounts(addon, fetcher, post);
const rings = new Map<string, { channel: RingChannel; ringServer: RingServer }>();
const server = new FuseServer(vfs, {
  onInternalError: (error, operation) => {
    const cause = error instanceof Error ? error.stack : String(error);
    post({ type: 'log', level: 'error', fields: { operation, cause }, message: 'defect: answered EIO' });
  },
});

function mount(spec: MountSpec): number {
  try {
    const { fileSystem } = mounts.add(spec);
    const { account } = spec;
    vfs.mount(spec.path, fileSystem, spec.serial);
    server.counters.rootSerial = vfs.rootSerial;
    server.counters.add(spec.serial, account.files || account.pattern || account.latest);
    return 0;
  } catch (error) {
    mounts.remove(spec.serial);
    post({
      type: 'log',
      level: 'error',
      fields: { mount: spec.path, cause: String(error) },
      message: 'mount failed in a queue worker',
    });
    return -Errno.EIO;
  }
}

/** Resolves when no parked request uses the mount's files any more: they are closed after the acknowledgement. */
async function unmount(serial: number): Promise<number> {
  vfs.unmount(serial);
  server.counters.rootSerial = vfs.rootSerial;
  while (server.parked.hasSerial(serial)) {
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  vfs.forgetMount(serial);
  server.counters.remove(serial);
  mounts.remove(serial);
  return 0;
}

function attach(device: number, queue: number): number {
  // The first kick may come as soon as the ring is attached, never before this function returns.
  const onKick = () => ringServer.drain();
  const channel = RingChannel.attach(addon, device, queue, onKick);
  if (typeof channel === 'number') return channel;
  const ringServer = new RingServer(channel, server, {
    pollNs: pollUs * 1000,
    isCrowded: () => running[0]! >= cpus,
    onFault: (errno) => post({ type: 'fault', device, queue, errno }),
  });
  rings.set(`${device}:${queue}`, { channel, ringServer });
  // Requests may be there already: the driver does not kick again for them.
  setImmediate(() => ringServer.drain());
  return 0;
}

async function detach(device: number, queue: number, drain: boolean): Promise<number> {
  const key = `${device}:${queue}`;
  const ring = rings.get(key);
  if (ring === undefined) return 0;
  const { failed, stuck } = await ring.ringServer.quiesce(drain ? DRAIN_MS : 0);
  // A second call may have ended the wait of the first and done the rest.
  if (rings.get(key) !== ring) return 0;
  rings.delete(key);
  if (failed + stuck > 0) {
    const fields = { device, queue, failed, stuck };
    post({ type: 'log', level: 'warn', fields, message: 'ring stopped before its requests had their data' });
  }
  return ring.channel.detach();
}

async function memoryFresh(device: number): Promise<number> {
  while (addon.memoryStale(device) > 0) {
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  return 0;
}

function resetSession(): number {
  server.session.reset();
  return 0;
}

async function stop(): Promise<number> {
  const all = [...rings.values()];
  await Promise.all(all.map(({ ringServer }) => ringServer.quiesce(0)));
  for (const { channel } of all) channel.detach();
  rings.clear();
  return 0;
}

const ack = (id: number, result: number, value?: unknown) => post({ type: 'ack', id, result, value });

/** Handles one message; the result is acknowledged where the message has an id. */
async function handle(message: ToWorker): Promise<void> {
  switch (message.type) {
    case 'mount':
      ack(message.id, mount(message.spec));
      break;
    case 'unmount':
      ack(message.id, await unmount(message.serial));
      break;
    case 'attach':
      ack(message.id, attach(message.device, message.queue));
      break;
    case 'detach':
      ack(message.id, await detach(message.device, message.queue, message.drain));
      break;
    case 'memory':
      ack(message.id, await memoryFresh(message.device));
      break;
    case 'session':
      ack(message.id, resetSession());
      break;
    case 'metrics':
      ack(message.id, 0, snapshotOf(server.counters, message.serial, message.takeLatest));
      break;
    case 'inflight':
      ack(message.id, 0, server.parked.inflight());
      break;
    case 'stop':
      ack(message.id, await stop());
      break;
    default:
      message satisfies never;
  }
}

process.on('uncaughtExceptionMonitor', (error) => {
  const code = (error as NodeJS.ErrnoException).errno;
  const cause = typeof code === 'number' && code < 0 ? errnoName(code) : error.stack;
  post({ type: 'log', level: 'error', fields: { cause }, message: 'defect in a queue worker' });
});
port.on('message', (message: ToWorker) => void handle(message));
post({ type: 'ready' });
