import { describeError, type Logger } from "../base/log.ts";
import { EventLog, StateLog } from "../base/quiet-log.ts";
import { backoff, type RetrySettings } from "./backoff.ts";

/**
 * The longest wait that a collector may ask for, milliseconds. A wrong date or a slip of a thousand seconds must not
 * stop delivery for days.
 */
export const LONGEST_ASKED_MS = 5 * 60_000;

/**
 * The last try before a deadline begins this long before it, milliseconds: a collector that is there answers by then.
 */
export const LAST_TRY_MS = 1000;

/** How much too early a timer may fire, milliseconds. */
const EARLY_MS = 10;

/** A request that was not answered, or told to come again. */
export interface Failure {
  readonly error: Error;
  /** How long the collector asked to wait, milliseconds. */
  readonly retryAfterMs?: number | undefined;
}

/** What an outage needs of the sender around it. */
export interface OutageOptions {
  readonly log: Logger;
  readonly retry: RetrySettings;
  /** Monotonic milliseconds. */
  readonly now: () => number;
  /** It is time for the next try. */
  readonly onRetry: () => void;
}

/**
 * The times when the collector takes nothing: one request at a time tries, at growing intervals.
 *
 * ```
 *        failed                     the wait is over
 * none ─────────▶ waiting ◀────────────────────────────▶ trying
 *   ▲                            failed again              │
 *   └──────────────────────────────────────────────────────┘
 *                     answered
 * ```
 */
export class Outage {
  readonly #options: OutageOptions;
  #isActive = false;
  /** Tries that failed in a row; those that were under way when the first failed count as one. */
  #tries = 0;
  /** Nothing is sent before this, monotonic milliseconds. */
  #notBefore = 0;
  /**
   * The same by the collector's own word (Retry-After): a request that was under way by then and succeeds does not end
   * the outage.
   */
  #askedUntil = 0;
  /** The process ends then, so that no try later than that makes sense, monotonic milliseconds. */
  #deadline = Infinity;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #error: Error | undefined;
  readonly #outageLog: StateLog;
  readonly #askedLog: EventLog;

  constructor(options: OutageOptions) {
    this.#options = options;
    const { log } = options;
    this.#outageLog = new StateLog({
      begun: () =>
        log.warn("collector unreachable: spans are held until it is back", {
          error: this.#error && describeError(this.#error),
        }),
      ended: (seconds, times) => log.info("collector is back", { seconds, times }),
    });
    this.#askedLog = new EventLog((_, until) =>
      log.warn("collector asks for a pause: nothing is sent until then", {
        until,
        error: this.#error && describeError(this.#error),
      })
    );
  }

  get isActive(): boolean {
    return this.#isActive;
  }

  /** Whether nothing may be sent now. */
  get isWaiting(): boolean {
    return this.#timer !== undefined;
  }

  /** Whether the deadline leaves time for no more tries. */
  get isFutile(): boolean {
    return this.isWaiting && this.#notBefore >= this.#deadline;
  }

  /** The collector has not answered, or asked for time: sets the time of the next try. */
  failed({ error, retryAfterMs = 0 }: Failure): void {
    const now = this.#options.now();
    this.#error = error;
    const askedMs = Math.min(retryAfterMs, LONGEST_ASKED_MS);
    this.#askedUntil = Math.max(this.#isActive ? this.#askedUntil : 0, now + askedMs);
    if (!this.#isActive) this.#tries = this.#notBefore = 0;
    this.#isActive = true;
    this.#outageLog.set(true);
    // This is longer than it would have waited by itself, and an operator may wonder why.
    if (askedMs > this.#options.retry.maxMs) {
      this.#askedLog.note(0, new Date(Date.now() + askedMs).toISOString());
    }
    // Requests that were under way together fail together: one failure.
    if (!this.isWaiting) this.#tries++;
    else if (askedMs <= this.#notBefore - now) return;
    this.#wait(now + backoff(this.#options.retry, this.#tries, askedMs));
  }

  /** The collector has answered, even if only to refuse. */
  answered(): void {
    if (!this.#isActive || this.#options.now() < this.#askedUntil) return;
    this.#end();
    this.#outageLog.set(false);
  }

  /**
   * The process ends at a deadline. The next try is made at once, and the last one, whatever the collector asks for,
   * shortly before: what has not been delivered by then is lost.
   *
   * @param deadline monotonic milliseconds.
   */
  finish(deadline: number): void {
    this.#deadline = deadline;
    this.#stopTimer();
    this.#askedUntil = this.#tries = 0;
  }

  close(): void {
    this.#stopTimer();
    this.#outageLog.close();
    this.#askedLog.close();
  }

  #end(): void {
    this.#stopTimer();
    this.#isActive = false;
  }

  #wait(until: number): void {
    this.#stopTimer();
    const now = this.#options.now();
    const lastTry = this.#deadline - LAST_TRY_MS;
    this.#notBefore = until > lastTry && lastTry - now > EARLY_MS ? lastTry : until;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#options.onRetry();
    }, Math.max(0, this.#notBefore - now));
  }

  #stopTimer(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
