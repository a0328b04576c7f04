import type { DescriptorCalls } from '../native/descriptor.ts';
import type { MappingCalls } from '../native/mapping.ts';
import type { MemoryCalls } from '../native/memory.ts';
import type { PollCalls } from '../native/poll.ts';
import type { RingSetupCalls } from '../native/ring.ts';
import type { SocketCalls } from '../native/socket.ts';

/**
 * Who serves the rings. Every call is answered once the thread that owns the queue has done it; a number is 0 or
 * `-errno`. Calls about one device never overlap.
 */
export interface QueueHost {
  /** Begins serving a ring that the device's configuration describes in full (`RingCalls.ringAttach`). */
  attach(device: number, queue: number): Promise<number>;
  /**
   * Stops serving; when this resolves no request of the ring touches guest memory any more. With `drain` the requests
   * taken are answered first (a front-end that stops a ring may start it again, and the driver does not send them
   * anew), for which it may take seconds; without it nobody is answered. A second call without it ends such a wait,
   * and is the one that may overlap with another.
   */
  detach(device: number, queue: number, drain: boolean): Promise<number>;
  /** Resolves once no request uses memory older than the device's present table. */
  memoryChanged(device: number): Promise<void>;
  /** The front-end went or reset the device: what the guest remembered of the FUSE session is void. */
  sessionReset(): Promise<void>;
}

/** Where log lines go; pino's loggers fit. */
export interface Logger {
  debug(fields: Record<string, unknown>, message: string): void;
  info(fields: Record<string, unknown>, message: string): void;
  warn(fields: Record<string, unknown>, message: string): void;
  error(fields: Record<string, unknown>, message: string): void;
}

/** What the socket, its messages and the device need of the addon. */
type VhostCalls = DescriptorCalls & SocketCalls & PollCalls & MappingCalls & MemoryCalls & RingSetupCalls;

/** What a vhost-user device is made of. */
export interface DeviceOptions {
  readonly addon: VhostCalls;
  readonly host: QueueHost;
  readonly log: Logger;
  /** All queues: one hiprio and at least one for requests; at most 256, which is what a descriptor message can name. */
  readonly queues: number;
  /**
   * Offers the configuration space (protocol feature CONFIG). Only when given: QEMU 7.1 to 8.0 crash when a file
   * system device offers it, and front-ends other than crosvm make the space themselves.
   */
  readonly tag?: string;
  /** How long a changed memory table may wait for requests that use the old one before it is acknowledged anyway. */
  readonly memoryTimeoutMs?: number;
}
