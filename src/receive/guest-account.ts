import { TokenBucket } from "./token-bucket.ts";

/**
 * How many invalid payloads a second of one guest are looked at. Refusing one takes 0.5 to 4 µs, so that a guest gets at
 * most a few per cent of a core for rubbish; no agent sends as many spans, good ones or bad.
 */
export const MAX_INVALID_PER_SECOND = 10_000;

/** What all connections of one guest use together: a guest gains nothing by making more of them. */
export class GuestAccount {
  connections = 0;
  /** Bytes held of frames that are not whole yet. */
  heldBytes = 0;
  /** Absent where the rate of spans has no limit. */
  readonly spans: TokenBucket | undefined;
  readonly invalid: TokenBucket;

  /** @param spansPerSecond 0 for no limit. @param now monotonic milliseconds. */
  constructor(spansPerSecond: number, now: number) {
    this.spans = spansPerSecond > 0 ? new TokenBucket(spansPerSecond, now) : undefined;
    this.invalid = new TokenBucket(MAX_INVALID_PER_SECOND, now);
  }

  /** In how many milliseconds its rates allow as much as a new account's. */
  untilRested(now: number): number {
    return Math.max(this.spans?.untilFull(now) ?? 0, this.invalid.untilFull(now));
  }
}
