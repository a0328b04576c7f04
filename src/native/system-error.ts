import { getSystemErrorName } from 'node:util';

/** A system call failed: `errno` (negative, as Node has it), `code` (`ENOENT`) and `syscall`. */
export class SystemError extends Error {
  readonly errno: number;
  readonly code: string;
  readonly syscall: string;
  constructor(errno: number, syscall: string) {
    const code = getSystemErrorName(errno);
    super(`${syscall}: ${code}`);
    this.name = 'SystemError';
    this.errno = errno;
    this.code = code;
    this.syscall = syscall;
  }
}

/** Passes on a result ≥ 0; a negative one (-errno) becomes a SystemError of `syscall`. */
export function checkSyscall(result: number, syscall: string): number {
  if (result < 0) throw new SystemError(result, syscall);
  return result;
}
