/** Files in memory, and files mapped into it. */
export interface MappingCalls {
  /** memfd of `size` bytes, MFD_CLOEXEC | MFD_ALLOW_SEALING. */
  memfdCreate(name: string, size: number): number;
  /** F_ADD_SEALS: SHRINK | GROW | WRITE | SEAL. */
  memfdSeal(fd: number): number;
  /**
   * mmap'ed ArrayBuffer over [offset, offset+size) of `fd`; `writable` gives MAP_SHARED PROT_WRITE. Throws only for
   * a bad argument.
   */
  map(fd: number, offset: number, size: number, writable: boolean): ArrayBuffer | number;
  /** Detaches the ArrayBuffer and unmaps. */
  unmap(buffer: ArrayBuffer): number;
}
