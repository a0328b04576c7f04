import { Errno } from '../lib/errno.ts';
import {
  AttrOut,
  BatchForgetIn,
  EntryOut,
  ForgetIn,
  GetxattrIn,
  GetxattrOut,
  LseekIn,
  LseekOut,
  Opcode,
  OpenIn,
  OpenOut,
  ReadIn,
  ReleaseIn,
  readU64,
  StatfsOut,
  writeU64,
} from '../wire/fuse.ts';
import { encodeAttr, encodeEntry, validNanoseconds, validSeconds } from './attr.ts';
import type { FileSystem, Opened } from './filesystem.ts';
import type { ReadPlan } from './read.ts';
import { NO_REPLY, type RequestContext } from './request.ts';
import { type FuseSession, MAX_WRITE } from './session.ts';

/** What an operation acts on beside its request: parts of the server. */
interface ServerParts {
  readonly fs: FileSystem;
  readonly session: FuseSession;
  readonly reads: ReadPlan;
}

/**
 * Serves one request. Returns the bytes written behind the out header in the reply area, -errno, PENDING, NO_REPLY, or
 * LARGE (the request's `large` says how many bytes were put behind the header in other ways).
 */
type OperationHandler = (r: RequestContext, server: ServerParts) => number;

/** A row of the operation table. */
export interface Operation {
  readonly name: string;
  readonly opcode: number;
  /** Bytes of arguments that must be there. */
  readonly inBytes: number;
  readonly handle: OperationHandler;
}

const O_ACCMODE = 3;
const O_TRUNC = 0o1000;

function errnoHandler(errno: number): OperationHandler {
  return () => -errno;
}

const readOnly = errnoHandler(Errno.EROFS);
const nothing: OperationHandler = () => 0;

const NAME_MAX = 255;

/** End of a NUL-terminated name at `at`, or -errno. A name is 1 to 255 bytes; the search goes no further. */
function nameEnd(r: RequestContext, at: number): number {
  const { requestBytes, end } = r;
  const limit = Math.min(end, at + NAME_MAX + 1);
  for (let i = at; i < limit; i++) {
    if (requestBytes[i] === 0) return i > at ? i : -Errno.EINVAL;
  }
  return limit < end ? -Errno.ENAMETOOLONG : -Errno.EINVAL;
}

const lookup: OperationHandler = (r, { fs }) => {
  const end = nameEnd(r, r.args);
  if (end < 0) return end;
  const result = fs.lookup(r.hi, r.lo, r.requestBytes, r.args, end, r.entry);
  if (result < 0) return result;
  encodeEntry(r.replies, r.out, r.entry);
  return EntryOut.bytes;
};

const getattr: OperationHandler = (r, { fs }) => {
  const { attr, replies, out } = r;
  const result = fs.getattr(r.hi, r.lo, attr);
  if (result < 0) return result;
  writeU64(replies, out + AttrOut.attrValid, validSeconds(attr.validMs));
  replies.setUint32(out + AttrOut.attrValidNs, validNanoseconds(attr.validMs), true);
  replies.setUint32(out + AttrOut.dummy, 0, true);
  encodeAttr(replies, out + AttrOut.attr, attr);
  return AttrOut.bytes;
};

const readlink: OperationHandler = (r, { fs }) => {
  const length = fs.readlink(r.hi, r.lo, r.scratch, 0);
  if (length < 0) return length;
  // A target that is cut is another path.
  return length > r.room ? -Errno.EIO : r.sendLarge(r.scratch, length);
};

function encodeOpened(r: RequestContext, opened: Opened): number {
  const { replies, out } = r;
  replies.setUint32(out + OpenOut.fh, opened.fhLo, true);
  replies.setUint32(out + OpenOut.fh + 4, opened.fhHi, true);
  replies.setUint32(out + OpenOut.openFlags, opened.flags, true);
  replies.setUint32(out + OpenOut.padding, 0, true);
  return OpenOut.bytes;
}

const open: OperationHandler = (r, { fs, session }) => {
  const flags = r.requests.getUint32(r.args + OpenIn.flags, true);
  if ((flags & O_ACCMODE) !== 0 || (flags & O_TRUNC) !== 0) return -Errno.EROFS;
  if (session.noOpen) return -Errno.ENOSYS;
  const result = fs.open(r.hi, r.lo, flags, r.opened);
  return result < 0 ? result : encodeOpened(r, r.opened);
};

const opendir: OperationHandler = (r, { fs }) => {
  const flags = r.requests.getUint32(r.args + OpenIn.flags, true);
  const result = fs.opendir(r.hi, r.lo, flags, r.opened);
  return result < 0 ? result : encodeOpened(r, r.opened);
};

