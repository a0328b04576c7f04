import type { Addon } from '../native/addon.ts';
import {
  checkHeader,
  decodeHeader,
  FDS_MAX,
  Flag,
  HEADER_BYTES,
  type Header,
  PAYLOAD_BYTES_MAX,
  ProtocolError,
} from '../wire/vhost-user.ts';

/** Descriptors that came with a message. Whoever keeps one takes it; the rest is closed, whatever happens. */
export class MessageFds {
  readonly #addon: Addon;
  readonly #fds: number[] = [];

  constructor(addon: Addon) {
    this.#addon = addon;
  }

  get count(): number {
    return this.#fds.length;
  }

  /** Descriptors in the order of arrival, still owned by the message. */
  get all(): Int32Array {
    return Int32Array.from(this.#fds);
  }

  /** Adds the `received[0]` descriptors that `recvMsg` reports. */
  receive(received: Int32Array): void {
    for (let i = 1; i <= received[0]!; i++) this.#fds.push(received[i]!);
    received[0] = 0;
  }

  /** The descriptor, still owned by the message; -1 when there is none. */
  at(index: number): number {
    return this.#fds[index] ?? -1;
  }

  /** Someone else owns the descriptor from now on. */
  take(index: number): void {
    if (index < this.#fds.length) this.#fds[index] = -1;
  }

  /** Closes what nobody took. */
  close(): void {
    for (const fd of this.#fds) if (fd >= 0) this.#addon.closeFd(fd);
    this.#fds.length = 0;
  }
}

/** One message: its header, its payload (valid until the next is read) and its descriptors. */
export interface Message {
  readonly header: Header;
  readonly payload: DataView;
  readonly fds: MessageFds;
}

const EAGAIN = -11;

/**
 * Reads messages from a socket that does not block. Never reads past a message: the kernel would join the descriptors
 * of the next one to this one.
 */
export class MessageReader {
  readonly #addon: Addon;
  readonly #fd: number;
  readonly #head = new Uint8Array(HEADER_BYTES);
  readonly #body = new Uint8Array(PAYLOAD_BYTES_MAX);
  readonly #received = new Int32Array(1 + FDS_MAX);
  #fds: MessageFds;
  #header: Header | null = null;
  /** Bytes of the present part, header or payload, that are here. */
  #have = 0;

  constructor(addon: Addon, fd: number) {
    this.#addon = addon;
    this.#fd = fd;
    this.#fds = new MessageFds(addon);
  }

  /**
   * The next message, 'wait' when it is not all here, 'end' when the peer closed between two messages. Throws
   * ProtocolError for a header or descriptors that no message may have, and for an end or error in the middle.
   */
  next(): Message | 'wait' | 'end' {
    if (this.#header === null) {
      const state = this.#fill(this.#head, HEADER_BYTES, 'header');
      if (state !== 'full') return state;
      this.#header = decodeHeader(new DataView(this.#head.buffer));
      this.#have = 0;
      checkHeader(this.#header);
    }
    const header = this.#header;
    if (header.size > 0) {
      const state = this.#fill(this.#body, header.size, 'payload');
      if (state === 'wait') return 'wait';
      if (state === 'end')
        throw new ProtocolError('connection', 'payload', 'the peer closed within a message');
    }
    const fds = this.#fds;
    this.#fds = new MessageFds(this.#addon);
    this.#header = null;
    this.#have = 0;
    return { header, payload: new DataView(this.#body.buffer, 0, header.size), fds };
  }

  #fill(buffer: Uint8Array, length: number, part: string): 'full' | 'wait' | 'end' {
    while (this.#have < length) {
      this.#received[0] = 0;
      const got = this.#addon.recvMsg(this.#fd, buffer, this.#have, length - this.#have, this.#received);
      if (got === EAGAIN) return 'wait';
      if (got < 0) throw new ProtocolError('connection', part, `receiving failed with errno ${-got}`);
      const late = this.#received[0]! > 0 && (part === 'payload' || this.#have > 0);
      this.#fds.receive(this.#received);
      if (late) {
        throw new ProtocolError('connection', 'descriptors', 'must come with the first byte of a message');
      }
      if (got === 0) {
        if (this.#have > 0) throw new ProtocolError('connection', part, 'the peer closed within a message');
        return 'end';
      }
      this.#have += got;
    }
    return 'full';
  }

  /** Closes the descriptors of a message that did not arrive in full. */
  close(): void {
    this.#fds.close();
  }
}

/**
 * Sends one reply, with a descriptor if `fd` ≥ 0 (the caller still owns it). False when the socket does not take it.
 */
export function sendReply(addon: Addon, socket: number, message: Uint8Array, fd = -1): boolean {
  let sent = 0;
  while (sent < message.length) {
    const rest = message.subarray(sent);
    const fds = fd >= 0 && sent === 0 ? Int32Array.of(fd) : null;
    const result = addon.sendMsg(socket, rest, rest.length, fds);
    if (result <= 0) return false;
    sent += result;
  }
  return true;
}

/** Flags of a reply: QEMU wants exactly these, the request's NEED_REPLY not repeated. */
export const REPLY_FLAGS: number = Flag.reply;
