import { mountError } from '../../service/nydusd/errors.ts';

const PATH_BYTES_MAX = 4096;
const NAME_BYTES_MAX = 255;

/** A mountpoint in its one spelling: absolute, no `.`, `..`, doubled or trailing slash. Throws the API's error. */
export function normalizeMountpoint(path: string): string {
  const refuse = (rule: string) =>
    mountError(
      'VFS failed to handle request, PathWalk(Os { code: 22, kind: InvalidInput, message: "Invalid argument" })',
      `mountpoint ${JSON.stringify(path.slice(0, 256))} ${rule}`,
    );
  if (!path.startsWith('/')) throw refuse('must begin with /');
  if (path.includes('\0')) throw refuse('must not hold a NUL byte');
  if (Buffer.byteLength(path) > PATH_BYTES_MAX) throw refuse(`must be at most ${PATH_BYTES_MAX} bytes`);
  const parts: string[] = [];
  for (const part of path.split('/')) {
    if (part === '' || part === '.') continue;
    if (Buffer.byteLength(part) > NAME_BYTES_MAX)
      throw refuse(`has a name of more than ${NAME_BYTES_MAX} bytes`);
    if (part === '..') parts.pop();
    else parts.push(part);
  }
  return `/${parts.join('/')}`;
}
