/** What `hashCreate` made. */
export type HashHandle = object & { readonly hash: unique symbol };

/** SHA-256 of what comes piece by piece, on pool threads where wanted. */
export interface HashCalls {
  /** A SHA-256 in the making; freed with its last reference. -ENOMEM. */
  hashCreate(): HashHandle | number;
  /** Adds bytes. 0; -EBUSY while `hashUpdateAsync` runs. */
  hashUpdate(hash: HashHandle, bytes: Uint8Array): number;
  /** Adds bytes on a pool thread; `done` gets 0 or -errno. -EBUSY while another runs: order matters. */
  hashUpdateAsync(hash: HashHandle, bytes: Uint8Array, done: (result: number) => void): number;
  /** Puts the SHA-256 of the bytes so far into the first 32 bytes of `out`; more may follow. -EBUSY as above. */
  hashDigest(hash: HashHandle, out: Uint8Array): number;
}
