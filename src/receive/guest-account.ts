import type { TokenBucket } from "./token-bucket.ts";

/** What all connections of one guest use together: a guest gains nothing by making more of them. */
export class GuestAccount {
  connections = 0;
  /** Bytes held of frames that are not whole yet. */
  heldBytes = 0;
  /** Absent where the rate of spans has no limit. */
  readonly bucket: TokenBucket | undefined;

  constructor(bucket: TokenBucket | undefined) {
    this.bucket = bucket;
  }
}
