import { isPlainText } from '../../wire/rafs/bytes.ts';

/** Whether an id can name a file in blob and cache directories, and be named in one line of a log. */
export function isBlobName(id: string): boolean {
  return id !== '' && id !== '.' && id !== '..' && !id.includes('/') && isPlainText(id);
}
