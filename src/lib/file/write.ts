import fs from 'node:fs';
import { promisify } from 'node:util';

const write = promisify(fs.write);

/** The kernel takes less than 2 GiB at a time. */
const WRITE_BYTES_MAX = 1 << 30;

/**
 * Writes all of `bytes` from `position` on, or where the descriptor is (null). Pool threads wait for the disk.
 * Rejects with the system's error.
 */
export async function writeAll(fd: number, bytes: Uint8Array, position: number | null = null): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const size = Math.min(bytes.length - done, WRITE_BYTES_MAX);
    const at = position === null ? null : position + done;
    done += (await write(fd, bytes, done, size, at)).bytesWritten;
  }
}
