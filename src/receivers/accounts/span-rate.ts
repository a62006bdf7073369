import { TokenBucket } from "./token-bucket.ts";

/**
 * For how long a guest may have sent spans in advance, seconds. It is paused for no longer than that: an agent that is
 * not read for 30 s tears its stream.
 */
export const MOST_DEBT_S = 15;
/** How long a connection that is read again has to show that something comes, before the next one is, milliseconds. */
const STEP_MS = 10;

/** A connection that waits until its guest may send spans again. */
export interface RateWaiter {
  resumeForRate(): void;
}

/**
 * The rate of spans of one guest, over all its connections.
 *
 * A chunk that has been read is taken whole, and paid for by a pause. Connections are read again one after the other,
 * because each brings as much as it has in its socket. Spans that would have to be paid for with more than
 * {@link MOST_DEBT_S} are refused.
 */
export class SpanRate {
  readonly #bucket: TokenBucket;
  readonly #now: () => number;
  readonly #waiting = new Set<RateWaiter>();
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** @param perSecond above 0. @param now monotonic milliseconds. */
  constructor(perSecond: number, now: () => number) {
    this.#now = now;
    this.#bucket = new TokenBucket(perSecond, now());
  }

  /** Whether a guest that has sent so many spans may be given them; false if they are to be dropped. */
  take(spans: number): boolean {
    const now = this.#now();
    if (this.#bucket.take(spans, now) <= MOST_DEBT_S * 1000) return true;
    this.#bucket.giveBack(spans);
    return false;
  }

  /** Whether {@link take} would return true for this many spans. */
  has(spans: number): boolean {
    const isGiven = this.#bucket.take(spans, this.#now()) <= MOST_DEBT_S * 1000;
    this.#bucket.giveBack(spans);
    return isGiven;
  }

  /** For how long no more should be read, milliseconds. */
  get wait(): number {
    return this.#bucket.take(0, this.#now());
  }

  /** In how many milliseconds it is as if no spans had ever been sent. */
  get untilFull(): number {
    return this.#bucket.untilFull(this.#now());
  }

  /** Calls `waiter` back when it is its turn to be read again. */
  enqueue(waiter: RateWaiter): void {
    this.#waiting.add(waiter);
    this.#timer ??= this.#wakeAfter(this.wait);
  }

  /** Forgets a waiter. */
  leave(waiter: RateWaiter): void {
    this.#waiting.delete(waiter);
    if (this.#waiting.size > 0) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #wakeAfter(ms: number): ReturnType<typeof setTimeout> {
    return setTimeout(() => this.#wake(), Math.max(ms, STEP_MS));
  }

  #wake(): void {
    this.#timer = undefined;
    const { wait } = this;
    if (wait === 0) {
      const [waiter] = this.#waiting;
      if (waiter !== undefined) {
        this.#waiting.delete(waiter);
        waiter.resumeForRate();
      }
    }
    if (this.#waiting.size > 0) this.#timer ??= this.#wakeAfter(wait);
  }
}
