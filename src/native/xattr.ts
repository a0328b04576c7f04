import koffi from 'koffi';
import { Errno, errnoName } from '../lib/errno.ts';

/** An extended attribute: full name (`user.x`) and value, both raw bytes. */
export interface Xattr {
  readonly name: Buffer;
  readonly value: Buffer;
}

type XattrCall = (path: Buffer, out: Buffer | null, size: number) => number;
type NamedXattrCall = (path: Buffer, name: Buffer, out: Buffer | null, size: number) => number;

const libc = koffi.load('libc.so.6');
const llistxattr: XattrCall = libc.func(
  'long llistxattr(const uint8_t *path, _Out_ uint8_t *list, size_t size)',
);
const lgetxattr: NamedXattrCall = libc.func(
  'long lgetxattr(const uint8_t *path, const uint8_t *name, _Out_ uint8_t *value, size_t size)',
);

/** A list or value may grow between asking its size and reading it; give up on one that does so forever. */
const ATTEMPTS_MAX = 8;
/** XATTR_LIST_MAX and XATTR_SIZE_MAX of Linux: nearly every answer fits, so one call does instead of two. */
const scratch = Buffer.alloc(0x10000);
const NUL = Buffer.alloc(1);
const { EOPNOTSUPP, ENODATA, ERANGE } = Errno;

/**
 * Extended attributes of the file itself (links are not followed), sorted by name bytes. Empty where the file
 * system has none. `path` is raw bytes without NUL. Throws an Error with `code`, `syscall` and `path`.
 */
export function readXattrs(path: Buffer): Xattr[] {
  const cPath = Buffer.concat([path, NUL]);
  const list = readGrowing((out, size) => llistxattr(cPath, out, size), 'llistxattr', path, EOPNOTSUPP);
  if (list === null || list.length === 0) return [];
  const xattrs: Xattr[] = [];
  for (let at = 0; at < list.length; ) {
    const end = list.indexOf(0, at);
    const stop = end < 0 ? list.length : end;
    const name = list.subarray(at, stop);
    const cName = Buffer.concat([name, NUL]);
    // ENODATA: removed between the list and this call.
    const value = readGrowing((out, size) => lgetxattr(cPath, cName, out, size), 'lgetxattr', path, ENODATA);
    if (value !== null) xattrs.push({ name, value });
    at = stop + 1;
  }
  return xattrs.sort((a, b) => Buffer.compare(a.name, b.name));
}

/** Calls until the answer fits; null for the errno `absent`. */
function readGrowing(
  call: (out: Buffer, size: number) => number,
  syscall: string,
  path: Buffer,
  absent: number,
): Buffer | null {
  let out = scratch;
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
    const length = call(out, out.length);
    if (length >= 0) return Buffer.from(out.subarray(0, length));
    const errno = koffi.errno();
    if (errno === absent) return null;
    if (errno !== ERANGE) throw systemError(syscall, errno, path);
    out = Buffer.alloc(out.length * 2);
  }
  throw systemError(syscall, ERANGE, path);
}

function systemError(syscall: string, errno: number, path: Buffer): Error {
  const code = errnoName(-errno);
  const error = new Error(`${syscall} ${path.toString()}: ${code}`);
  return Object.assign(error, { code, errno: -errno, syscall, path: path.toString() });
}
