/**
 * Descriptors that only the other side of the product makes: eventfds of rings, socket pairs. As the addon's calls,
 * -errno on failure.
 */
import koffi from 'koffi';

const libc = koffi.load('libc.so.6');
const calls = {
  eventfd: libc.func('int eventfd(unsigned int initval, int flags)'),
  read: libc.func('long read(int fd, _Out_ uint64_t *value, size_t size)'),
  write: libc.func('long write(int fd, const uint64_t *value, size_t size)'),
  socketpair: libc.func('int socketpair(int domain, int type, int protocol, _Out_ int *pair)'),
} as unknown as {
  eventfd(initial: number, flags: number): number;
  read(fd: number, value: BigUint64Array, size: number): number;
  write(fd: number, value: BigUint64Array, size: number): number;
  socketpair(domain: number, type: number, protocol: number, pair: Int32Array): number;
};

const CLOEXEC = 0o2000000;
const NONBLOCK = 0o4000;
const AF_UNIX = 1;
const SOCK_STREAM = 1;
const ONE = BigUint64Array.of(1n);
const value = new BigUint64Array(1);

const result = (returned: number): number => (returned < 0 ? -koffi.errno() : returned);

/** A non-blocking eventfd of 0. */
export function eventfd(): number {
  return result(calls.eventfd(0, CLOEXEC | NONBLOCK));
}

/** Adds one. */
export function eventfdWrite(fd: number): number {
  const written = result(calls.write(fd, ONE, 8));
  return written < 0 ? written : 0;
}

/** The counter's value, which becomes 0, or -EAGAIN. */
export function eventfdRead(fd: number): number {
  const got = result(calls.read(fd, value, 8));
  return got < 0 ? got : Number(value[0]);
}

/** Two connected non-blocking stream sockets in `out[0]`, `out[1]`. */
export function socketPair(out: Int32Array): number {
  return result(calls.socketpair(AF_UNIX, SOCK_STREAM | CLOEXEC | NONBLOCK, 0, out));
}
