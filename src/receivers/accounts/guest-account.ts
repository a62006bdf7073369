import { LONGEST_TIMER_MS } from "../../base/longest-timer.ts";
import { TokenBucket } from "./token-bucket.ts";

/**
 * How many invalid payloads a guest may send, for long and at once. Refusing one takes 0.5 to 4 µs, and a read brings
 * up to 58,000 of them: a guest gets at most a few per cent of a core for rubbish, and a few tenths of a second now and
 * then. No agent sends as many spans, good or bad.
 */
export const MAX_INVALID_PER_SECOND = 10_000;
export const MAX_INVALID_AT_ONCE = 100_000;

/** What all connections of one guest use together: a guest gains nothing by making more of them. */
export class GuestAccount {
  connections = 0;
  /** Bytes held of frames that are not whole yet. */
  heldBytes = 0;
  /** Absent where the rate of spans has no limit. */
  readonly spans: TokenBucket | undefined;
  readonly invalid: TokenBucket;
  #rested: ReturnType<typeof setTimeout> | undefined;

  /** @param spansPerSecond 0 for no limit. @param now monotonic milliseconds. */
  constructor(spansPerSecond: number, now: number) {
    this.spans = spansPerSecond > 0 ? new TokenBucket(spansPerSecond, now) : undefined;
    this.invalid = new TokenBucket(MAX_INVALID_PER_SECOND, now, MAX_INVALID_AT_ONCE);
  }

  /** Calls `look` once its rates allow as much as a new account's, at once where they do; of several calls the last. */
  whenRested(now: number, look: () => void): void {
    clearTimeout(this.#rested);
    const wait = Math.max(this.spans?.untilFull(now) ?? 0, this.invalid.untilFull(now));
    if (wait === 0) return look();
    this.#rested = setTimeout(look, Math.min(wait, LONGEST_TIMER_MS));
    this.#rested.unref();
  }
}
