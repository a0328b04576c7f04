/**
 * Plays a virtual machine monitor on a vhost-user socket, after what QEMU, cloud-hypervisor and crosvm were seen to
 * send.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Addon } from '../../src/native/addon.ts';
import {
  decodeConfig,
  decodeHeader,
  decodeInflight,
  decodeU64,
  decodeVringState,
  encodeConfig,
  encodeInflight,
  encodeMessage,
  encodeU64,
  encodeVringState,
  Flag,
  HEADER_BYTES,
  type Inflight,
  type MemoryRegion,
  ProtocolFeature,
  type RequestKey,
  requests,
  type VringAddr,
} from '../../src/wire/vhost-user.ts';
import { encodeMemoryTable, encodeSingleRegion, encodeVringAddr, encodeVringFd } from './vhost-messages.ts';

/** A reply as it came. */
export interface ReplyMessage {
  readonly request: number;
  readonly flags: number;
  readonly payload: Uint8Array;
  readonly fds: number[];
}

/** The back-end closed the connection. */
export class ConnectionClosed extends Error {}

/** The back-end answered an acknowledged request with something else than 0. */
export class Nacked extends Error {}

const EAGAIN = -11;

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Resolves when `fd` is readable or its peer is gone. */
export function readable(addon: Addon, fd: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const handle = addon.pollStart(fd, 1, () => {
      addon.pollStop(handle);
      resolve();
    });
    if (handle < 0) reject(new Error(`pollStart: errno ${-handle}`));
  });
}

export interface SendOptions {
  readonly fds?: readonly number[];
  readonly needReply?: boolean;
}

/** One connection to a back-end; a method per message. `protocolFeatures` holds what was negotiated. */
export class Frontend {
  readonly addon: Addon;
  readonly fd: number;
  protocolFeatures = 0n;
  /** Ask for an acknowledgement of every message that can have one. */
  needReplyAlways = false;
  #closed = false;

  constructor(addon: Addon, fd: number) {
    this.addon = addon;
    this.fd = fd;
  }

  static connect(addon: Addon, path: string): Frontend {
    const fd = addon.connectUnix(path);
    if (fd < 0) throw new Error(`connect ${path}: errno ${-fd}`);
    return new Frontend(addon, fd);
  }

  /** Any bytes with any descriptors, right or wrong. Throws ConnectionClosed when the peer is gone. */
  async sendRaw(bytes: Uint8Array, fds: readonly number[] = []): Promise<void> {
    let sent = 0;
    while (sent < bytes.length) {
      const rest = bytes.subarray(sent);
      const attached = fds.length > 0 && sent === 0 ? Int32Array.from(fds) : null;
      const result = this.addon.sendMsg(this.fd, rest, rest.length, attached);
      if (result === EAGAIN) await sleep(1);
      else if (result < 0) throw new ConnectionClosed(`send: errno ${-result}`);
      else sent += result;
    }
  }

