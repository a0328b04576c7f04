/** File descriptors. */
export interface DescriptorCalls {
  closeFd(fd: number): number;
}
