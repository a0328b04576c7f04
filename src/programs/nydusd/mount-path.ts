import { normalisePath, PathError } from '../../lib/path.ts';
import { ControlError } from '../../service/nydusd/control.ts';

/** A mountpoint in its one spelling: absolute, no `.`, `..`, doubled or trailing slash. Throws MOUNT_BAD_PATH. */
export function normaliseMountpoint(path: string): string {
  try {
    return normalisePath(path);
  } catch (error) {
    if (!(error instanceof PathError)) throw error;
    const shown = JSON.stringify(path.slice(0, 256));
    throw new ControlError('MOUNT_BAD_PATH', null, `mountpoint ${shown} ${error.message}`, { cause: error });
  }
}
