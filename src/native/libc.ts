/** Cold calls into libc through koffi, which is loaded with the first of them. They throw SystemError. */
import { createRequire } from 'node:module';
import type Koffi from 'koffi';
import { SystemError } from './system-error.ts';

interface Libc {
  getrlimit(resource: number, limits: BigUint64Array): number;
  setrlimit(resource: number, limits: BigUint64Array): number;
  alarm(seconds: number): number;
  _exit(status: number): void;
  fcntl(fd: number, command: number, type: 'int', value: number): number;
  fallocate(fd: number, mode: number, offset: number, length: number): number;
  errno(): number;
}

let loaded: Libc | null = null;

function libc(): Libc {
  if (loaded !== null) return loaded;
  const koffi = createRequire(import.meta.url)('koffi') as typeof Koffi;
  const library = koffi.load('libc.so.6');
  const declare = <T>(prototype: string): T => library.func(prototype) as unknown as T;
  loaded = {
    getrlimit: declare('int getrlimit(int resource, uint64_t *limits)'),
    setrlimit: declare('int setrlimit(int resource, const uint64_t *limits)'),
    alarm: declare('uint alarm(uint seconds)'),
    _exit: declare('void _exit(int status)'),
    fallocate: declare('int fallocate(int fd, int mode, int64_t offset, int64_t length)'),
    fcntl: declare('int fcntl(int fd, int command, ...)'),
    errno: () => koffi.errno(),
  };
  return loaded;
}

function checkErrno(result: number, syscall: string): void {
  if (result < 0) throw new SystemError(-libc().errno(), syscall);
}

const RLIMIT_NOFILE = 7;

/** Soft and hard limit. */
interface OpenFilesLimit {
  readonly soft: number;
  readonly hard: number;
}

/** Raises the soft limit to `wanted`, and the hard one if allowed; never lowers. Answers what holds now. */
export function raiseOpenFilesLimit(wanted: number): OpenFilesLimit {
  const limits = new BigUint64Array(2);
  checkErrno(libc().getrlimit(RLIMIT_NOFILE, limits), 'getrlimit');
  const [soft, hard] = [limits[0]!, limits[1]!];
  const target = BigInt(wanted);
  if (soft >= target) return { soft: Number(soft), hard: Number(hard) };
  const set = (newHard: bigint): number => {
    limits.set([target < newHard ? target : newHard, newHard]);
    return libc().setrlimit(RLIMIT_NOFILE, limits);
  };
  // Beyond the hard limit only a privileged process comes; any other gets as far as that limit.
  if (target <= hard || set(target) < 0) checkErrno(set(hard), 'setrlimit');
  return { soft: Number(limits[0]), hard: Number(limits[1]) };
}

const F_SETPIPE_SZ = 1031;

/** Lets a pipe hold `bytes` before its writer waits; one that may not be so large stays as it is. fcntl(2). */
export function growPipe(fd: number, bytes: number): void {
  libc().fcntl(fd, F_SETPIPE_SZ, 'int', bytes);
}

const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;

/** Gives the blocks of a part of a file back; it reads as zeros then. fallocate(2). */
export function punchHole(fd: number, offset: number, length: number): void {
  const mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  checkErrno(libc().fallocate(fd, mode, offset, length), 'fallocate');
}

/** Ends the process at once: nothing is waited for, no thread that hangs in a system call either. _exit(2). */
export function exitNow(status: number): void {
  libc()._exit(status);
}

/** Has the kernel end the process if it is still there after so many seconds. alarm(2). */
export function killAfter(seconds: number): void {
  libc().alarm(seconds);
}
