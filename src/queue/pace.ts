/**
 * How far guests may be ahead of a collector that takes requests, bytes of requests: half as much again as can be under
 * way (four requests of 1 MiB), so that a request is ready whenever one is answered, and a tenth of what the queue may
 * hold by default.
 */
export const AHEAD_BYTES = 6 * 1024 * 1024;

/**
 * Guests that were stopped are read again when they are ahead by less than this part, which is as much as can be under
 * way: not at every request.
 */
export const AHEAD_LOW_WATER = 2 / 3;

/**
 * How long guests wait for a collector that was taking requests but answers no more, milliseconds; then the whole queue
 * is theirs. An agent drops spans of its own when it cannot write for long.
 */
const PATIENCE_MS = 1000;

/**
 * Keeps guests at the pace of a collector that takes requests. What the collector will take soon costs nothing while it
 * waits in the kernel and in the agents, but memory while it waits here. The queue's own bound is for a collector that
 * is away.
 */
export class Pace {
  readonly #onImpatient: () => void;
  readonly #patienceMs: number;
  /** Whether the collector took the last request that it was given. */
  #taking = true;
  #ahead = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** @param onImpatient is called when guests have waited long enough: {@link isAhead} may say otherwise now. */
  constructor(onImpatient: () => void, patienceMs: number = PATIENCE_MS) {
    this.#onImpatient = onImpatient;
    this.#patienceMs = patienceMs;
  }

  /** Whether the collector took the last request that it was given, or was given none yet. */
  get isTaking(): boolean {
    return this.#taking;
  }

  /** Whether guests are to wait for the collector, with requests of so many bytes in the queue. */
  isAhead(bytes: number): boolean {
    this.#ahead = this.#taking && bytes >= (this.#ahead ? AHEAD_BYTES * AHEAD_LOW_WATER : AHEAD_BYTES);
    if (!this.#ahead) this.close();
    else {
      this.#timer ??= setTimeout(() => {
        this.refused();
        this.#onImpatient();
      }, this.#patienceMs);
    }
    return this.#ahead;
  }

  /** The collector has taken a request: patience begins anew. */
  taken(): void {
    this.#taking = true;
    this.close();
  }

  /** The collector has not taken a request: no more is waited for it, until it takes one. */
  refused(): void {
    this.#taking = false;
  }

  /** Lets go of the timer. */
  close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
