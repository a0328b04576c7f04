/** Unix sockets, and file descriptors that travel over them. */
export interface SocketCalls {
  /**
   * Unix stream socket, bound and listening, CLOEXEC, non-blocking, file mode 0600. A path longer than sun_path is
   * -ENAMETOOLONG.
   */
  listenUnix(path: string): number;
  /** Accepted fd (CLOEXEC, non-blocking) or -EAGAIN. */
  acceptUnix(fd: number): number;
  connectUnix(path: string): number;
  /**
   * recvmsg(MSG_CMSG_CLOEXEC) of at most `length` bytes into `buffer` at `offset`. `fds[0]` becomes the number of
   * descriptors received, followed by them. MSG_CTRUNC or more descriptors than fit: all are closed, -EMSGSIZE. 0 =
   * the peer closed.
   */
  recvMsg(fd: number, buffer: Uint8Array, offset: number, length: number, fds: Int32Array): number;
  /** sendmsg(MSG_NOSIGNAL); `fds` are attached to the first byte. Returns bytes sent. */
  sendMsg(fd: number, buffer: Uint8Array, length: number, fds: Int32Array | null): number;
}
