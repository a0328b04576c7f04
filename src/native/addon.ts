/** What `gzipIndexCreate` made. */
type GzipIndexHandle = object & { readonly gzipIndex: unique symbol };

/** What `hashCreate` made. */
export type HashHandle = object & { readonly hash: unique symbol };

/**
 * Places in the report of `gzipIndexRead`. Positions are bytes of the file (in) and of the data of all members (out).
 */
export const GzipReport = {
  /** Bytes used and produced by this call. */
  consumed: 0,
  produced: 1,
  /** And by all calls. */
  totalIn: 2,
  totalOut: 3,
  /** 1: between a member's header and its end, where a file must not end. */
  insideMember: 4,
  /** Where the block entered last begins or, behind the last of a member, where its trailer does. */
  boundaryIn: 5,
  /**
   * The last place where inflating can begin: its first bit is among the upper `blockBits` of `blockByte`, the byte
   * before `blockIn`.
   */
  blockIn: 6,
  blockOut: 7,
  blockBits: 8,
  blockByte: 9,
  dictionarySize: 10,
  size: 11,
} as const;

/**
 * The addon's functions: ints and buffers in, an int ≥ 0 or `-errno` out. Nothing here throws for a
 * system error; `src/native/*.ts` turns negative results into `SystemError` where a caller wants that.
 *
 * Devices, memory maps and rings are process-wide and named by small ints, so that the control thread can
 * configure a ring which a worker thread serves. Every access to guest memory happens inside the addon, is
 * bounds-checked against the memory map and survives a truncated backing file (`-EFAULT`).
 */
export interface Addon {
  // --- descriptors, sockets ------------------------------------------------------------------------
  /**
   * Unix stream socket, bound and listening, CLOEXEC, non-blocking, file mode 0600. A path longer than sun_path is
   * -ENAMETOOLONG.
   */
  listenUnix(path: string): number;
  /** Accepted fd (CLOEXEC, non-blocking) or -EAGAIN. */
  acceptUnix(fd: number): number;
  connectUnix(path: string): number;
  /** Two connected stream sockets in `out[0]`, `out[1]`. */
  socketPair(out: Int32Array): number;
  /**
   * recvmsg(MSG_CMSG_CLOEXEC) of at most `length` bytes into `buffer` at `offset`. `fds[0]` becomes the number of
   * descriptors received, followed by them. MSG_CTRUNC or more descriptors than fit: all are closed, -EMSGSIZE.
   * 0 = the peer closed.
   */
  recvMsg(fd: number, buffer: Uint8Array, offset: number, length: number, fds: Int32Array): number;
  /** sendmsg(MSG_NOSIGNAL); `fds` are attached to the first byte. Returns bytes sent. */
  sendMsg(fd: number, buffer: Uint8Array, length: number, fds: Int32Array | null): number;
  closeFd(fd: number): number;
  eventfd(): number;
  eventfdWrite(fd: number): number;
  /** Counter value, or -EAGAIN. */
  eventfdRead(fd: number): number;
  /** uv_poll on this thread's loop; `events` 1 = readable, 4 = disconnect. Returns a handle ≥ 0. */
  pollStart(fd: number, events: number, onReady: (events: number) => void): number;
  /** Stops and closes the poll; the fd may be closed once this returns. */
  pollStop(handle: number): number;

  // --- mappings --------------------------------------------------------------------------------------
  /** memfd of `size` bytes, MFD_CLOEXEC | MFD_ALLOW_SEALING. */
  memfdCreate(name: string, size: number): number;
  /** F_ADD_SEALS: SHRINK | GROW | WRITE | SEAL. */
  memfdSeal(fd: number): number;
  /**
   * mmap'ed ArrayBuffer over [offset, offset+size) of `fd`; `writable` gives MAP_SHARED PROT_WRITE. Throws only for a
   * bad argument.
   */
  map(fd: number, offset: number, size: number, writable: boolean): ArrayBuffer | number;
  /** Detaches the ArrayBuffer and unmaps. */
  unmap(buffer: ArrayBuffer): number;

