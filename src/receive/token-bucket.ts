/**
 * A token bucket that goes into debt: a chunk that is already read is taken whole, and the wait afterwards pays
 * for it. Holds one second's worth at most.
 */
export class TokenBucket {
  readonly #perSecond: number;
  #tokens: number;
  #filledAt: number;

  /** @param perSecond tokens a second, above 0. @param now monotonic milliseconds. */
  constructor(perSecond: number, now: number) {
    this.#perSecond = perSecond;
    this.#tokens = perSecond;
    this.#filledAt = now;
  }

  /** Takes tokens; returns for how many milliseconds nothing more should be taken, 0 when there are some left. */
  take(tokens: number, now: number): number {
    const earned = ((now - this.#filledAt) / 1000) * this.#perSecond;
    this.#filledAt = now;
    this.#tokens = Math.min(this.#perSecond, this.#tokens + earned) - tokens;
    return this.#tokens >= 0 ? 0 : Math.ceil((-this.#tokens / this.#perSecond) * 1000);
  }
}
