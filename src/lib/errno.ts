import { getSystemErrorName } from 'node:util';

/** The Linux errnos that our code names (asm-generic/errno-base.h, errno.h), positive. A result is often `-errno`. */
export const Errno = {
  ENOENT: 2,
  EIO: 5,
  ENXIO: 6,
  EAGAIN: 11,
  ENODEV: 19,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  EROFS: 30,
  ERANGE: 34,
  ENAMETOOLONG: 36,
  ENOSYS: 38,
  ENODATA: 61,
  EPROTO: 71,
  EOPNOTSUPP: 95,
  ECONNREFUSED: 111,
} as const;

/** The name of a result below 0, which is `-errno`, for messages: `ENOENT` of -2. */
export function errnoName(result: number): string {
  return getSystemErrorName(result);
}