  // --- devices: guest memory -------------------------------------------------------------------------
  deviceCreate(queues: number): number;
  /**
   * Marks the device dead; rings attached to it answer -ENODEV; memory goes when its rings are detached and the last
   * request is done.
   */
  deviceDestroy(device: number): number;
  /** Negotiated virtio features, as two u32. */
  deviceSetFeatures(device: number, lo: number, hi: number): number;
  /**
   * Replaces the memory table. `regions` = n × [gpa, size, uva, mmapOffset]; `fds` are not closed. -EINVAL overlap or
   * overflow, -ERANGE offset+size beyond the file, otherwise mmap's errno. On error the old table stays. -ENODEV for
   * what is not a regular file or memfd. A running ring whose own pages are in no region any more goes on in the old
   * ones until a table has them again.
   */
  memorySet(device: number, regions: BigUint64Array, fds: Int32Array): number;
  memoryAdd(device: number, region: BigUint64Array, fd: number): number;
  /** -ENOENT when no region has this gpa, size and uva. Its pages stay mapped until no request in flight uses them. */
  memoryRemove(device: number, region: BigUint64Array): number;
  /** Requests in flight that still hold a memory table older than the present one. */
  memoryStale(device: number): number;

  // --- devices: ring configuration (control thread; only while the ring is detached unless said otherwise)
  ringSetNum(device: number, queue: number, num: number): number;
  /** Front-end (user) addresses. May be called while attached: takes effect at the next pop. */
  ringSetAddr(device: number, queue: number, desc: bigint, used: bigint, avail: bigint): number;
  ringSetBase(device: number, queue: number, base: number): number;
  /**
   * The device takes the fd (-1 = none) and makes it non-blocking; on an error it stays the caller's. Call and err may
   * be replaced while attached, and one signal is sent on the new call fd. Without a kick fd nothing but the attach
   * itself and a freed slot calls `onKick`.
   */
  ringSetKick(device: number, queue: number, fd: number): number;
  ringSetCall(device: number, queue: number, fd: number): number;
  ringSetErr(device: number, queue: number, fd: number): number;
  /** Next avail index the device would pop (GET_VRING_BASE). */
  ringBase(device: number, queue: number): number;
  /** Zeroes num, addresses, base, closes kick, call, err. */
  ringReset(device: number, queue: number): number;
  /** Maps an in-flight region (vhost-user INFLIGHT_SHMFD) for all queues; -EINVAL when sizes do not fit. */
  inflightSet(
    device: number,
    fd: number,
    offset: number,
    size: number,
    queues: number,
    queueSize: number,
  ): number;

  // --- rings, on the thread that serves them ----------------------------------------------------------
  /**
   * Begins serving: translates the ring addresses, resubmits in-flight heads, polls the kick fd on this thread's loop.
   * `slots` is the memory described in `ring.ts`. `onKick` runs on this thread. Returns a ring handle.
   * -EINVAL num/addresses unset or misaligned, -EFAULT outside guest memory, -EBUSY attached already.
   */
  ringAttach(
    device: number,
    queue: number,
    requests: ArrayBuffer,
    replies: ArrayBuffer,
    state: Int32Array,
    slotCount: number,
    onKick: () => void,
  ): number;
  /** Stops polling, abandons requests in flight (their slots become free), stores the base. Returns the base. */
  ringDetach(ring: number): number;
  /**
   * Pops up to `max` requests: copies each one's readable bytes (at most REQUEST_BYTES) into its slot, fills its state
   * row, and writes the slot numbers to `popped`. Waits at most `spinNs` for the first. Returns the count, -EFAULT
   * (memory vanished), -EPROTO (ring corrupt: broken from now on, its err fd signalled; -EFAULT breaks it too),
   * -ENODEV. A malformed chain is counted, returned to the guest with used.len 0 and not reported here.
   */
  ringPop(ring: number, popped: Int32Array, max: number, spinNs: number): number;
  /**
   * A slot that is not in flight, or which a pool thread reads into, is -EINVAL, and nothing is flushed. When requests
   * waited for a free slot, `onKick` is called once more. Scatters the slots listed in `done` (reply length in their
   * state row, bytes in their reply area), pushes them used, and publishes once. With `tell` the driver is notified, at
   * most once, of what it was not told of before, if it wants to be; without, a later call must. `total` is cut to the
   * writable part.
   */
  ringFlush(ring: number, done: Int32Array, count: number, tell: boolean): number;
  /**
   * Scatters `length` bytes of `bytes` from `offset` behind the first `skip` bytes of the slot's writable part.
   * For replies that do not fit the slot's reply area. Cut to the room there is; returns the bytes written.
   */
  ringWrite(
    ring: number,
    slot: number,
    skip: number,
    bytes: Uint8Array,
    offset: number,
    length: number,
  ): number;
  /**
   * preadv2(RWF_NOWAIT, or plain where unsupported) from `fd` at `fileOffset` straight into the slot's writable part
   * behind `skip` bytes. Returns bytes read, -EAGAIN when the page cache does not have them (use ringReadBlocking),
   * -EFAULT, or the file's errno.
   */
  ringRead(ring: number, slot: number, skip: number, fd: number, fileOffset: number, length: number): number;
  /**
   * The same on a pool thread; `done` gets bytes or -errno on this thread, or is never called after a detach. The slot
   * stays in flight meanwhile.
   */
  ringReadBlocking(
    ring: number,
    slot: number,
    skip: number,
    fd: number,
    fileOffset: number,
    length: number,
    done: (result: number) => void,
  ): number;
  /**
   * Allows notifications and looks once more: 1 = there is work (do not sleep), 0 = sleep (also when all slots are in
   * use: see ringFlush).
   */
  ringArm(ring: number): number;
  /** Counters since attach: [popped, completed, malformed, notified, kicks]. */
  ringStats(ring: number, out: Float64Array): number;

