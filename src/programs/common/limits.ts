import type { Log } from './logging.ts';

/**
 * Raises the limit of open files to `wanted` (0 = leave). A refusal is a warning: most daemons serve a few dozen files.
 */
export async function raiseOpenFiles(wanted: number, log: Log): Promise<void> {
  if (wanted === 0) return;
  try {
    const { raiseOpenFilesLimit } = await import('../../native/libc.ts');
    const { soft } = raiseOpenFilesLimit(wanted);
    if (soft < wanted) log.info({ wanted, limit: soft }, 'RLIMIT_NOFILE stays below what was asked for');
  } catch (error) {
    log.warn({ wanted, cause: String(error) }, 'RLIMIT_NOFILE cannot be raised');
  }
}
