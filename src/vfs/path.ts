/** Thrown for a mountpoint that is no absolute path. */
export class PathError extends Error {
  readonly code = 'VFS_BAD_PATH';
}

const NAME_BYTES_MAX = 255;

/**
 * Names of an absolute path: `.` and empty names are skipped, `..` goes to the parent and stops at the root. Throws
 * PathError for a relative path, a NUL, or a name of more than 255 bytes.
 */
export function splitPath(path: string): string[] {
  if (!path.startsWith('/')) throw new PathError(`mountpoint must begin with '/', is '${path}'`);
  if (path.includes('\0')) throw new PathError('mountpoint must not contain a NUL');
  const names: string[] = [];
  for (const name of path.split('/')) {
    if (name === '' || name === '.') continue;
    if (name === '..') names.pop();
    else names.push(name);
    if (Buffer.byteLength(name) > NAME_BYTES_MAX) {
      throw new PathError(
        `each name of a mountpoint has at most ${NAME_BYTES_MAX} bytes: '${name.slice(0, 40)}…'`,
      );
    }
  }
  return names;
}

/** The path in its one normal form, e.g. `/foo/bar`, or `/`. */
export function normalisePath(path: string): string {
  return `/${splitPath(path).join('/')}`;
}
