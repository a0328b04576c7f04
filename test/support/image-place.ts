/** Where an image is. */
export interface ImagePlace {
  /** The bootstrap, or the blob at whose end it is. */
  readonly bootstrap: string;
  /**
   * Searched in this order; blobs in the first one belong to this image alone, those in the others may be another's.
   */
  readonly blobDirs: readonly [string, ...string[]];
}
