import { performance } from "node:perf_hooks";

/** How long a log that has spoken keeps quiet, milliseconds: what goes on all the time is told six times a minute. */
export const QUIET_MS = 10_000;

/** Lines of one state within {@link QUIET_MS}: that it began and that it ended. */
const LINES_PER_PERIOD = 2;

/** What to log when a state has begun or ended. */
export interface StateLines {
  begun(): void;
  /** @param seconds how long the state lasted. @param times how often it began in that time, at least 1. */
  ended(seconds: number, times: number): void;
}

/**
 * Logs that a state began and ended, once each and at once; but a state that flickers is taken for one that lasts,
 * until it has kept still for a while. What is in the log last is always true a few seconds later.
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

  /** The state is on or off now; costs nothing when that is no change. */
  set(active: boolean): void {
    if (active === this.#active) return;
    this.#active = active;
    if (active) this.#times++;
    this.#settle();
  }

  /** Says now what is still to be said. */
  close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#active !== this.#logged) this.#speak(performance.now());
  }

  #settle(): void {
    if (this.#active === this.#logged || this.#timer !== undefined) return;
    const now = performance.now();
    if (now >= this.#periodEnd) {
      this.#periodEnd = now + this.#quietMs;
      this.#linesInPeriod = 0;
    }
    if (this.#linesInPeriod < LINES_PER_PERIOD) {
      this.#speak(now);
      return;
    }
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#settle();
    }, this.#periodEnd - now);
    // A process that has nothing else to do ends without it; `close` says the rest.
    this.#timer.unref();
  }

  #speak(now: number): void {
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
 * Logs something that happens to spans again and again: the first time at once, then at most once in a while, with the
 * sum.
 */
export class EventLog {
  readonly #line: (spans: number, detail: string) => void;
  readonly #quietMs: number;
  #spans = 0;
  /** The latest, which may be empty; absent where there is nothing to say. */
  #detail: string | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** @param line logs what has happened to `spans` spans since it was called last, with the latest `detail`. */
  constructor(line: (spans: number, detail: string) => void, quietMs = QUIET_MS) {
    this.#line = line;
    this.#quietMs = quietMs;
  }

  note(spans: number, detail: string): void {
    this.#spans += spans;
    this.#detail = detail;
    if (this.#timer === undefined) this.#speak();
  }

  /** Says now what is still to be said. */
  close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#say();
  }

  #speak(): void {
    this.#say();
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      if (this.#detail !== undefined) this.#speak();
    }, this.#quietMs);
    this.#timer.unref();
  }

  #say(): void {
    if (this.#detail !== undefined) this.#line(this.#spans, this.#detail);
    this.#spans = 0;
    this.#detail = undefined;
  }
}
