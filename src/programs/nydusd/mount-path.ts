import { normalisePath, PathError } from '../../lib/path.ts';
import { mountError } from '../../service/nydusd/errors.ts';

/** A mountpoint in its one spelling: absolute, no `.`, `..`, doubled or trailing slash. Throws the API's error. */
export function normaliseMountpoint(path: string): string {
  try {
    return normalisePath(path);
  } catch (error) {
    if (!(error instanceof PathError)) throw error;
    const shown = JSON.stringify(path.slice(0, 256));
    throw mountError(
      'VFS failed to handle request, PathWalk(Os { code: 22, kind: InvalidInput, message: "Invalid argument" })',
      `mountpoint ${shown} ${error.message}`,
      error,
    );
  }
}
