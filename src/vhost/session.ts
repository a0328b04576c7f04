import { setImmediate as nextTurn } from 'node:timers/promises';
import {
  checkFdCount,
  encodeMessage,
  encodeU64,
  Flag,
  ProtocolError,
  ProtocolFeature,
  type RequestKey,
  type RequestRow,
  requestByCode,
  requests,
} from '../wire/vhost-user.ts';
import { encodeFsConfig } from '../wire/virtio.ts';
import { Device, RefusedError } from './device.ts';
import { type Context, handlers, type Reply } from './handlers.ts';
import type { DeviceOptions } from './host.ts';
import { type Message, MessageReader, REPLY_FLAGS, sendReply } from './message.ts';

const READABLE = 1;
const DISCONNECT = 4;
/** Messages handled before other events of this thread get their turn. */
const MESSAGES_PER_TURN = 64;

/**
 * One connection of a front-end. Messages are handled strictly one after the other: the next is not read before the
 * rings and memory that the present one changes are where they shall be. A broken rule ends the connection with one log
 * line.
 */
export class Session {
  /** Resolves when rings are stopped, memory is given back and the socket is closed. */
  readonly ended: Promise<void>;
  readonly #options: DeviceOptions;
  readonly #socket: number;
  readonly #reader: MessageReader;
  readonly #context: Context;
  #resolveEnded!: () => void;
  #poll = -1;
  #busy = false;
  #closing = false;

  /** Takes the connected `socket`. Throws RefusedError, the socket closed, when no device can be made. */
  constructor(socket: number, options: DeviceOptions) {
    this.#options = options;
    this.#socket = socket;
    this.ended = new Promise((resolve) => {
      this.#resolveEnded = resolve;
    });
    const { addon, log, queues, tag } = options;
    this.#reader = new MessageReader(addon, socket);
    try {
      const config = tag === undefined ? null : encodeFsConfig(tag, queues - 1);
      this.#context = { addon, log, queues, config, device: new Device(options), protocolFeatures: 0n };
    } catch (error) {
      addon.closeFd(socket);
      throw error;
    }
    this.#listen();
  }

  /** The addon's number of the device. */
  get device(): number {
    return this.#context.device.id;
  }

