import { CodedError } from './coded-error.ts';

/** An absolute path cannot be used. The message is the rule that it breaks, to be put behind the path. */
export class PathError extends CodedError<
  'PATH_RELATIVE' | 'PATH_NUL' | 'PATH_TOO_LONG' | 'PATH_NAME_TOO_LONG'
> {}

/** Limits of Linux (limits.h). */
const PATH_BYTES_MAX = 4096;
const NAME_BYTES_MAX = 255;

/**
 * Names of an absolute path: `.` and empty names are skipped, `..` goes to the parent and stops at the root. Throws
 * PathError for a relative path, a NUL, a path of more than 4096 bytes or a name of more than 255.
 */
export function splitPath(path: string): string[] {
  if (!path.startsWith('/')) throw new PathError('PATH_RELATIVE', 'must begin with /');
  if (path.includes('\0')) throw new PathError('PATH_NUL', 'must not hold a NUL byte');
  if (Buffer.byteLength(path) > PATH_BYTES_MAX)
    throw new PathError('PATH_TOO_LONG', `must be at most ${PATH_BYTES_MAX} bytes`);
  const names: string[] = [];
  for (const name of path.split('/')) {
    if (name === '' || name === '.') continue;
    if (Buffer.byteLength(name) > NAME_BYTES_MAX)
      throw new PathError('PATH_NAME_TOO_LONG', `has a name of more than ${NAME_BYTES_MAX} bytes`);
    if (name === '..') names.pop();
    else names.push(name);
  }
  return names;
}

/** The path in its one normal form, e.g. `/foo/bar`, or `/`. Throws PathError. */
export function normalisePath(path: string): string {
  return `/${splitPath(path).join('/')}`;
}
