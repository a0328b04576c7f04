/**
 * Devices and the guest memory of each. A device is process-wide and named by a small int, so that the control thread
 * can configure a ring which a worker thread serves. Every access to guest memory happens inside the addon, is
 * bounds-checked against the memory table and survives a truncated backing file (`-EFAULT`).
 */
export interface MemoryCalls {
  deviceCreate(queues: number): number;
  /**
   * Marks the device dead; rings attached to it answer -ENODEV; memory goes when its rings are detached and the last
   * request is done.
   */
  deviceDestroy(device: number): number;
  /** Negotiated virtio features, as two u32. */
  deviceSetFeatures(device: number, lo: number, hi: number): number;
  /**
   * Replaces the memory table. `regions` = n × [gpa, size, uva, mmapOffset]; `fds` are not closed. -EINVAL overlap
   * or overflow, -ERANGE offset+size beyond the file, otherwise mmap's errno. On error the old table stays. -ENODEV
   * for what is not a regular file or memfd. A running ring whose own pages are in no region any more goes on in the
   * old ones until a table has them again.
   */
  memorySet(device: number, regions: BigUint64Array, fds: Int32Array): number;
  memoryAdd(device: number, region: BigUint64Array, fd: number): number;
  /**
   * -ENOENT when no region has this gpa, size and uva. Its pages stay mapped until no request in flight uses them.
   */
  memoryRemove(device: number, region: BigUint64Array): number;
  /** Requests in flight that still hold a memory table older than the present one. */
  memoryStale(device: number): number;
}
