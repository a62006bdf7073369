/**
 * A token bucket that goes into debt: a chunk that is already read is taken whole, and the wait afterwards pays
 * for it. Holds one second's worth at most, or what it is told.
 */
export class TokenBucket {
  readonly #perSecond: number;
  readonly #capacity: number;
  #tokens: number;
  #filledAt: number;

  /** @param perSecond tokens a second, above 0. @param now monotonic milliseconds. */
  constructor(perSecond: number, now: number, capacity = perSecond) {
    this.#perSecond = perSecond;
    this.#tokens = this.#capacity = capacity;
    this.#filledAt = now;
  }

  /** Takes tokens; returns for how many milliseconds nothing more should be taken, 0 when there are some left. */
  take(tokens: number, now: number): number {
    this.#fill(now);
    this.#tokens -= tokens;
    return this.#millisecondsUntil(0);
  }

  /** Undoes a {@link take} of so many tokens. */
  giveBack(tokens: number): void {
    this.#tokens += tokens;
  }

  /** In how many milliseconds it is as if nothing had ever been taken. */
  untilFull(now: number): number {
    this.#fill(now);
    return this.#millisecondsUntil(this.#capacity);
  }

  #fill(now: number): void {
    const earned = ((now - this.#filledAt) / 1000) * this.#perSecond;
    this.#filledAt = now;
    this.#tokens = Math.min(this.#capacity, this.#tokens + earned);
  }

  #millisecondsUntil(tokens: number): number {
    const missing = tokens - this.#tokens;
    return missing <= 0 ? 0 : Math.ceil((missing / this.#perSecond) * 1000);
  }
}
