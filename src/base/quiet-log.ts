import { performance } from "node:perf_hooks";

/** How long a log stays quiet after a line, milliseconds, so that what never stops is logged six times a minute. */
export const QUIET_MS = 10_000;

/** Lines about one state within {@link QUIET_MS}: that it began, and that it ended. */
const LINES_PER_PERIOD = 2;

/** What to log when a state has begun or ended. */
export interface StateLines {
  begun(): void;
  /** @param seconds how long the state lasted. @param times how often it began in that time, at least once. */
  ended(seconds: number, times: number): void;
}

/**
 * Logs at once that a state began, and that it ended. A flapping state counts as continuous until it settles. The last
 * line in the log is always true a few seconds later.
 */
export class StateLog {
  readonly #lines: StateLines;
  readonly #quietMs: number;
  #active = false;
  #logged = false;
  #since = 0;
  #times = 0;
  #periodEnd = -Infinity;
  #linesInPeriod = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(lines: StateLines, quietMs = QUIET_MS) {
    this.#lines = lines;
    this.#quietMs = quietMs;
  }

  get active(): boolean {
    return this.#active;
  }

  /** Sets whether the state is on. Costs nothing if it does not change. */
  set(active: boolean): void {
    if (active === this.#active) return;
    this.#active = active;
    if (active) this.#times++;
    this.#settle();
  }

  /** Logs now what is still to be logged. */
  close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#active !== this.#logged) this.#logState(performance.now());
  }

  #settle(): void {
    if (this.#active === this.#logged || this.#timer !== undefined) return;
    const now = performance.now();
    if (now >= this.#periodEnd) {
      this.#periodEnd = now + this.#quietMs;
      this.#linesInPeriod = 0;
    }
    if (this.#linesInPeriod < LINES_PER_PERIOD) {
      this.#logState(now);
      return;
    }
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#settle();
    }, this.#periodEnd - now);
    // A process that has nothing else to do may end without it, because `close` logs the rest.
    this.#timer.unref();
  }

  #logState(now: number): void {
    this.#linesInPeriod++;
    this.#logged = this.#active;
    if (this.#active) {
      this.#since = now;
      this.#lines.begun();
    } else {
      this.#lines.ended((now - this.#since) / 1000, this.#times);
      this.#times = 0;
    }
  }
}

/**
 * Logs something that happens to spans again and again: the first time at once, and then at most once in a while with
 * the sum.
 */
export class EventLog {
  readonly #line: (spans: number, detail: string) => void;
  readonly #quietMs: number;
  #spans = 0;
  /** The latest detail, which may be empty; undefined if there is nothing to log. */
  #detail: string | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** @param line logs what happened to `spans` spans since its last call, with the latest `detail`. */
  constructor(line: (spans: number, detail: string) => void, quietMs = QUIET_MS) {
    this.#line = line;
    this.#quietMs = quietMs;
  }

  note(spans: number, detail: string): void {
    this.#spans += spans;
    this.#detail = detail;
    if (this.#timer === undefined) this.#logAndWait();
  }

  /** Logs now what is still to be logged. */
  close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#log();
  }

  #logAndWait(): void {
    this.#log();
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      if (this.#detail !== undefined) this.#logAndWait();
    }, this.#quietMs);
    this.#timer.unref();
  }

  #log(): void {
    if (this.#detail !== undefined) this.#line(this.#spans, this.#detail);
    this.#spans = 0;
    this.#detail = undefined;
  }
}