const release: OperationHandler = (r, { fs }) => {
  const fh = r.args + ReleaseIn.fh;
  return fs.release(r.hi, r.lo, r.requests.getUint32(fh + 4, true), r.requests.getUint32(fh, true));
};

/**
 * A client that keeps to max_pages asks for no more; one that does not must not keep a thread and the fetcher busy
 * with gigabytes.
 */
const READ_MAX = MAX_WRITE;

const read: OperationHandler = (r, { fs, reads }) => {
  const offset = readU64(r.requests, r.args + ReadIn.offset);
  const size = Math.min(r.requests.getUint32(r.args + ReadIn.size, true), r.room, READ_MAX);
  return reads.serve(fs, r, offset, size);
};

/** An empty listing says that the directory ended: not so when it is the buffer that holds no entry. */
function listingReply(r: RequestContext, result: number): number {
  if (result < 0) return result;
  const { length, full, bytes } = r.dirents;
  return length === 0 && full ? -Errno.EINVAL : r.sendLarge(bytes, length);
}

const readdir: OperationHandler = (r, { fs }) => {
  r.dirents.begin(r.requests.getUint32(r.args + ReadIn.size, true), r.capacity);
  return listingReply(r, fs.readdir(r.hi, r.lo, readU64(r.requests, r.args + ReadIn.offset), r.dirents));
};

const readdirplus: OperationHandler = (r, { fs }) => {
  r.dirents.begin(r.requests.getUint32(r.args + ReadIn.size, true), r.capacity);
  const offset = readU64(r.requests, r.args + ReadIn.offset);
  return listingReply(r, fs.readdirplus(r.hi, r.lo, offset, r.dirents));
};

/** A size of 0 asks how long the value is. */
function xattrReply(r: RequestContext, size: number, result: number): number {
  if (result < 0) return result;
  if (size !== 0) return r.sendLarge(r.scratch, result);
  r.replies.setUint32(r.out + GetxattrOut.size, result, true);
  r.replies.setUint32(r.out + GetxattrOut.size + 4, 0, true);
  return GetxattrOut.bytes;
}

function xattrCapacity(r: RequestContext, size: number): number {
  return Math.min(size, r.room, r.scratch.length);
}

const getxattr: OperationHandler = (r, { fs }) => {
  const size = r.requests.getUint32(r.args + GetxattrIn.size, true);
  const name = r.args + GetxattrIn.bytes;
  const end = nameEnd(r, name);
  if (end < 0) return end;
  const { hi, lo, requestBytes, scratch } = r;
  return xattrReply(
    r,
    size,
    fs.getxattr(hi, lo, requestBytes, name, end, scratch, 0, xattrCapacity(r, size)),
  );
};

const listxattr: OperationHandler = (r, { fs }) => {
  const size = r.requests.getUint32(r.args + GetxattrIn.size, true);
  return xattrReply(r, size, fs.listxattr(r.hi, r.lo, r.scratch, 0, xattrCapacity(r, size)));
};

const statfs: OperationHandler = (r, { fs }) => {
  const { replies, out, stat } = r;
  const result = fs.statfs(r.hi, r.lo, stat);
  if (result < 0) return result;
  for (let i = 0; i < StatfsOut.bytes; i += 4) replies.setUint32(out + i, 0, true);
  writeU64(replies, out + StatfsOut.blocks, stat.blocks);
  writeU64(replies, out + StatfsOut.bfree, stat.bfree);
  writeU64(replies, out + StatfsOut.bavail, stat.bavail);
  writeU64(replies, out + StatfsOut.files, stat.files);
  writeU64(replies, out + StatfsOut.ffree, stat.ffree);
  replies.setUint32(out + StatfsOut.bsize, stat.bsize, true);
  replies.setUint32(out + StatfsOut.namelen, stat.namelen, true);
  replies.setUint32(out + StatfsOut.frsize, stat.frsize, true);
  return StatfsOut.bytes;
};

const lseek: OperationHandler = (r, { fs }) => {
  const whence = r.requests.getUint32(r.args + LseekIn.whence, true);
  const result = fs.lseek(r.hi, r.lo, readU64(r.requests, r.args + LseekIn.offset), whence);
  if (result < 0) return result;
  writeU64(r.replies, r.out + LseekOut.offset, result);
  return LseekOut.bytes;
};

const forget: OperationHandler = (r, { fs }) => {
  fs.forget(r.hi, r.lo, readU64(r.requests, r.args + ForgetIn.nlookup));
  return NO_REPLY;
};