  /** Ends the connection because of something that is not a message, e.g. a ring that broke. */
  fail(reason: string): void {
    if (this.#closing) return;
    this.#options.log.warn({ reason }, 'connection closed');
    void this.close();
  }

  /**
   * Ends the connection; resolves like `ended`. A message in progress is finished first, without waiting for requests
   * of the guest.
   */
  close(): Promise<void> {
    if (!this.#closing) {
      this.#closing = true;
      this.#stopListening();
      if (this.#busy) this.#context.device.hurry();
      else void this.#finish();
    }
    return this.ended;
  }

  /** Reads what has arrived, an end of the connection included. False when the connection is ending. */
  async isAlive(): Promise<boolean> {
    if (!this.#busy && !this.#closing) await this.#run();
    return !this.#closing;
  }

  #listen(): void {
    this.#poll = this.#options.addon.pollStart(this.#socket, READABLE, () => {
      if (!this.#busy) void this.#run();
    });
    if (this.#poll < 0) this.fail(`polling the socket failed with errno ${-this.#poll}`);
  }

  /** While a message is handled only the peer's end matters: then no ring waits any more to be answered. */
  #listenForEnd(): void {
    this.#poll = this.#options.addon.pollStart(this.#socket, DISCONNECT, () => {
      this.#stopListening();
      this.#context.device.hurry();
    });
  }

  #stopListening(): void {
    if (this.#poll >= 0) this.#options.addon.pollStop(this.#poll);
    this.#poll = -1;
  }

  /** Handles messages until none is left. The socket is not polled meanwhile: readiness is a level. */
  async #run(): Promise<void> {
    this.#busy = true;
    this.#stopListening();
    this.#listenForEnd();
    try {
      let open = true;
      for (let count = 1; open && !this.#closing; count++) {
        const message = this.#reader.next();
        if (message === 'wait') break;
        if (message === 'end') {
          open = false;
          this.#options.log.info({}, 'front-end disconnected');
        } else {
          await this.#handle(message);
        }
        if (count % MESSAGES_PER_TURN === 0) await nextTurn();
      }
      if (!open) this.#closing = true;
    } catch (error) {
      this.#report(error);
      this.#closing = true;
    }
    this.#busy = false;
    this.#stopListening();
    if (this.#closing) await this.#finish();
    else this.#listen();
  }

  #report(error: unknown): void {
    if (error instanceof ProtocolError) {
      const { request, field, rule } = error;
      this.#options.log.warn({ request, field, rule }, 'connection closed: bad message');
    } else {
      const stack = error instanceof Error ? error.stack : String(error);
      this.#options.log.error({ error: stack }, 'connection closed: internal error');
    }
  }

  async #handle(message: Message): Promise<void> {
    const { header, fds } = message;
    const key = requestByCode(header.request);
    try {
      if (key === undefined || handlers[key] === undefined) this.#refuseUnknown(message, key);
      else await this.#serve(message, key);
    } finally {
      fds.close();
    }
  }

  #wantsAck(message: Message): boolean {
    const negotiated = (this.#context.protocolFeatures & ProtocolFeature.replyAck) !== 0n;
    return negotiated && (message.header.flags & Flag.needReply) !== 0;
  }

  /**
   * A request of a feature that is not offered: answered where an answer is due, otherwise we no longer understand each
   * other.
   */
  #refuseUnknown(message: Message, key: RequestKey | undefined): void {
    const { request } = message.header;
    const name = key === undefined ? `request ${request}` : requests[key].name;
    const hasOwnReply = key !== undefined && requests[key].reply !== 'ack';
    if (hasOwnReply || !this.#wantsAck(message)) {
      throw new ProtocolError(name, 'request', 'belongs to no offered feature');
    }
    this.#options.log.warn({ request: name }, 'request of a feature that is not offered');
    this.#send(request, { payload: encodeU64(1n) });
  }

  async #serve(message: Message, key: RequestKey): Promise<void> {
    const row = requests[key];
    const { payload, fds, header } = message;
    checkFdCount(row, fds.count);
    const request = { name: row.name, payload, fds, wantsAck: this.#wantsAck(message) };
    let reply: Reply | undefined;
    try {
      reply = await handlers[key]!(this.#context, request);
    } catch (error) {
      reply = this.#refusal(error, row, message);
    }
    // SET_PROTOCOL_FEATURES itself is acknowledged by what it negotiates, so the question comes after the handler.
    if (reply === undefined && this.#wantsAck(message)) reply = { payload: encodeU64(0n) };
    if (reply !== undefined) this.#send(header.request, reply);
  }

  /** What the front-end is told when we cannot do what it rightly asked; rethrows what cannot be told. */
  #refusal(error: unknown, row: RequestRow, message: Message): Reply {
    if (!(error instanceof RefusedError) || row.reply !== 'ack' || !this.#wantsAck(message)) throw error;
    const { request, field, rule } = error;
    this.#options.log.warn({ request, field, rule }, 'request refused');
    return { payload: encodeU64(1n) };
  }

  #send(request: number, { payload, fd = -1 }: Reply): void {
    const { addon } = this.#options;
    const sent = sendReply(addon, this.#socket, encodeMessage(request, REPLY_FLAGS, payload), fd);
    if (fd >= 0) addon.closeFd(fd);
    if (!sent) throw new ProtocolError('connection', 'reply', 'the peer must take replies');
  }

  async #finish(): Promise<void> {
    this.#stopListening();
    this.#reader.close();
    await this.#context.device.destroy();
    this.#options.addon.closeFd(this.#socket);
    this.#resolveEnded();
  }
}