  // --- codecs ------------------------------------------------------------------------------------------
  /** Raw LZ4 block. Returns bytes produced or -EBADMSG. Never writes outside [dstOffset, dstOffset+dstLength). */
  lz4Decode(src: Uint8Array, dst: Uint8Array): number;
  /** Whole zstd frame. Bytes produced or -EBADMSG. */
  zstdDecode(src: Uint8Array, dst: Uint8Array): number;
  /**
   * Raw inflate of one indexed-gzip (zran) context: primes the high `bits` bits of `byte` (as stored in the context),
   * sets `dictionary`, and produces exactly dst.length bytes, crossing gzip member boundaries. -EBADMSG on damage.
   */
  zranDecode(
    src: Uint8Array,
    dst: Uint8Array,
    bits: number,
    byte: number,
    dictionary: Uint8Array | null,
  ): number;
  /** The same decoders on a pool thread; kind 1 lz4, 2 gzip member, 3 zstd. */
  decodeAsync(kind: number, src: Uint8Array, dst: Uint8Array, done: (result: number) => void): number;
  /**
   * Compresses to a raw LZ4 block: bytes produced; -ENOSPC when they might not fit `dst`, which may take 16 more than
   * they are.
   */
  lz4Encode(src: Uint8Array, dst: Uint8Array): number;
  /**
   * Compresses many pieces of `source` into `target` on one pool thread: kind 1 lz4 (a raw block, byte for byte as
   * liblz4 makes it by default), 3 zstd (a frame of level 3 that says its size). `pieces` has rows of four: offset and
   * length in the source, offset and room in the target; the last becomes the bytes produced, or -ENOSPC when they
   * might not fit. lz4 may ask for 16 bytes more than it writes. `done` gets 0 or -errno. No buffer may change
   * meanwhile.
   */
  encodeAsync(
    kind: number,
    source: Uint8Array,
    target: Uint8Array,
    pieces: Int32Array,
    done: (result: number) => void,
  ): number;
  // --- SHA-256 -----------------------------------------------------------------------------------------
  /** A SHA-256 in the making; freed with its last reference. -ENOMEM. */
  hashCreate(): HashHandle | number;
  /** Adds bytes. 0; -EBUSY while `hashUpdateAsync` runs. */
  hashUpdate(hash: HashHandle, bytes: Uint8Array): number;
  /** Adds bytes on a pool thread; `done` gets 0 or -errno. -EBUSY while another runs: order matters. */
  hashUpdateAsync(hash: HashHandle, bytes: Uint8Array, done: (result: number) => void): number;
  /** Puts the SHA-256 of the bytes so far into the first 32 bytes of `out`; more may follow. -EBUSY as above. */
  hashDigest(hash: HashHandle, out: Uint8Array): number;
  /** An inflater of gzip data that knows where it could begin anew; freed with its last reference. -ENOMEM. */
  gzipIndexCreate(): GzipIndexHandle | number;
  /**
   * Inflates from `input` [inputStart, inputEnd) into `output` [outputStart, outputEnd) until that is full or the input
   * used up, over the ends of gzip members. Fills `report` (see GzipReport). 0; -EBADMSG on damage.
   */
  gzipIndexRead(
    index: GzipIndexHandle,
    input: Uint8Array,
    inputStart: number,
    inputEnd: number,
    output: Uint8Array,
    outputStart: number,
    outputEnd: number,
    report: Float64Array,
  ): number;
  /** Copies the dictionary of the block reported last, at most 32 KiB, to the start of `output`. Its length. */
  gzipIndexDictionary(index: GzipIndexHandle, output: Uint8Array): number;
  /** CRC-32C (Castagnoli), as an unsigned number. */
  crc32c(bytes: Uint8Array): number;
}
