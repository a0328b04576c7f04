import { lstatSync, type Stats, unlinkSync } from 'node:fs';
import { getSystemErrorName } from 'node:util';
import type { Addon } from '../native/addon.ts';
import { fsTagError } from '../wire/virtio.ts';
import type { DeviceOptions } from './host.ts';
import { Session } from './session.ts';

/** The socket cannot be had. `code` is stable: VHOST_SOCKET_BUSY, VHOST_SOCKET_OCCUPIED, VHOST_SOCKET_FAILED. */
class SocketError extends Error {
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.name = 'SocketError';
    this.code = code;
  }
}

const READABLE = 1;
const ECONNREFUSED = -111;
const QUEUES_MAX = 256;

/** Removes the socket file of a process that died. Anything else at the path is somebody's and stays. */
function removeStale(addon: Addon, path: string): void {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (stats === undefined) return;
  if (!stats.isSocket()) throw new SocketError('VHOST_SOCKET_OCCUPIED', `${path} exists and is not a socket`);
  const fd = addon.connectUnix(path);
  if (fd >= 0) {
    addon.closeFd(fd);
    throw new SocketError('VHOST_SOCKET_BUSY', `another process listens on ${path}`);
  }
  if (fd !== ECONNREFUSED) {
    throw new SocketError(
      'VHOST_SOCKET_BUSY',
      `${path} may be in use: connect says ${getSystemErrorName(fd)}`,
    );
  }
  unlinkSync(path);
}

function checkOptions({ queues, tag }: DeviceOptions): void {
  if (!Number.isInteger(queues) || queues < 2 || queues > QUEUES_MAX) {
    throw new RangeError(`queues must be 2 to ${QUEUES_MAX}, is ${queues}`);
  }
  const error = tag === undefined ? null : fsTagError(tag);
  if (error !== null) throw new RangeError(error);
}

/**
 * A vhost-user back-end's socket. It serves one front-end at a time and goes on listening when that one leaves:
 * cloud-hypervisor makes a new connection at every reboot of its guest.
 */
export class VhostUserListener {
  readonly #path: string;
  readonly #options: DeviceOptions;
  readonly #socket: number;
  readonly #file: Stats;
  #poll = -1;
  #session: Session | null = null;
  /** A front-end that came while the one before it was leaving. */
  #waiting = -1;
  #closing = false;

  /** Listens at `path`. Throws SocketError when something else is there, RangeError for impossible options. */
  constructor(path: string, options: DeviceOptions) {
    checkOptions(options);
    const { addon } = options;
    removeStale(addon, path);
    const socket = addon.listenUnix(path);
    if (socket < 0) {
      throw new SocketError('VHOST_SOCKET_FAILED', `listening on ${path}: ${getSystemErrorName(socket)}`);
    }
    this.#path = path;
    this.#options = options;
    this.#socket = socket;
    this.#file = lstatSync(path);
    this.#poll = addon.pollStart(socket, READABLE, () => this.#accept());
    if (this.#poll < 0) {
      addon.closeFd(socket);
      throw new SocketError('VHOST_SOCKET_FAILED', `polling ${path}: ${getSystemErrorName(this.#poll)}`);
    }
  }

  /** The connection being served, or null. */
  get session(): Session | null {
    return this.#session;
  }

  #accept(): void {
    const fd = this.#options.addon.acceptUnix(this.#socket);
    if (fd < 0) return;
    if (this.#session === null) this.#serve(fd);
    else void this.#acceptSecond(this.#session, fd);
  }

  /** The end of the present connection may not have been noticed yet: only a living one makes the second unwelcome. */
  async #acceptSecond(present: Session, fd: number): Promise<void> {
    const { addon, log } = this.#options;
    const taken = this.#waiting >= 0;
    if (!taken) this.#waiting = fd;
    if (taken || (await present.isAlive())) {
      if (!taken) this.#waiting = -1;
      log.warn({ socket: this.#path }, 'second front-end refused: one is connected');
      addon.closeFd(fd);
    } else if (this.#session === null && this.#waiting === fd) {
      this.#serveWaiting();
    }
  }

  #serve(fd: number): void {
    const { log } = this.#options;
    let session: Session;
    try {
      session = new Session(fd, this.#options);
    } catch (error) {
      log.error({ socket: this.#path, error: String(error) }, 'front-end refused');
      return;
    }
    this.#session = session;
    log.info({ socket: this.#path, device: session.device }, 'front-end connected');
    void session.ended.then(() => {
      this.#session = null;
      this.#serveWaiting();
    });
  }

  #serveWaiting(): void {
    const fd = this.#waiting;
    this.#waiting = -1;
    if (fd < 0) return;
    if (this.#closing) this.#options.addon.closeFd(fd);
    else this.#serve(fd);
  }

  /** Stops listening, ends the connection and removes the socket file, unless another file took its place. */
  async close(): Promise<void> {
    if (this.#closing) return;
    this.#closing = true;
    const { addon } = this.#options;
    addon.pollStop(this.#poll);
    addon.closeFd(this.#socket);
    const now = lstatSync(this.#path, { throwIfNoEntry: false });
    if (now?.ino === this.#file.ino && now.dev === this.#file.dev) unlinkSync(this.#path);
    await this.#session?.close();
  }
}
