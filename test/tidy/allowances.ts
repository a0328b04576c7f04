/** What is still to be mended: an entry that is no longer needed fails its test, too. */

/** Circles of files: the paths of each in order. */
export const CIRCLES: readonly (readonly string[])[] = [];

/** Exports that nothing in the product imports: PATH#NAME. */
export const DEAD_EXPORTS: readonly string[] = [];

/** Lines with comments beyond the last column, by room or top directory. */
export const LONG_COMMENTS: Record<string, number> = {};
