/** What `npm run check` and CI hold the tree to, with the reasons. */

export const FILE_LINES_MAX = 500;

/** Files of `wire` are tables of layouts: reading one from top to bottom is not the point. */
export const TABLE_FILE_LINES_MAX = 700;

/** A function fits a screen. */
export const FUNCTION_LINES_MAX = 70;

/** Of code, the formatter's limit is 110; a comment may end a little behind. */
export const COMMENT_COLUMNS_MAX = 120;
