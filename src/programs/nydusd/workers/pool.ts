/**
 * The queue workers as the control thread sees them: started when a queue is first served, told of every mount in
 * order, asked and answered by numbered messages.
 */
import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads';
import { Errno } from '../../../lib/errno.ts';
import type { Logger, QueueHost } from '../../../vhost/host.ts';
import type { FromWorker, MountSpec, ToWorker } from './messages.ts';

/** A request to a worker, before the pool numbers it. */
type Ask = ToWorker extends infer M ? (M extends { id: number } ? Omit<M, 'id'> : never) : never;
type Ack = Extract<FromWorker, { type: 'ack' }>;

interface WorkerPoolOptions {
  readonly log: Logger;
  readonly pollUs: number;
  /** Takes the end of a port over which a new worker sends its requests for chunks. */
  readonly connectStorage: (port: MessagePort) => void;
  /** Guest memory vanished or a ring broke: the connection must end. */
  readonly fault: (device: number, queue: number, errno: number) => void;
  /** A worker ended that nobody stopped: rings and memory are in an unknown state. */
  readonly died: (cause: unknown) => void;
}

const STOP_TIMEOUT_MS = 500;

class Member {
  readonly worker: Worker;
  readonly #asked: Map<number, (ack: Ack) => void> = new Map();
  #next = 1;

  constructor(worker: Worker) {
    this.worker = worker;
  }

  ask(message: Ask): Promise<Ack> {
    const id = this.#next++;
    return new Promise((resolve) => {
      this.#asked.set(id, resolve);
      this.worker.postMessage({ ...message, id });
    });
  }

  answered(ack: Ack): void {
    this.#asked.get(ack.id)?.(ack);
    this.#asked.delete(ack.id);
  }
}

/** One worker per served request queue; the hiprio queue (0) rides with the first request queue (1). */
export class WorkerPool implements QueueHost {
  readonly #options: WorkerPoolOptions;
  readonly #members: Map<number, Member> = new Map();
  /** Their number, which they see themselves. */
  readonly #running: Int32Array = new Int32Array(new SharedArrayBuffer(4));
  /** What a worker that starts later must learn first, in order. */
  readonly #specs: Map<number, MountSpec> = new Map();
  #stopping = false;

  constructor(options: WorkerPoolOptions) {
    this.#options = options;
  }

  async attach(device: number, queue: number): Promise<number> {
    if (this.#stopping) return -Errno.ENODEV;
    const { result } = await this.#memberOf(queue).ask({ type: 'attach', device, queue });
    return result;
  }

  async detach(device: number, queue: number, drain: boolean): Promise<number> {
    const member = this.#members.get(memberIndex(queue));
    if (member === undefined) return 0;
    return (await member.ask({ type: 'detach', device, queue, drain })).result;
  }

  async memoryChanged(device: number): Promise<void> {
    await this.#askAll({ type: 'memory', device });
  }

  async sessionReset(): Promise<void> {
    await this.#askAll({ type: 'session' });
  }

  /** Resolves when every worker serves the mount; the first `-errno` otherwise, and then nobody serves it. */
  async mount(spec: MountSpec): Promise<number> {
    this.#specs.set(spec.serial, spec);
    const acks = await this.#askAll({ type: 'mount', spec });
    const failed = acks.find((ack) => ack.result < 0);
    if (failed === undefined) return 0;
    await this.unmount(spec.serial);
    return failed.result;
  }

  /** Resolves when no worker uses the mount's files any more. */
  async unmount(serial: number): Promise<void> {
    this.#specs.delete(serial);
    await this.#askAll({ type: 'unmount', serial });
  }

  /** Each started worker's counters of a mount (null where it does not know the mount). */
  async metrics(serial: number, takeLatest: boolean): Promise<unknown[]> {
    return (await this.#askAll({ type: 'metrics', serial, takeLatest })).map((ack) => ack.value ?? null);
  }

  /** Each started worker's parked requests. */
  async inflight(): Promise<unknown[][]> {
    return (await this.#askAll({ type: 'inflight' })).map((ack) => (ack.value ?? []) as unknown[]);
  }

  /** Ends all workers; those that do not answer in time are terminated. */
  async stop(): Promise<void> {
    this.#stopping = true;
    const members = [...this.#members.values()];
    const asked = Promise.all(members.map((member) => member.ask({ type: 'stop' })));
    await Promise.race([asked, new Promise((resolve) => setTimeout(resolve, STOP_TIMEOUT_MS).unref())]);
    await Promise.all(members.map((member) => member.worker.terminate()));
    this.#members.clear();
  }

  #askAll(message: Ask): Promise<Ack[]> {
    if (this.#stopping) return Promise.resolve([]);
    return Promise.all([...this.#members.values()].map((member) => member.ask(message)));
  }

  #memberOf(queue: number): Member {
    const index = memberIndex(queue);
    const running = this.#members.get(index);
    if (running !== undefined) return running;
    const storage = new MessageChannel();
    this.#options.connectStorage(storage.port1);
    const worker = new Worker(new URL('./queue-worker.ts', import.meta.url), {
      name: `queue-${index + 1}`,
      workerData: { pollUs: this.#options.pollUs, shared: this.#running.buffer, storage: storage.port2 },
      transferList: [storage.port2],
    });
    const member = new Member(worker);
    this.#members.set(index, member);
    this.#running[0] = this.#members.size;
    worker.on('message', (message: FromWorker) => this.#take(member, message));
    worker.on('error', (error) => this.#options.died(error));
    worker.on('exit', (code) => {
      if (!this.#stopping) this.#options.died(new Error(`queue worker ${index} ended with ${code}`));
    });
    // Posted before anything else, so the worker knows the tree before it serves a ring.
    for (const spec of this.#specs.values()) {
      void member.ask({ type: 'mount', spec }).then((ack) => {
        if (ack.result < 0)
          this.#options.died(new Error(`a new worker cannot open ${spec.path}: ${ack.result}`));
      });
    }
    return member;
  }

  #take(member: Member, message: FromWorker): void {
    switch (message.type) {
      case 'ready':
        return;
      case 'ack':
        member.answered(message);
        return;
      case 'fault':
        this.#options.fault(message.device, message.queue, message.errno);
        return;
      case 'log':
        this.#options.log[message.level](message.fields, message.message);
        return;
      default:
        message satisfies never;
    }
  }
}

function memberIndex(queue: number): number {
  return Math.max(0, queue - 1);
}
