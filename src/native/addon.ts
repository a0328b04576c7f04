import type { CodecCalls } from './codec.ts';
import type { DescriptorCalls } from './descriptor.ts';
import type { GzipIndexCalls } from './gzip-index.ts';
import type { HashCalls } from './hash.ts';
import type { MappingCalls } from './mapping.ts';
import type { MemoryCalls } from './memory.ts';
import type { PollCalls } from './poll.ts';
import type { RingCalls, RingSetupCalls } from './ring.ts';
import type { SocketCalls } from './socket.ts';
import type { UnitCalls } from './unit.ts';

/**
 * The addon's functions, all subjects: ints and buffers in, an int ≥ 0 or `-errno` out. None throws for a system
 * error; `check` turns a negative result into a SystemError where a caller wants that. Who needs one subject asks for
 * its interface.
 */
export type Addon = CodecCalls &
  DescriptorCalls &
  GzipIndexCalls &
  HashCalls &
  MappingCalls &
  MemoryCalls &
  PollCalls &
  RingCalls &
  RingSetupCalls &
  SocketCalls &
  UnitCalls;
