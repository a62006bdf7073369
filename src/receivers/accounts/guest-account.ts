import { LONGEST_TIMER_MS } from "../../base/longest-timer.ts";
import { SpanRate } from "./span-rate.ts";
import { TokenBucket } from "./token-bucket.ts";
import { AccountTurns } from "./turns.ts";

/**
 * How many invalid payloads a guest may send, for long and at once. Refusing one takes 0.5 to 4 µs, and a read brings
 * up to 58,000 of them: a guest gets at most a few per cent of a core for rubbish, and a few tenths of a second now and
 * then. No agent sends as many spans, good or bad.
 */
export const MAX_INVALID_PER_SECOND = 10_000;
export const MAX_INVALID_AT_ONCE = 100_000;

/** What all connections of one guest use together: a guest gains nothing by making more of them. */
export class GuestAccount<Connection> {
  readonly connections = new Set<Connection>();
  /** It is read although delivery has paused it: it could not wait any longer. Until delivery's pause ends. */
  isReadOn = false;
  /** Its part of the time that processing takes. */
  readonly turns = new AccountTurns();
  /** Bytes held of frames that are not whole yet. */
  heldBytes = 0;
  /** Absent where the rate of spans has no limit. */
  readonly spans: SpanRate | undefined;
  readonly invalid: TokenBucket;
  #rested: ReturnType<typeof setTimeout> | undefined;

  /** @param spansPerSecond 0 for no limit. @param now monotonic milliseconds. */
  constructor(spansPerSecond: number, now: () => number) {
    this.spans = spansPerSecond > 0 ? new SpanRate(spansPerSecond, now) : undefined;
    this.invalid = new TokenBucket(MAX_INVALID_PER_SECOND, now(), MAX_INVALID_AT_ONCE);
  }

  get isUnused(): boolean {
    return this.connections.size === 0;
  }

  /** Calls `look` once its rates allow as much as a new account's, at once where they do; of several calls the last. */
  whenRested(now: number, look: () => void): void {
    clearTimeout(this.#rested);
    const wait = Math.max(this.spans?.untilFull ?? 0, this.invalid.untilFull(now));
    if (wait === 0) return look();
    this.#rested = setTimeout(look, Math.min(wait, LONGEST_TIMER_MS));
    this.#rested.unref();
  }
}