  /** A reply; throws ConnectionClosed at the end of the stream. */
  async receive(): Promise<ReplyMessage> {
    const fds: number[] = [];
    const header = decodeHeader(view(await this.#read(HEADER_BYTES, fds)));
    const payload = await this.#read(header.size, fds);
    return { request: header.request, flags: header.flags, payload, fds };
  }

  async #read(length: number, fds: number[]): Promise<Uint8Array> {
    const bytes = new Uint8Array(length);
    const received = new Int32Array(33);
    for (let have = 0; have < length; ) {
      await readable(this.addon, this.fd);
      received[0] = 0;
      const got = this.addon.recvMsg(this.fd, bytes, have, length - have, received);
      fds.push(...received.subarray(1, 1 + received[0]!));
      if (got === EAGAIN) continue;
      if (got <= 0) throw new ConnectionClosed(`receive: ${got}`);
      have += got;
    }
    return bytes;
  }

  /** Resolves once the back-end has closed the connection; replies on the way are dropped. */
  async waitClosed(): Promise<void> {
    try {
      for (;;) {
        const { fds } = await this.receive();
        for (const fd of fds) this.addon.closeFd(fd);
      }
    } catch (error) {
      if (!(error instanceof ConnectionClosed)) throw error;
    }
  }

  close(): void {
    if (!this.#closed) this.addon.closeFd(this.fd);
    this.#closed = true;
  }

  /** A request with its own reply. */
  async ask(
    key: RequestKey,
    payload: Uint8Array = new Uint8Array(0),
    options: SendOptions = {},
  ): Promise<ReplyMessage> {
    const { code, name } = requests[key];
    await this.sendRaw(encodeMessage(code, this.#flags(options), payload), options.fds);
    const reply = await this.receive();
    if (reply.request !== code || reply.flags !== (Flag.reply | Flag.version)) {
      throw new Error(`${name} answered by request ${reply.request}, flags ${reply.flags}`);
    }
    return reply;
  }

  /** A request without one; waits for the acknowledgement when asked for, and throws Nacked when it is not 0. */
  async tell(
    key: RequestKey,
    payload: Uint8Array = new Uint8Array(0),
    options: SendOptions = {},
  ): Promise<void> {
    const flags = this.#flags(options);
    const acked = (this.protocolFeatures & ProtocolFeature.replyAck) !== 0n && (flags & Flag.needReply) !== 0;
    if (acked) {
      const result = decodeU64(view((await this.ask(key, payload, options)).payload));
      if (result !== 0n) throw new Nacked(`${requests[key].name}: ${result}`);
    } else {
      await this.sendRaw(encodeMessage(requests[key].code, flags, payload), options.fds);
    }
  }

  #flags({ needReply = this.needReplyAlways }: SendOptions): number {
    return needReply ? Flag.needReply : 0;
  }

  async #askU64(key: RequestKey): Promise<bigint> {
    return decodeU64(view((await this.ask(key)).payload));
  }

  getFeatures(): Promise<bigint> {
    return this.#askU64('getFeatures');
  }
  setFeatures(features: bigint): Promise<void> {
    return this.tell('setFeatures', encodeU64(features));
  }
  setOwner(): Promise<void> {
    return this.tell('setOwner');
  }
  resetOwner(): Promise<void> {
    return this.tell('resetOwner');
  }
  resetDevice(): Promise<void> {
    return this.tell('resetDevice');
  }
  getProtocolFeatures(): Promise<bigint> {
    return this.#askU64('getProtocolFeatures');
  }
  /** The message that negotiates acknowledgements is itself acknowledged, by front-ends which ask for one. */
  async setProtocolFeatures(features: bigint): Promise<void> {
    this.protocolFeatures = features;
    await this.tell('setProtocolFeatures', encodeU64(features));
  }
  async getQueueNum(): Promise<number> {
    return Number(await this.#askU64('getQueueNum'));
  }
  async getMaxMemSlots(): Promise<number> {
    return Number(await this.#askU64('getMaxMemSlots'));
  }
  setMemTable(regions: readonly MemoryRegion[], fds: readonly number[]): Promise<void> {
    return this.tell('setMemTable', encodeMemoryTable(regions), { fds });
  }
  addMemReg(region: MemoryRegion, fd: number): Promise<void> {
    return this.tell('addMemReg', encodeSingleRegion(region), { fds: [fd], needReply: true });
  }
  remMemReg(region: MemoryRegion): Promise<void> {
    return this.tell('remMemReg', encodeSingleRegion(region), { needReply: true });
  }
  setVringNum(index: number, num: number): Promise<void> {
    return this.tell('setVringNum', encodeVringState({ index, num }));
  }
  setVringAddr(addr: VringAddr): Promise<void> {
    return this.tell('setVringAddr', encodeVringAddr(addr));
  }
  setVringBase(index: number, num: number): Promise<void> {
    return this.tell('setVringBase', encodeVringState({ index, num }));
  }
  async getVringBase(index: number): Promise<number> {
    const { payload } = await this.ask('getVringBase', encodeVringState({ index, num: 0 }));
    return decodeVringState(view(payload)).num;
  }
  setVringKick(index: number, fd: number): Promise<void> {
    return this.#vringFd('setVringKick', index, fd);
  }
  setVringCall(index: number, fd: number): Promise<void> {
    return this.#vringFd('setVringCall', index, fd);
  }
  setVringErr(index: number, fd: number): Promise<void> {
    return this.#vringFd('setVringErr', index, fd);
  }
  #vringFd(key: RequestKey, index: number, fd: number): Promise<void> {
    return this.tell(key, encodeVringFd(index, fd >= 0), { fds: fd >= 0 ? [fd] : [] });
  }
  setVringEnable(index: number, enabled: boolean, needReply: boolean = this.needReplyAlways): Promise<void> {
    return this.tell('setVringEnable', encodeVringState({ index, num: enabled ? 1 : 0 }), { needReply });
  }
  /** The bytes of a window of the configuration space; none when the back-end has no such space. */
  async getConfig(offset: number, length: number): Promise<Uint8Array> {
    const { payload } = await this.ask(
      'getConfig',
      encodeConfig({ offset, flags: 0, bytes: new Uint8Array(length) }),
    );
    return payload.length === 0 ? payload : decodeConfig('GET_CONFIG', view(payload)).bytes;
  }
  /** The in-flight region and its descriptor, which the caller owns. */
  async getInflightFd(
    queueCount: number,
    queueSize: number,
    bytes: 20 | 24 = 24,
  ): Promise<Inflight & { fd: number }> {
    const question = encodeInflight({ mmapSize: 0n, mmapOffset: 0n, queueCount, queueSize }, bytes);
    const { payload, fds } = await this.ask('getInflightFd', question);
    if (payload.length !== bytes || fds.length !== 1)
      throw new Error('GET_INFLIGHT_FD: wrong size or descriptors');
    return { ...decodeInflight('GET_INFLIGHT_FD', view(payload)), fd: fds[0]! };
  }
  setInflightFd(inflight: Inflight, fd: number): Promise<void> {
    return this.tell('setInflightFd', encodeInflight(inflight, 24), { fds: [fd] });
  }
}
