import { Errno } from '../lib/errno.ts';
import { FUSE_MAJOR, FUSE_MINOR, InitFlag, InitIn, InitOut } from '../wire/fuse.ts';
import type { RequestContext } from './request.ts';

/** 1 MiB: the kernel's own limit, and what a queue of 1024 descriptors can carry. */
const MAX_PAGES = 256;
/** The longest READ and WRITE that is granted, in bytes. */
export const MAX_WRITE: number = MAX_PAGES * 4096;
/** The kernel's default of 12 throttles read-ahead; this many requests keep two queues busy. */
const MAX_BACKGROUND = 128;
const CONGESTION_THRESHOLD = 96;
/** Without MAX_PAGES a client sends 32 pages at most. */
const MAX_WRITE_OLD = 32 * 4096;

const WANTED =
  InitFlag.asyncRead |
  InitFlag.exportSupport |
  InitFlag.doReaddirplus |
  InitFlag.readdirplusAuto |
  InitFlag.asyncDio |
  InitFlag.parallelDirops |
  InitFlag.maxPages |
  InitFlag.cacheSymlinks |
  InitFlag.explicitInvalData |
  InitFlag.initExt;

/** What INIT negotiated with the client. Before it, defaults hold: a front-end may reconnect without a new INIT. */
export class FuseSession {
  initialised = false;
  minor: number = FUSE_MINOR;
  /** The client stops sending OPEN once one is answered with ENOSYS. */
  noOpen = false;
  readonly #allowNoOpen: boolean;

  /** `allowNoOpen`: whether OPEN is left out when the client understands it. */
  constructor(allowNoOpen: boolean) {
    this.#allowNoOpen = allowNoOpen;
  }

  /** The client left, or its device was reset. What waits for data is answered to nobody: its tickets are void. */
  reset(): void {
    this.initialised = false;
    this.minor = FUSE_MINOR;
    this.noOpen = false;
  }

  /** Answers INIT. Returns the reply's length or -errno. A second INIT begins a new session: the guest was rebooted. */
  init(r: RequestContext): number {
    const { requests: request, args: at, replies: reply, out } = r;
    const size = r.end - at;
    this.reset();
    const major = request.getUint32(at + InitIn.major, true);
    if (major < FUSE_MAJOR) return -Errno.EPROTO;
    for (let i = 0; i < InitOut.bytes; i += 4) reply.setUint32(out + i, 0, true);
    reply.setUint32(out + InitOut.major, FUSE_MAJOR, true);
    reply.setUint32(out + InitOut.minor, FUSE_MINOR, true);
    // A newer major: the client sends INIT again with ours.
    if (major > FUSE_MAJOR) return InitOut.bytes;
    this.initialised = true;
    this.minor = Math.min(request.getUint32(at + InitIn.minor, true), FUSE_MINOR);
    const offered = size >= InitIn.bytes ? request.getUint32(at + InitIn.flags, true) : 0;
    this.noOpen = this.#allowNoOpen && (offered & InitFlag.noOpenSupport) !== 0;
    const flags = offered & WANTED;
    const hasMaxPages = (flags & InitFlag.maxPages) !== 0;
    reply.setUint32(out + InitOut.minor, this.minor, true);
    if (size >= InitIn.bytes)
      reply.setUint32(out + InitOut.maxReadahead, request.getUint32(at + InitIn.maxReadahead, true), true);
    reply.setUint32(out + InitOut.flags, flags >>> 0, true);
    reply.setUint16(out + InitOut.maxBackground, MAX_BACKGROUND, true);
    reply.setUint16(out + InitOut.congestionThreshold, CONGESTION_THRESHOLD, true);
    reply.setUint32(out + InitOut.maxWrite, hasMaxPages ? MAX_WRITE : MAX_WRITE_OLD, true);
    reply.setUint32(out + InitOut.timeGran, 1, true);
    if (hasMaxPages) reply.setUint16(out + InitOut.maxPages, MAX_PAGES, true);
    if (this.minor <= 4) return InitOut.bytesMinor4;
    return this.minor <= 22 ? InitOut.bytesMinor22 : InitOut.bytes;
  }
}
