import type { Xattr } from '../../native/xattr.ts';
import { xattrPrefixes } from '../../wire/rafs/xattr.ts';
import { ImageError } from './error.ts';

/** XATTR_NAME_MAX of Linux and the value size which both versions' fields and readers take. */
const XATTR_NAME_MAX = 255;
const XATTR_VALUE_MAX = 0x10000;

/** Throws ImageError naming `path` if an image cannot hold one of its extended attributes. */
export function checkXattrs(path: string, xattrs: readonly Xattr[]): void {
  for (const { name, value } of xattrs) {
    const where = `${path}: extended attribute ${name.toString()}`;
    if (!isStorable(name)) {
      throw new ImageError(
        'IMAGE_BAD_XATTR',
        `${where}: images hold user., trusted., security. and POSIX ACL attributes only`,
      );
    }
    if (name.length > XATTR_NAME_MAX)
      throw new ImageError('IMAGE_BAD_XATTR', `${where}: name longer than ${XATTR_NAME_MAX} bytes`);
    if (value.length > XATTR_VALUE_MAX)
      throw new ImageError('IMAGE_BAD_XATTR', `${where}: value longer than ${XATTR_VALUE_MAX} bytes`);
  }
}

function isStorable(name: Buffer): boolean {
  return xattrPrefixes.some((prefix) => {
    if (prefix === undefined) return false;
    const whole = prefix[prefix.length - 1] !== 0x2e;
    return whole ? name.equals(prefix) : name.subarray(0, prefix.length).equals(prefix);
  });
}
