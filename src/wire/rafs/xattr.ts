/** v5: u64 size of the pairs, then pairs of u32 size | name | NUL | value, zero-padded to 8. */
export const XattrTableV5 = { size: 0, pairs: 8 } as const;
export const XattrPairV5 = { size: 0, name: 4 } as const;

/** v6: EROFS inline xattrs: a 12-byte header, then entries padded to 4. */
export const XattrBodyV6 = { nameFilter: 0, sharedCount: 4, size: 12 } as const;
export const XattrEntryV6 = { nameLength: 0, nameIndex: 1, valueSize: 2, size: 4 } as const;

/** Name prefixes by EROFS name index; undefined = not used by RAFS. */
export const xattrPrefixes: readonly (Uint8Array | undefined)[] = [
  undefined,
  Buffer.from('user.'),
  Buffer.from('system.posix_acl_access'),
  Buffer.from('system.posix_acl_default'),
  Buffer.from('trusted.'),
  undefined,
  Buffer.from('security.'),
];

/** Bytes of the xattr area of a v6 inode, from its i_xattr_icount. */
export function xattrBytesV6(count: number): number {
  return count === 0 ? 0 : XattrBodyV6.size + (count - 1) * 4;
}
