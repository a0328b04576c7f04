/** What `gzipIndexCreate` made. */
type GzipIndexHandle = object & { readonly gzipIndex: unique symbol };

/**
 * Places in the report of `gzipIndexRead`. Positions are bytes of the file (in) and of the data of all members (out).
 */
export const GzipReport = {
  /** Bytes used and produced by this call. */
  consumed: 0,
  produced: 1,
  /** And by all calls. */
  totalIn: 2,
  totalOut: 3,
  /** 1: between a member's header and its end, where a file must not end. */
  insideMember: 4,
  /** Where the block entered last begins or, behind the last of a member, where its trailer does. */
  boundaryIn: 5,
  /**
   * The last place where inflating can begin: its first bit is among the upper `blockBits` of `blockByte`, the byte
   * before `blockIn`.
   */
  blockIn: 6,
  blockOut: 7,
  blockBits: 8,
  blockByte: 9,
  dictionarySize: 10,
  size: 11,
} as const;

/** Reading gzip files with a view to places where inflating can begin. */
export interface GzipIndexCalls {
  /** An inflater of gzip data that knows where it could begin anew; freed with its last reference. -ENOMEM. */
  gzipIndexCreate(): GzipIndexHandle | number;
  /**
   * Inflates from `input` [inputStart, inputEnd) into `output` [outputStart, outputEnd) until that is full or the
   * input used up, over the ends of gzip members. Fills `report` (see GzipReport). 0; -EBADMSG on damage.
   */
  gzipIndexRead(
    index: GzipIndexHandle,
    input: Uint8Array,
    inputStart: number,
    inputEnd: number,
    output: Uint8Array,
    outputStart: number,
    outputEnd: number,
    report: Float64Array,
  ): number;
  /** Copies the dictionary of the block reported last, at most 32 KiB, to the start of `output`. Its length. */
  gzipIndexDictionary(index: GzipIndexHandle, output: Uint8Array): number;
}
