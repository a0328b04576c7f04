/** A chunk of an image's version, as the database has it. Equal rows are one object. Sizes and offsets in bytes. */
export interface ChunkRow {
  readonly image: string;
  readonly version: string;
  readonly blobId: string;
  /** Hexadecimal. */
  readonly digest: string;
  readonly crc32c: number;
  readonly compressedSize: number;
  readonly uncompressedSize: number;
  readonly compressedOffset: number;
  readonly uncompressedOffset: number;
}