/** Items beyond what the slot holds are not looked at: nodeids are not counted, so that nothing is lost. */
const batchForget: OperationHandler = (r, { fs }) => {
  const count = r.requests.getUint32(r.args + BatchForgetIn.count, true);
  const items = Math.min(count, Math.floor((r.end - r.args - BatchForgetIn.bytes) / BatchForgetIn.item));
  for (let i = 0; i < items; i++) {
    const at = r.args + BatchForgetIn.bytes + i * BatchForgetIn.item;
    fs.forget(
      r.requests.getUint32(at + 4, true),
      r.requests.getUint32(at, true),
      readU64(r.requests, at + 8),
    );
  }
  return NO_REPLY;
};

const init: OperationHandler = (r, { session }) => session.init(r);

const destroy: OperationHandler = (_r, { session }) => {
  session.reset();
  return 0;
};

const interrupt: OperationHandler = () => NO_REPLY;

const rows: readonly Operation[] = [
  { name: 'LOOKUP', opcode: Opcode.LOOKUP, inBytes: 2, handle: lookup },
  { name: 'FORGET', opcode: Opcode.FORGET, inBytes: ForgetIn.bytes, handle: forget },
  { name: 'GETATTR', opcode: Opcode.GETATTR, inBytes: 0, handle: getattr },
  { name: 'READLINK', opcode: Opcode.READLINK, inBytes: 0, handle: readlink },
  { name: 'OPEN', opcode: Opcode.OPEN, inBytes: OpenIn.bytes, handle: open },
  { name: 'READ', opcode: Opcode.READ, inBytes: ReadIn.bytes, handle: read },
  { name: 'STATFS', opcode: Opcode.STATFS, inBytes: 0, handle: statfs },
  { name: 'RELEASE', opcode: Opcode.RELEASE, inBytes: ReleaseIn.bytes, handle: release },
  { name: 'GETXATTR', opcode: Opcode.GETXATTR, inBytes: GetxattrIn.bytes + 2, handle: getxattr },
  { name: 'LISTXATTR', opcode: Opcode.LISTXATTR, inBytes: GetxattrIn.bytes, handle: listxattr },
  { name: 'INIT', opcode: Opcode.INIT, inBytes: 8, handle: init },
  { name: 'OPENDIR', opcode: Opcode.OPENDIR, inBytes: OpenIn.bytes, handle: opendir },
  { name: 'READDIR', opcode: Opcode.READDIR, inBytes: ReadIn.bytes, handle: readdir },
  { name: 'RELEASEDIR', opcode: Opcode.RELEASEDIR, inBytes: ReleaseIn.bytes, handle: release },
  { name: 'INTERRUPT', opcode: Opcode.INTERRUPT, inBytes: 0, handle: interrupt },
  { name: 'DESTROY', opcode: Opcode.DESTROY, inBytes: 0, handle: destroy },
  { name: 'BATCH_FORGET', opcode: Opcode.BATCH_FORGET, inBytes: BatchForgetIn.bytes, handle: batchForget },
  { name: 'READDIRPLUS', opcode: Opcode.READDIRPLUS, inBytes: ReadIn.bytes, handle: readdirplus },
  { name: 'LSEEK', opcode: Opcode.LSEEK, inBytes: LseekIn.bytes, handle: lseek },
  { name: 'FSYNC', opcode: Opcode.FSYNC, inBytes: 0, handle: nothing },
  { name: 'FSYNCDIR', opcode: Opcode.FSYNCDIR, inBytes: 0, handle: nothing },
  { name: 'SYNCFS', opcode: Opcode.SYNCFS, inBytes: 0, handle: nothing },
];

const WRITING = [
  'SETATTR',
  'SYMLINK',
  'MKNOD',
  'MKDIR',
  'UNLINK',
  'RMDIR',
  'RENAME',
  'LINK',
  'WRITE',
  'SETXATTR',
  'REMOVEXATTR',
  'CREATE',
  'FALLOCATE',
  'RENAME2',
  'COPY_FILE_RANGE',
  'TMPFILE',
] as const;

/**
 * Operations by opcode. What is missing answers ENOSYS and the client stops asking: FLUSH and ACCESS among them, which
 * no read-only tree needs (default_permissions is set).
 */
export const operations: readonly (Operation | undefined)[] = (() => {
  const table: (Operation | undefined)[] = new Array(64).fill(undefined);
  for (const row of rows) table[row.opcode] = row;
  for (const name of WRITING) {
    const opcode = Opcode[name];
    table[opcode] = { name, opcode, inBytes: 0, handle: readOnly };
  }
  return table;
})();
